"""Writes demo/bundle from a trained model: measures it on the held-out pictures and on the golden ones, with ONNX Runtime.

    python bundle.py MODEL.onnx HELD_OUT GOLDEN BUNDLE

HELD_OUT and GOLDEN are dataset names without .rgb/.cls, as ./dataset writes them; GOLDEN's pictures are in BUNDLE/golden already.
"""
import datetime, hashlib, json, pathlib, shutil, sys
import numpy as np
import onnxruntime

LABELS = ["ok", "scratched", "no_label", "empty"]
SIDE, MEAN, STD = 96, 127.5, 127.5
VERSION = "1.0.0"
EDGES = [i / 10 for i in range(11)]  # of a rollup's confidence histogram


def load(name):
    x = np.fromfile(name + ".rgb", np.uint8).reshape(-1, SIDE, SIDE, 3)
    return x, np.fromfile(name + ".cls", np.uint8).astype(int)


def scores(model, x):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    norm = ((x.astype(np.float32) - MEAN) / STD).transpose(0, 3, 1, 2)
    return np.stack([session.run(None, {"input": np.ascontiguousarray(p[None])})[0][0] for p in norm])


def measure(p, y):
    said = p.argmax(1)
    table = np.zeros((4, 4), int)
    np.add.at(table, (y, said), 1)
    return {
        "v": 1, "n": len(y), "accuracy": round(float((said == y).mean()), 4), "mean_confidence": round(float(p.max(1).mean()), 4),
        "labels": {l: int((said == i).sum()) for i, l in enumerate(LABELS)},
        "conf": {"edges": EDGES, "n": np.histogram(p.max(1), EDGES)[0].tolist()},
        "confusion": {l: dict(zip(LABELS, map(int, table[i]))) for i, l in enumerate(LABELS)},
    }


def describe(path, root, role):
    b = path.read_bytes()
    return {"path": str(path.relative_to(root)), "size": len(b), "sha256": hashlib.sha256(b).hexdigest(), "role": role}


def main(model, held, golden, out):
    root = pathlib.Path(out)
    shutil.copyfile(model, root / "model.onnx")
    (root / "labels.txt").write_text("\n".join(LABELS) + "\n")
    x, y = load(held)
    baseline = measure(scores(model, x), y)
    (root / "baseline.json").write_text(json.dumps(baseline, indent=1) + "\n")
    x, y = load(golden)
    p = scores(model, x)
    if (p.argmax(1) != y).any():
        sys.exit(f"golden pictures are mistaken: {[(i, LABELS[c], LABELS[s]) for i, (c, s) in enumerate(zip(y, p.argmax(1))) if c != s]}; choose other seeds")
    names = [f"golden/{i}-{LABELS[c]}.png" for i, c in enumerate(y)]
    plain = {"width": SIDE, "height": SIDE, "layout": "NCHW", "dtype": "float32", "color": "RGB"}
    manifest = {
        "v": 1, "name": "bottles", "version": VERSION, "created": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "dataset": "heron/demo/line@1", "task": "classification",
        "files": [describe(root / "model.onnx", root, "weights"), describe(root / "labels.txt", root, "labels"), describe(root / "baseline.json", root, "baseline")]
        + [describe(root / n, root, "golden") for n in names],
        "engines": [{"engine": "onnx", "file": "model.onnx", "precision": "fp32"}],
        "input": {"name": "input", **plain, "mean": [MEAN] * 3, "std": [STD] * 3, "resize": "stretch", "filter": "area"},
        "output": {"name": "probabilities", "kind": "probabilities", "dtype": "float32"},
        "labels": "labels.txt", "thresholds": {"default": 0.5},
        "golden": [{"input": n, "top1": LABELS[c], "score": round(float(s), 4), "tolerance": 0.05} for n, c, s in zip(names, y, p.max(1))],
        "baseline": "baseline.json",
        "accuracy": {"held_out": baseline["accuracy"], "n": baseline["n"], "detail": "seeds never used in training, classes in equal parts, through JPEG and Heron's preprocessing"},
        "budget": {"latency_ms": 50, "rss_mb": 300}, "targets": ["any"], "license": "Apache-2.0",
    }
    (root / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(json.dumps({k: baseline[k] for k in ("accuracy", "n", "mean_confidence", "confusion")}, indent=1))


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
