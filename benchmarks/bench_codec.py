"""Measure the codec: size against bounds and peers, speed against constriction, memory. Prints tables.

    python benchmarks/bench_codec.py [--only NAME ...]

Speeds are ratios against a peer on the same data in the same run; the best of several repetitions counts.
"""

import argparse
import lzma
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import weightstream as ws
from weightstream.codec.matrix import CodedMatrix, check_weights, code_matrix
from weightstream.ir.file import read_network, write_network
from weightstream.ir.network import Matrix, Network

console = Console(width=130)
#: The authors' tree coder on their nine networks, in bits; see Basu and Varshney, arXiv:1804.02800.
TREE_CODER = {
    "mnist_16": 183463,
    "mnist_32": 225924,
    "mnist_64": 268536,
    "imdb_16": 464919,
    "imdb_32": 599296,
    "imdb_64": 733625,
    "reuters_16": 821709,
    "reuters_32": 1041977,
    "reuters_64": 1262437,
}
#: nncodec 2.1.3, lossless, a call a tensor, rows x rest, in bits; `nncodec_baseline.py` measures them.
NNCODEC = {
    "g2p_en": 2685000,
    "mtcnn_pnet": 21336,
    "mtcnn_rnet": 293728,
    "mtcnn_onet": 1014280,
    "silero": 812856,
    "espcn_subpixel": 59168,
    "espcn_nn_resize": 237448,
    "mnist_conv": 19896,
}


def best_time(function: Callable[[], object], repetitions: int = 9) -> float:
    """Return the shortest of some runs, in seconds; a first run warms up."""
    function()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def entropy(weights: np.ndarray) -> float:
    """Return the zeroth-order entropy of all weights together, in bits."""
    _, counts = np.unique(weights, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def laplace(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """Return independent int4 weights of a rounded Laplace law."""
    return np.clip(np.rint(rng.laplace(0, scale, shape)), -8, 7).astype(np.int8)


def independent(kind: str, shape: tuple[int, int]) -> np.ndarray:
    """Return independent weights of a kind."""
    rng = np.random.default_rng(1)
    if kind == "int4":
        return laplace(rng, shape, 0.95)
    if kind == "ternary":
        return rng.choice(np.array([-1, 0, 1], np.int8), shape, p=[0.1, 0.8, 0.1])
    return np.clip(np.rint(rng.normal(0, 25, shape)), -127, 127).astype(np.int8)


def table(title: str, *columns: str) -> Table:
    """Return an empty table: the first column is text, the others are numbers."""
    result = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        result.add_column(column, justify="left" if i == 0 else "right")
    return result


def bench_bound() -> None:
    """Independent weights: the whole file against entropy minus permutations."""
    rows = table(
        "Independent weights: whole file against rows * cols * H0 - log2(rows!)",
        "weights",
        "layout",
        "file bits",
        "bound",
        "over bound",
        "allowed",
    )
    cases = [((256, 256), ws.Layout(1, 32)), ((512, 512), ws.Layout(1, 32)), ((300, 784), ws.Layout(1, 32))]
    cases += [
        ((2048, 1024), ws.Layout(1, 32)),
        ((1024, 1024), ws.Layout(32, 8)),
        ((2048, 2048), ws.Layout(32, 8)),
    ]
    for kind in ("int4", "ternary", "int8"):
        for shape, layout in cases:
            weights = independent(kind, shape)
            blob, _ = ws.encode_matrix(weights, layout=layout)
            bound = entropy(weights) - math.lgamma(shape[0] + 1) / math.log(2)
            allowed = 0.002 * bound + 2048 if layout.lanes == 1 else 0.005 * bound
            over = 8 * len(blob) - bound
            rows.add_row(
                f"{kind} {shape[0]} x {shape[1]}",
                str(layout),
                f"{8 * len(blob):,}",
                f"{bound:,.0f}",
                f"{over:+,.0f} ({over / bound:+.3%})",
                f"{allowed:,.0f} {'met' if over <= allowed else 'MISSED'}",
            )
    console.print(rows)


def network_file(layers: list[np.ndarray]) -> bytes:
    """Return one file that holds a chain of matrices: hidden rows free, the last layer's named."""
    nodes = []
    for i, weights in enumerate(layers):
        coded, order = code_matrix(weights, check_weights(weights), free_rows=i + 1 < len(layers))
        nodes.append(Matrix(name=str(i), coded=coded))
        if i + 1 < len(layers):
            layers[i + 1] = layers[i + 1][:, order]
    return write_network(Network(tensors=(), nodes=tuple(nodes), inputs=(), outputs=()))


def bench_basu_varshney() -> None:
    """Compare with the tree coder of Basu and Varshney on their nine networks."""
    named = os.environ.get("WEIGHTSTREAM_BASU_VARSHNEY")
    if not named:
        console.print(
            "Basu-Varshney networks: skipped; set WEIGHTSTREAM_BASU_VARSHNEY to the folder of their .npz"
        )
        return
    folder = Path(named)
    rows = table(
        "Basu and Varshney's networks: one file each",
        "network",
        "file bits",
        "tree coder",
        "xz -9e",
        "vs tree",
        "vs xz",
    )
    gains = []
    for name, tree in TREE_CODER.items():
        arrays = np.load(folder / f"{name}.npz")
        layers = [arrays[f"layer{i}"] for i in range(len(arrays.files))]
        raw = b"".join(layer.tobytes() for layer in layers)
        xz = 8 * len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME))
        bits = 8 * len(network_file(layers))
        gains.append(bits / tree - 1)
        rows.add_row(name, f"{bits:,}", f"{tree:,}", f"{xz:,}", f"{gains[-1]:+.2%}", f"{bits / xz - 1:+.2%}")
    rows.add_row("mean", "", "", "", f"{np.mean(gains):+.2%}", "")
    console.print(rows)


