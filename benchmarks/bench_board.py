"""How long LeNet takes on the fake board: pynq, unmodified, over PYNQ.remote to the simulated accelerator."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import weightstream as ws

MNIST = Path(__file__).resolve().parents[1] / "examples" / "mnist"
sys.path.insert(0, str(MNIST))
from data import load_calibration, load_excerpt, to_input  # noqa: E402

COMMAND = [sys.executable, "-c", "from weightstream.cli import main; main()"]
#: What the client does, and the seconds since it began.
CLIENT = """
import json, sys, time
start = time.perf_counter()
import numpy as np, pynq
import weightstream as ws
bitstream, network, inputs, outputs = sys.argv[1:]
seconds = {"import pynq and weightstream": time.perf_counter() - start}
with ws.open(f"pynq:{bitstream}") as device:
    seconds["overlay loaded, driver open"] = time.perf_counter() - start
    y = device.run(network, np.load(inputs), raw=True)
    seconds["answer"] = time.perf_counter() - start
    figures = {"cycles": device.profile()["cycles"], "polling": device.port.polling}
    np.save(outputs, y)
    begin = time.perf_counter()
    for _ in range(1000):
        device.port.read32(0x80)
    figures["register reads a second"] = round(1000 / (time.perf_counter() - begin))
print(json.dumps({"pynq": pynq.__version__, "seconds": seconds, **figures}))
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="tiny", help="the accelerator in the fake board")
    parser.add_argument("--images", type=int, default=10, help="images of the batch")
    parser.add_argument("--host", default="127.0.0.1", help="address of the fake board")
    arguments = parser.parse_args()
    model = ws.compress(MNIST / "lenet-300-100.onnx", bits=4, calibration=to_input(load_calibration()))
    x = to_input(load_excerpt()[0])[: arguments.images]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / "lenet.ws")
        np.save(folder / "x.npy", x)
        report = run(folder, arguments)
        y = np.load(folder / "y.npy")
    assert np.array_equal(y, ws.open("numpy").run(model, x, raw=True)), "not the outputs of numpy"
    console = Console(width=110)
    table = Table(title=f"LeNet-300-100, 4 bits, {len(x)} images, pynq {report['pynq']}, {arguments.preset}")
    table.add_column("until")
    table.add_column("seconds", justify="right")
    for step, seconds in report["seconds"].items():
        table.add_row(step, f"{seconds:.1f}")
    console.print(table)
    console.print(
        f"{report['cycles']:,} cycles simulated; {report['register reads a second']:,} reads a second"
    )
    console.print("outputs: those of numpy, bit for bit")


def run(folder: Path, arguments: argparse.Namespace) -> dict:
    """Run the client against a fake board that is ready, and return what it reports."""
    options = ["--preset", arguments.preset, "--host", arguments.host, "-o", str(folder)]
    board = subprocess.Popen([*COMMAND, "fake-board", *options], stdout=subprocess.PIPE, text=True)
    try:
        assert board.stdout is not None
        if not board.stdout.readline():  # said when it listens
            sys.exit("the fake board did not start")
        files = [folder / file for file in ("weightstream.bit", "lenet.ws", "x.npy", "y.npy")]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CLIENT, *files],
            env={**os.environ, "PYNQ_REMOTE_DEVICES": arguments.host},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    finally:
        board.terminate()
        board.wait()
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
