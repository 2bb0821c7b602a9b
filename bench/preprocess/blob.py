"""resize + cvtColor + blobFromImage as people call them, and the numpy way, one thread; the best of five runs in milliseconds a frame.
Beside BenchmarkHeron and BenchmarkOpenCV of this folder. Needs: pip install opencv-python-headless (numpy comes along)."""
import time
import cv2, numpy as np

cv2.setNumThreads(1)
src = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
small = np.empty((224, 224, 3), np.uint8)
rgb = np.empty_like(small)
MEAN, STD = np.float32([128] * 3), np.float32([128] * 3)


def best(f, n=300):
    f()
    runs = []
    for _ in range(5):
        t = time.perf_counter()
        for _ in range(n):
            f()
        runs.append((time.perf_counter() - t) / n)
    return min(runs) * 1e3


def blob():
    cv2.cvtColor(cv2.resize(src, (224, 224), dst=small), cv2.COLOR_BGR2RGB, dst=rgb)
    return cv2.dnn.blobFromImage(rgb, 1 / 128, (224, 224), (128, 128, 128))


def with_numpy():
    x = cv2.resize(cv2.cvtColor(src, cv2.COLOR_BGR2RGB), (224, 224)).astype(np.float32)
    return np.ascontiguousarray(((x - MEAN) / STD).transpose(2, 0, 1)[None])


print(f"OpenCV {cv2.__version__}: resize + cvtColor + blobFromImage {best(blob):.3f} ms, with numpy {best(with_numpy):.3f} ms")
