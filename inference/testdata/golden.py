"""Makes resize.json: what OpenCV answers for pictures that resize_test.go can draw again.
Run: python -m venv v && v/bin/pip install opencv-python-headless && v/bin/python golden.py
"""
import base64, json, zlib
import cv2, numpy as np


def picture(w, h):
    s, out = w * 65536 + h, np.empty(h * w * 3, np.uint8)
    for i in range(out.size):
        s = (s * 1664525 + 1013904223) & 0xffffffff
        out[i] = s >> 24
    return out.reshape(h, w, 3)


SIZES = [(640, 480, 224, 224), (640, 480, 128, 128), (640, 480, 96, 96), (1280, 720, 192, 192), (321, 243, 224, 224), (33, 17, 64, 64), (5, 3, 8, 8),
         (64, 64, 32, 32), (96, 64, 32, 32), (100, 100, 7, 3), (1, 1, 4, 4), (1, 9, 5, 4), (9, 1, 4, 5), (2, 2, 5, 5), (7, 5, 7, 5), (7, 5, 7, 10), (50, 40, 1, 1),
         (13, 11, 12, 10), (16, 16, 24, 8), (299, 299, 299, 100), (3, 3, 2, 2), (640, 480, 320, 240), (17, 40, 16, 160)]
FLAGS = {"bilinear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}
cases = []
for sw, sh, dw, dh in SIZES:
    src = picture(sw, sh)
    for name, flag in FLAGS.items():
        dst = cv2.resize(src, (dw, dh), interpolation=flag)
        case = {"sw": sw, "sh": sh, "dw": dw, "dh": dh, "filter": name, "crc": zlib.crc32(dst.tobytes()), "gray": zlib.crc32(cv2.cvtColor(dst, cv2.COLOR_BGR2GRAY).tobytes())}
        if dst.size <= 1200:
            case["bgr"] = base64.b64encode(dst.tobytes()).decode()
        cases.append(case)
json.dump({"opencv": cv2.__version__, "cases": cases}, open("resize.json", "w"), indent=0)
