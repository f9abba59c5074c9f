"""Compress two MNIST networks and run them from their streams, in numpy and on the simulated accelerator."""

import argparse
import gzip
import json
import lzma
import time
from pathlib import Path

import numpy as np
import zstandard
from rich.console import Console
from rich.table import Table

import weightstream as ws
from data import HERE, load_calibration, load_excerpt, load_mnist, to_input
from weightstream.golden.network import run as run_golden
from weightstream.ir.network import Linear, Network
from weightstream.ir.onnx_import import import_onnx
from weightstream.spec.machine import PRESETS

console = Console(width=110)
#: What was measured of the accelerator, clocks among it.
BASELINES = HERE.parents[1] / "tests" / "baselines" / "accelerator.json"
NETWORKS = (
    ("LeNet-300-100, 4 bits after training", "lenet-300-100.onnx", 4),
    ("LeNet-300-100, ternary by training", "lenet-300-100-ternary.onnx", None),
)


def float_accuracy(path: Path, x: np.ndarray, labels: np.ndarray) -> float:
    """Return the accuracy that onnxruntime reaches with the ONNX file as it is."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    return float((y.argmax(axis=1) == labels).mean())


def packed(weights: list[np.ndarray]) -> tuple[int, bytes]:
    """Return the bits of the weights at fixed width, and the weights as bytes."""
    bits = 0
    for matrix in weights:
        bits += matrix.size * int(np.ceil(np.log2(len(np.unique(matrix)))))
    return bits, b"".join(matrix.tobytes() for matrix in weights)


def show(title: str, path: Path, bits: int | None, x: np.ndarray, labels: np.ndarray) -> None:
    """Compress one network, check it, and print what came of it."""
    calibration = None if bits is None else to_input(load_calibration())
    quantised: Network = import_onnx(path, bits=bits, calibration=calibration)
    start = time.perf_counter()
    model = ws.compress(path, bits=bits, calibration=calibration)
    seconds = time.perf_counter() - start
    target = HERE / "build" / path.with_suffix(".ws").name
    target.parent.mkdir(exist_ok=True)
    model.save(target)

    with ws.open("numpy") as device:
        net = ws.load(target)
        raw = device.run(net, x, raw=True)
        device.run(net, x)
        start = time.perf_counter()
        device.run(net, x)
        rate = len(x) / (time.perf_counter() - start)
        device.run(net, x[:1])
        start = time.perf_counter()
        for image in x[:200]:
            device.run(net, image[None])
        single = min(200, len(x)) / (time.perf_counter() - start)
    expected = run_golden(quantised, x)
    assert np.array_equal(raw, expected), "the streams compute something else than the quantised network"

    accuracies = Table(title=title, title_justify="left", show_header=False)
    accuracies.add_row("accuracy of the ONNX file (onnxruntime)", f"{float_accuracy(path, x, labels):.2%}")
    accuracies.add_row(
        "accuracy of the quantised network", f"{(expected.argmax(axis=1) == labels).mean():.2%}"
    )
    accuracies.add_row("accuracy from the stream", f"{(raw.argmax(axis=1) == labels).mean():.2%}")
    accuracies.add_row(
        "outputs equal to the quantised network's", f"{len(x):,} of {len(x):,} images, bit for bit"
    )
    accuracies.add_row("compressed in", f"{seconds:.2f} s")
    accuracies.add_row(
        "images a second, from the stream", f"{rate:,.0f} in batches; {single:,.0f} one by one"
    )
    console.print(accuracies)
    console.print(sizes(quantised, model, path))


def sizes(quantised: Network, model: ws.Model, path: Path) -> Table:
    """Return the table of sizes: the file beside general compressors and bounds."""
    weights = [node.matrix().astype(np.int8) for node in quantised.nodes if isinstance(node, Linear)]
    fixed, raw = packed(weights)
    count = sum(matrix.size for matrix in weights)
    report = model.report()
    entropy = sum(layer["entropy_bits"] for layer in report)
    permutations = sum(layer["permutation_bits"] for layer in report)
    file_bits = 8 * len(model.to_bytes())
    rows = (
        ("ONNX file", 8 * path.stat().st_size),
        ("weights, one byte each", 8 * len(raw)),
        ("weights, packed at fixed width", fixed),
        ("gzip -9 of the bytes", 8 * len(gzip.compress(raw, 9))),
        ("zstd -19 of the bytes", 8 * len(zstandard.ZstdCompressor(19).compress(raw))),
        ("xz -9e of the bytes", 8 * len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME))),
        ("entropy of the weights, no tables", entropy),
        ("... less log2 of the orders of free rows", entropy - permutations),
        ("weightstream, the whole file", file_bits),
    )
    table = Table(title="sizes", title_justify="left")
    for i, column in enumerate(("", "bytes", "bits a weight", "of the file")):
        table.add_column(column, justify="left" if i == 0 else "right")
    for name, bits in rows:
        table.add_row(name, f"{bits / 8:,.0f}", f"{bits / count:.3f}", f"{bits / file_bits:.2f} x")
    hidden = weights[:-1]
    saved = sum(len(ws.encode_matrix(w, free_rows=False)[0]) - len(ws.encode_matrix(w)[0]) for w in hidden)
    rows_free = sum(len(w) for w in hidden)
    table.caption = (
        f"canonical order of {rows_free} hidden units saves {saved} bytes; "
        f"log2 of their orders is {permutations / 8:,.0f}"
    )
    return table


def reported_mhz(preset: str) -> float:
    """Return the clock with which the preset was routed for an ECP5; 100 MHz if it was not."""
    reports = json.loads(BASELINES.read_text())
    return reports.get(f"weightstream-hw report --preset {preset} --target ecp5 --route", {}).get(
        "fmax_mhz", 100
    )


def show_accelerator(preset: str, x: np.ndarray) -> None:
    """Run both networks on the accelerator's compiled RTL, check all outputs, and print its counters."""
    machine = PRESETS[preset]
    mhz = reported_mhz(preset)
    table = Table(title=f"on the simulated accelerator {preset}: {machine}", title_justify="left")
    for i, column in enumerate(
        ("", "images", "cycles an image", "idle rounds", f"images a second at {mhz:g} MHz")
    ):
        table.add_column(column, justify="left" if i == 0 else "right")
    with console.status(f"compiling the RTL of {preset} (about a minute, once)"):
        device = ws.open(f"sim:{preset}")
    with device, ws.open("numpy") as software:
        for title, name, _ in NETWORKS:
            net = ws.load(HERE / "build" / Path(name).with_suffix(".ws"))
            for batch in (1, len(x)):
                model = net.relayout(machine, batch=batch)
                device.profile()
                with console.status(f"running {title}, {batch} images"):
                    raw = device.run(model, x[:batch], raw=True)
                counters = device.profile()
                assert np.array_equal(raw, software.run(net, x[:batch], raw=True)), "not numpy's outputs"
                idle = sum(count for counter, count in counters.items() if counter.startswith("idle"))
                cycles = counters["cycles"] / batch
                table.add_row(
                    title,
                    f"{batch}",
                    f"{cycles:,.0f}",
                    f"{idle / (idle + counters['busy']):.1%}",
                    f"{1e6 * mhz / cycles:,.0f}",
                )
    table.caption = "every output bit for bit that of numpy"
    console.print(table)


def main() -> None:
    """Show both networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--preset", default="ecp5_85f", choices=PRESETS, help="the accelerator that is simulated"
    )
    parser.add_argument(
        "--full", action="store_true", help="all 10,000 test images (fetched), not the excerpt"
    )
    arguments = parser.parse_args()
    if arguments.full:
        _, _, images, labels = load_mnist()
    else:
        images, labels = load_excerpt()
    for title, name, bits in NETWORKS:
        show(title, HERE / name, bits, to_input(images), labels)
    show_accelerator(arguments.preset, to_input(images)[:100])


if __name__ == "__main__":
    main()