def bench_real_networks() -> None:
    """Trained networks at 4 bits per channel, a file a tensor, against nncodec and xz."""
    sys.path.insert(0, str(Path(__file__).parent))
    from real_networks import load_networks

    rows = table(
        "Trained networks: sum of whole files, default layout",
        "network",
        "weights",
        "file bits",
        "bits a weight",
        "nncodec",
        "xz -9e",
        "vs nncodec",
        "vs xz",
        "encode s",
    )
    for name, tensors in load_networks().items():
        start = time.perf_counter()
        bits = 8 * sum(len(ws.encode_matrix(weights)[0]) for weights in tensors.values())
        seconds = time.perf_counter() - start
        raw = b"".join(weights.tobytes() for weights in tensors.values())
        xz = 8 * len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME))
        peer = NNCODEC[name]
        rows.add_row(
            name,
            f"{len(raw):,}",
            f"{bits:,}",
            f"{bits / len(raw):.3f}",
            f"{peer:,}",
            f"{xz:,}",
            f"{bits / peer - 1:+.2%}",
            f"{bits / xz - 1:+.2%}",
            f"{seconds:.1f}",
        )
    console.print(rows)


def constriction_time(weights: np.ndarray) -> float:
    """Return the seconds that constriction's range decoder takes for the same symbols."""
    import constriction

    symbols = (weights.reshape(-1).astype(np.int32)) + 8
    counts = np.bincount(symbols, minlength=16) + 1e-9
    model = constriction.stream.model.Categorical(counts / counts.sum(), perfect=False)
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(symbols, model)
    compressed = encoder.get_compressed()
    return best_time(
        lambda: constriction.stream.queue.RangeDecoder(compressed).decode(model, symbols.size), 5
    )


def dependent(shape: tuple[int, int]) -> np.ndarray:
    """Return int4 weights whose spread depends on the weight before."""
    rng = np.random.default_rng(2)
    result = np.zeros(shape, np.int8)
    before = np.zeros(shape[0])
    for column in range(shape[1]):
        spread = 0.55 + 0.14 * np.abs(before)
        before = np.clip(np.rint(rng.laplace(0, 1, shape[0]) * spread + 0.25 * before), -8, 7)
        result[:, column] = before
    return result


def coded_of(blob: bytes) -> CodedMatrix:
    """Return the coded matrix of a file."""
    node = read_network(blob).nodes[0]
    assert isinstance(node, Matrix)
    return node.coded


def bench_decode() -> None:
    """`decode_matrix` against constriction, and numpy alone."""
    rows = table(
        "decode_matrix, one core, whole call",
        "weights",
        "layout",
        "tables",
        "M weights/s",
        "constriction",
        "ratio",
    )
    shape = (2048, 2048)
    cases = [("int4 Laplace", independent("int4", shape), ws.Layout(1, 32))]
    cases += [("int4 Laplace", cases[0][1], layout) for layout in (ws.Layout(1, 64), ws.Layout(32, 8))]
    cases.append(("int4, neighbour contexts", dependent(shape), ws.Layout(1, 32)))
    cases.append(("ternary 80 % zero", independent("ternary", shape), ws.Layout(1, 32)))
    for name, weights, layout in cases:
        blob, _ = ws.encode_matrix(weights, layout=layout)
        seconds = best_time(lambda blob=blob: ws.decode_matrix(blob), 15)
        peer = constriction_time(weights)
        rows.add_row(
            f"{name} {shape[0]} x {shape[1]}",
            str(layout),
            str(coded_of(blob).contexts.table_count),
            f"{weights.size / seconds / 1e6:,.0f}",
            f"{weights.size / peer / 1e6:,.0f}",
            f"{peer / seconds:.1f} x",
        )
    console.print(rows)
    code = (
        "import numpy as np, time, weightstream as ws\n"
        "w = np.clip(np.rint(np.random.default_rng(1).laplace(0, .95, (1024, 512))), -8, 7).astype(np.int8)\n"
        "for layout in (ws.Layout(32, 8), ws.Layout(4, 64)):\n"
        "    blob, _ = ws.encode_matrix(w, layout=layout); best = 9.0\n"
        "    for _ in range(4):\n"
        "        t = time.perf_counter(); ws.decode_matrix(blob); best = min(best, time.perf_counter() - t)\n"
        "    print(f'numpy alone, {layout}, 256 streams: {w.size / best / 1e6:.1f} M symbols/s')\n"
    )
    environment = {**os.environ, "WEIGHTSTREAM_CODEC": "numpy"}
    console.print(
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout
    )


