"""The commands. What they print is for people, except `info --json`; progress and errors go to stderr."""

import json
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..errors import InputError, LayoutError, WeightstreamError
from ..ir.canonical import code_network
from ..ir.values import network_input
from ..model import Model, from_network, load
from ..report.sizes import file_report
from ..runtime.devices import open_device
from ..spec.layout import Layout
from . import views
from .checks import ITEMS, check_streams, compare_outputs
from .commands import Version, group, output
from .files import read_array, write_array, write_file

app = group("Example: weightstream compress net.onnx -o net.ws --bits 4 --calibration x.npy")

NetworkFile = Annotated[
    Path, typer.Argument(metavar="NET.ws", help="A compressed network.", show_default=False)
]
Lanes = Annotated[
    int | None,
    typer.Option(
        metavar="L",
        help="Word queues of the machine that will run it, 1 to 64. Default: an archive's layout.",
    ),
]
Slots = Annotated[
    int | None, typer.Option(metavar="S", help="Streams that share a queue, 1 to 64. Goes with --lanes.")
]


Target = Annotated[
    str,
    typer.Option(metavar="TARGET", help="Device: numpy, sim, sim:<preset>, pynq or pynq:<overlay path>."),
]


def _layout(lanes: int | None, slots: int | None) -> Layout | None:
    if lanes is None and slots is None:
        return None
    if lanes is None or slots is None:
        there, missing = ("--lanes", "--slots") if slots is None else ("--slots", "--lanes")
        raise LayoutError(f"{there} needs {missing} too, as in: --lanes 16 --slots 8")
    return Layout(lanes, slots)


@app.callback()
def _common(version: Version = False) -> None:
    """Compress neural networks without loss, and run them straight from the compressed streams."""


@app.command(epilog="Example: weightstream compress net.onnx -o net.ws --bits 4 --calibration x.npy")
def compress(
    network: Annotated[Path, typer.Argument(metavar="NET.onnx", help="An ONNX network.", show_default=False)],
    out: Annotated[Path, output("NET.ws")],
    bits: Annotated[
        int | None,
        typer.Option(min=2, max=8, help="Bits of the weights of a float network. Default: 8."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="X.npy", help="Typical inputs, (batch, ...); a float network needs some."),
    ] = None,
    lanes: Lanes = None,
    slots: Slots = None,
    per_tensor: Annotated[
        bool, typer.Option("--per-tensor", help="One scale for all weights of a layer, not one for each row.")
    ] = False,
) -> None:
    """Compress an ONNX network.

    A float network is quantised after training; a quantised one (QDQ or QLinear operators) is taken exactly.
    """
    from ..ir.onnx_import import import_onnx

    layout = _layout(lanes, slots)
    samples = None if calibration is None else read_array(calibration)
    # The parts of `weightstream.compress`, one by one: between them the bar learns how many layers there are.
    with views.progress("reading the network") as bar:
        graph = import_onnx(network, bits=bits, calibration=samples, per_channel=not per_tensor)
        bar.begin("compressing", len(graph.nodes))
        model = from_network(code_network(graph, layout, bar.advance_named))
    write_file(out, model.to_bytes())
    views.print_compressed(network, out, file_report(model))


