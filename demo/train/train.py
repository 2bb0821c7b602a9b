"""Trains the demo's classifier on pictures written by ./dataset and exports it as ONNX.

    python train.py TRAIN HELD_OUT OUT.onnx [--epochs N] [--peak RATE] [--start EARLIER.onnx]

TRAIN and HELD_OUT are dataset names without .rgb/.cls. Runs on the CPU; see docs/demo-model.md.
"""
import argparse, json, time
import jax, jax.numpy as jnp
import numpy as np

LABELS = ["ok", "scratched", "no_label", "empty"]
SIDE, SEED, SMOOTHING = 96, 20261, 0.03
MEAN, STD = 127.5, 127.5
CONVS = [(3, 16, 2), (16, 32, 2), (32, 64, 2), (64, 64, 1), (64, 96, 2)]  # in, out, stride; kernels are 3 x 3


def load(name):
    x = np.fromfile(name + ".rgb", np.uint8).reshape(-1, SIDE, SIDE, 3)
    return x, np.fromfile(name + ".cls", np.uint8).astype(np.int32)


def initial(r):
    convs = [{"w": r.normal(0, np.sqrt(2 / (9 * i)), (3, 3, i, o)).astype("f"), "b": np.zeros(o, "f")} for i, o, _ in CONVS]
    return convs + [{"w": r.normal(0, 0.05, (2 * CONVS[-1][1], len(LABELS))).astype("f"), "b": np.zeros(len(LABELS), "f")}]


def earlier(path):
    """Weights of a model that this script exported before."""
    import onnx
    from onnx import numpy_helper

    w = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    convs = [{"w": np.ascontiguousarray(w[f"w{k}"].transpose(2, 3, 1, 0)), "b": w[f"b{k}"]} for k in range(len(CONVS))]
    return convs + [{"w": w["w"], "b": w["b"]}]


def forward(params, x):
    for p, (_, _, stride) in zip(params, CONVS):
        x = jax.lax.conv_general_dilated(x, p["w"], (stride, stride), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + p["b"])
    return jnp.concatenate([x.mean((1, 2)), x.max((1, 2))], 1) @ params[-1]["w"] + params[-1]["b"]


def loss(params, x, y):
    target = jax.nn.one_hot(y, len(LABELS)) * (1 - SMOOTHING) + SMOOTHING / len(LABELS)
    return -(jax.nn.log_softmax(forward(params, x)) * target).sum(1).mean()


def augment(x, key):
    """Mirrored (the line may run either way; the label has no letters), brighter or darker, tinted, moved by up to 3 pixels, noisier."""
    k = jax.random.split(key, 6)
    n = x.shape[0]
    x = jnp.where(jax.random.bernoulli(k[0], 0.5, (n, 1, 1, 1)), x[:, :, ::-1], x)
    x = x * jax.random.uniform(k[1], (n, 1, 1, 1), minval=0.8, maxval=1.2) * jax.random.uniform(k[2], (n, 1, 1, 3), minval=0.94, maxval=1.06)
    dx, dy = jax.random.randint(k[3], (2,), -3, 4)
    x = jnp.roll(x, (dy, dx), (1, 2))
    x = x + jax.random.normal(k[4], x.shape) * jax.random.uniform(k[5], (n, 1, 1, 1), maxval=4.0)
    return jnp.clip(x, 0, 255)


@jax.jit
def step(params, m, v, t, lr, x, y, key):
    x = (augment(x.astype(jnp.float32), key) - MEAN) / STD
    l, g = jax.value_and_grad(loss)(params, x, y)
    tm = jax.tree_util.tree_map
    m = tm(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = tm(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    new = tm(lambda p, m, v: p - lr * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8) - lr * 1e-3 * p, params, m, v)
    return new, m, v, l


@jax.jit
def predict(params, x):
    return jax.nn.softmax(forward(params, (x.astype(jnp.float32) - MEAN) / STD))


def evaluate(params, x, y):
    p = np.concatenate([np.asarray(predict(params, x[i : i + 250])) for i in range(0, len(x), 250)])
    table = np.zeros((4, 4), int)
    np.add.at(table, (y, p.argmax(1)), 1)
    return float((p.argmax(1) == y).mean()), table.tolist(), float(p.max(1).mean())


def train(x, y, held, epochs, peak, start, batch=64):
    r = np.random.default_rng(SEED)
    params = earlier(start) if start else initial(r)
    print("parameters", sum(v.size for p in params for v in p.values()), flush=True)
    m = jax.tree_util.tree_map(np.zeros_like, params)
    v, t, n, began = m, 0, len(x) // batch, time.time()
    key = jax.random.key(SEED)
    for epoch in range(epochs):
        order, total = r.permutation(len(x)), 0.0
        for k in range(n):
            i = order[k * batch : (k + 1) * batch]
            t += 1
            lr = peak * 0.5 * (1 + np.cos(np.pi * t / (epochs * n))) * min(1, t / 100)
            params, m, v, l = step(params, m, v, float(t), lr, x[i], y[i], jax.random.fold_in(key, t))
            total += float(l)
        note = ""
        if epoch % 4 == 3 or epoch == epochs - 1:
            note = "held out %.4f" % evaluate(params, *held)[0]
        print(f"epoch {epoch} loss {total / n:.4f} {time.time() - began:.0f} s {note}", flush=True)
    return [{k: np.asarray(v) for k, v in p.items()} for p in params]


def export(params, path):
    """Writes opset 13, IR 7, so that any runtime of the last years reads it; the output is probabilities."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, current = [], [], "input"
    for k, (p, (_, _, s)) in enumerate(zip(params, CONVS)):
        weights += [numpy_helper.from_array(np.ascontiguousarray(p["w"].transpose(3, 2, 0, 1)), f"w{k}"), numpy_helper.from_array(p["b"], f"b{k}")]
        nodes += [helper.make_node("Conv", [current, f"w{k}", f"b{k}"], [f"c{k}"], pads=[1] * 4, strides=[s, s], kernel_shape=[3, 3]), helper.make_node("Relu", [f"c{k}"], [f"r{k}"])]
        current = f"r{k}"
    weights += [numpy_helper.from_array(params[-1]["w"], "w"), numpy_helper.from_array(params[-1]["b"], "b")]
    nodes += [
        helper.make_node("GlobalAveragePool", [current], ["mean"]),
        helper.make_node("GlobalMaxPool", [current], ["max"]),
        helper.make_node("Concat", ["mean", "max"], ["both"], axis=1),
        helper.make_node("Flatten", ["both"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes, "bottles",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, len(LABELS)])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7, producer_name="heron demo/train")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("train"), a.add_argument("held"), a.add_argument("out")
    a.add_argument("--epochs", type=int, default=24)
    a.add_argument("--peak", type=float, default=2e-3)
    a.add_argument("--start", help="go on from this model")
    a = a.parse_args()
    held = load(a.held)
    params = train(*load(a.train), held, a.epochs, a.peak, a.start)
    accuracy, table, confidence = evaluate(params, *held)
    print(json.dumps({"accuracy": accuracy, "n": len(held[1]), "confusion": table, "mean_confidence": round(confidence, 4)}))
    export(params, a.out)


if __name__ == "__main__":
    main()