def bench_encode() -> None:
    """Time encoding, context search included."""
    weights = independent("int4", (2500, 4000))
    seconds = best_time(lambda: ws.encode_matrix(weights, layout=ws.Layout(1, 32)), 3)
    console.print(
        f"encode, 10 M int4 weights, context search included: {weights.size / seconds / 1e6:.0f} M weights/s"
    )


def bench_inference() -> None:
    """Products from the stream, and LeNet end to end."""
    rng = np.random.default_rng(3)
    weights = laplace(rng, (4096, 4096), 0.95)
    rows = table(
        "Inference from the stream, 4096 x 4096 int4, one core",
        "batch",
        "layout",
        "M weights/s",
        "M products/s",
    )
    for layout in (ws.Layout(1, 32), ws.Layout(1, 64), ws.Layout(32, 8)):
        blob, order = ws.encode_matrix(weights, layout=layout)
        coded = coded_of(blob)
        decoder = coded.decoder()
        for batch in (1, 8, 64):
            inputs = rng.integers(0, 256, (batch, 4096)).astype(np.int16)
            sums = decoder.multiply(coded.palette, inputs)
            assert np.array_equal(sums, inputs.astype(np.int64) @ weights[order].T.astype(np.int64))
            seconds = best_time(lambda d=decoder, c=coded, x=inputs: d.multiply(c.palette, x), 7)
            rate = weights.size / seconds / 1e6
            rows.add_row(str(batch), str(layout), f"{rate:,.0f}", f"{rate * batch:,.0f}")
    console.print(rows)
    folder = Path(__file__).resolve().parents[1] / "examples" / "mnist"
    excerpt = np.load(folder / "mnist-test-1000.npz")
    images = excerpt[excerpt.files[0]].reshape(1000, 784).astype(np.float32) / 255
    net = ws.compress(str(folder / "lenet-300-100.onnx"), bits=4, calibration=images[:256])
    device = ws.open("numpy")
    rows = table("LeNet-300-100, 4 bits, end to end", "batch", "images/s")
    for batch in (1, 16, 1000):
        seconds = best_time(lambda n=batch: device.run(net, images[:n]), 9)
        rows.add_row(str(batch), f"{batch / seconds:,.0f}")
    console.print(rows)


def bench_memory() -> None:
    """Peak extra memory of one large layer, in a process of its own."""
    code = (
        "import numpy as np, resource, weightstream as ws, tempfile, os\n"
        "from weightstream.ir.file import read_network\n"
        "data = open(os.environ['BLOB'], 'rb').read(); coded = read_network(data).nodes[0].coded\n"
        "x = np.ones((1, 8192), np.int16); decoder = coded.decoder()\n"
        "eye = ws.encode_matrix(np.eye(64, dtype=np.int8) * 3, layout=ws.Layout(1, 32))[0]\n"
        "small = read_network(eye).nodes[0].coded\n"
        "small.decoder().multiply(small.palette, np.ones((1, 64), np.int16))\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"
        "def status(key):\n"
        "    return int(next(l for l in open('/proc/self/status') if l.startswith(key)).split()[1])\n"
        "before = status('VmRSS'); y = decoder.multiply(coded.palette, x); peak = status('VmHWM')\n"
        "extra = (peak - before) / 1024\n"
        "print(f'{extra:.1f} MiB beyond file, code and activations; file {len(data) / 1e6:.1f} MB')\n"
    )
    weights = laplace(np.random.default_rng(4), (8192, 8192), 0.95)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.ws"
        path.write_bytes(ws.encode_matrix(weights, layout=ws.Layout(1, 32))[0])
        for codec in ("numba", "numpy"):
            environment = {**os.environ, "BLOB": str(path), "WEIGHTSTREAM_CODEC": codec}
            done = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True
            )
            console.print(f"8192 x 8192 int4, batch 1, {codec}: {done.stdout.strip() or done.stderr[-400:]}")


BENCHES = {
    "bound": bench_bound,
    "basu-varshney": bench_basu_varshney,
    "real": bench_real_networks,
    "decode": bench_decode,
    "encode": bench_encode,
    "inference": bench_inference,
    "memory": bench_memory,
}


def main() -> None:
    """Run the benchmarks that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", choices=BENCHES, default=list(BENCHES))
    for name in parser.parse_args().only:
        BENCHES[name]()


if __name__ == "__main__":
    main()