@app.command(epilog="Example: weightstream info net.ws --json")
def info(
    file: NetworkFile,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Show what each layer costs, and what theory says it could cost."""
    report = file_report(load(file))
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        views.print_report(file, report)


@app.command(epilog="Example: weightstream run net.ws x.npy -o y.npy")
def run(
    file: NetworkFile,
    inputs: Annotated[
        Path,
        typer.Argument(
            metavar="X.npy",
            help="A batch of inputs: real values, which are quantised, or raw integers.",
            show_default=False,
        ),
    ],
    out: Annotated[Path | None, output("Y.npy")] = None,
    on: Target = "numpy",
    raw: Annotated[bool, typer.Option("--raw", help="Return the integers of the last layer.")] = False,
) -> None:
    """Run a network from its streams on a batch of inputs."""
    model, x = load(file), read_array(inputs)
    start = time.perf_counter()
    y = _run(model, x, on=on, raw=raw)
    seconds = time.perf_counter() - start
    if out is not None:
        write_array(out, y)
    views.print_outputs(y, seconds, out)


def _run(model: Model, x: np.ndarray, *, on: str = "numpy", raw: bool = False) -> np.ndarray:
    """Run a batch in parts, so that there is progress to show."""
    if x.ndim == 0:
        raise InputError("the inputs must be a batch, not a single number")
    with open_device(on) as device, views.progress(f"running on {on}", len(x)) as bar:
        parts = []
        # An empty batch runs too: its result has the shape of an output.
        for start in range(0, max(len(x), 1), ITEMS):
            part = x[start : start + ITEMS]
            parts.append(device.run(model, part, raw=raw, progress=bar.advance))
    return np.concatenate(parts)


@app.command(epilog="Example: weightstream verify net.ws --against net.onnx x.npy")
def verify(
    file: NetworkFile,
    against: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="NET.onnx X.npy",
            help="Compare with onnxruntime on inputs, too; exit with 1 if a prediction differs.",
            show_default=False,
        ),
    ] = None,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Leave out the golden decoder, which takes seconds a million weights."),
    ] = False,
) -> None:
    """Check a file: its CRC, every stream, and that fast inference equals the golden model.

    The golden model defines what every device computes. Both run on the same random inputs.
    """
    model = load(file)
    with views.progress("decoding", len(model.network.nodes)) as bar:
        checks = check_streams(model, golden=not fast, done=bar.advance_named)
    views.print_checks(file, checks)
    if against is None:
        return
    reference, inputs = against
    x = read_array(inputs)
    y = _run(model, x)
    with views.progress("running onnxruntime", len(x)) as bar:
        comparison = compare_outputs(model, x, y, reference, bar.advance)
    views.print_comparison(reference, comparison)
    if comparison.equal_predictions < comparison.items:
        differ = comparison.items - comparison.equal_predictions
        raise WeightstreamError(f"the predictions for {differ} of {comparison.items} inputs differ")


@app.command(epilog="Example: weightstream selftest --on sim:tiny")
def selftest(on: Target = "numpy") -> None:
    """Test a device, and print a report to paste into a question; exit with 1 if something is wrong.

    It tells what the device is, and compares small random networks with the golden model.
    """
    from ..runtime.selftest import selftest as steps

    passed = True
    for step in steps(on):
        views.print_line(str(step))
        passed &= step.passed
    if not passed:
        raise typer.Exit(1)


@app.command("fake-board", epilog="Example: weightstream fake-board --board kv260 -o fake-overlay")
def fake_board(
    board: Annotated[
        str,
        typer.Option(
            metavar="B",
            help="kv260 or zcu104; pynq_z2 or pynq_z1 for pynq 3, because pynq 4 has dropped them.",
        ),
    ] = "kv260",
    preset: Annotated[
        str, typer.Option(metavar="P", help="The accelerator in it: tiny, ecp5_85f, pynq_z2 or kv260.")
    ] = "tiny",
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Where to listen. pynq knows one port, so each fake board needs an address of its own: "
            "127.0.0.2 and so on.",
        ),
    ] = "127.0.0.1",
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Where the overlay goes.")
    ] = Path("fake-overlay"),
) -> None:
    """Serve a PYNQ board that is none, until Ctrl-C or SIGTERM: programs for PYNQ then run without a board.

    A variable tells pynq 3.1 or newer, unmodified, where it is: paste the lines that are printed.

    Behind it is the accelerator's RTL, compiled. Its memory is its own: what is not flushed does not arrive.

    Interrupts do not come over PYNQ.remote: the driver polls. Clients cannot touch files of this machine.

    It needs the extras board, hw and sim of the package. docs/pynq.md has more.
    """
    from ..board.fake.overlay import write_overlay
    from ..board.fake.server import serve

    with views.progress("compiling the accelerator"):
        server, part, handoff = serve(board, preset, host)
    with server:
        bitstream = write_overlay(out, part, handoff)
        views.print_line(f"fake board {board}, accelerator {preset}, at {server.address}; Ctrl-C ends it")
        views.print_line("In another shell:")
        views.print_line(f"  export PYNQ_REMOTE_DEVICES={host}")
        views.print_line(f"  weightstream selftest --on pynq:{bitstream}")
        server.wait()


@app.command(epilog="Example: weightstream relayout net.ws -o board.ws --lanes 16 --slots 8")
def relayout(
    file: NetworkFile,
    out: Annotated[Path, output("OUT.ws")],
    lanes: Lanes = None,
    slots: Slots = None,
) -> None:
    """Deal the same weights to the streams of another machine; outputs stay the same."""
    layout = _layout(lanes, slots)
    model = load(file)
    with views.progress("dealing", len(model.network.nodes)) as bar:
        again = model.relayout(layout, bar.advance_named)
    write_file(out, again.to_bytes())
    views.print_relayout(file, model, out, again)


@app.command(epilog="Example: weightstream export net.ws -o net-int.onnx")
def export(file: NetworkFile, out: Annotated[Path, output("NET.onnx")]) -> None:
    """Write the network as a standard quantised ONNX file, units in canonical order."""
    from ..ir.onnx_export import export_onnx

    model = load(file)
    network_input(model.network)  # a matrix alone is no network: say so first
    with views.progress("decoding"):
        data = export_onnx(model.network).SerializeToString()
    write_file(out, data)
    views.print_exported(out, len(data))
