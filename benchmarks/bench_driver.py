"""Figures of the driver: what `run` costs beside the codec, and many jobs in a row, some of which fail."""

import argparse
import random
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import weightstream as ws
from weightstream.errors import DeviceError
from weightstream.golden.compute.requantise import requantise
from weightstream.ir.values import network_input, to_raw
from weightstream.runtime.driver import Accelerator
from weightstream.runtime.sim_port import SimPort
from weightstream.spec.machine import PRESETS
from workloads import chain, lenet_model, mnist_inputs, random_inputs

console = Console(width=110)
#: Of so many jobs one fails.
_FAILING = 20


def direct(model: ws.Model, x: np.ndarray) -> np.ndarray:
    """Return what `run` returns of a network of requantised layers, from codec and arithmetic alone."""
    for node in model.network.nodes:
        sums = model.decoder(node).multiply(node.coded.palette, x.astype(np.int16))
        x = requantise(sums, node.activation).astype(model.network.tensor(node.output).dtype)
    return x


def interleaved(functions: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    """Return the median processor time of each function, in seconds.

    They take turns in random order, so that all see the same machine, whatever else it does.
    """
    times: list[list[float]] = [[] for _ in functions]
    order = random.Random(1)
    for function in functions:
        function()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for i in order.sample(range(len(functions)), len(functions)):
            begin = time.process_time()
            functions[i]()
            times[i].append(time.process_time() - begin)
    return [statistics.median(own) for own in times]


def overhead(seconds: float) -> Table:
    """Return the table of `run` on target numpy beside the codec."""
    model, images = lenet_model("int4"), mnist_inputs()
    title = "LeNet-300-100 int4 on target numpy: medians of processor time"
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(("", "codec and arithmetic", "run, raw", "more", "run, floats", "more")):
        table.add_column(name, justify="left" if i == 0 else "right")
    with ws.open("numpy") as device:
        for batch in (1, 100):
            x = images[:batch]
            raw = to_raw(network_input(model.network), x)
            assert np.array_equal(direct(model, raw), device.run(model, raw, raw=True))
            codec, integers, floats = interleaved(
                (
                    partial(direct, model, raw),
                    partial(device.run, model, raw, raw=True),
                    partial(device.run, model, x),
                ),
                seconds,
            )
            cells = [f"{1e3 * codec:.3f} ms"]
            for run in (integers, floats):
                cells += [f"{1e3 * run:.3f} ms", f"{run / codec - 1:+.1%}"]
            table.add_row(f"batch {batch}", *cells)
    return table


def resident() -> int:
    """Return the bytes of this process that are in memory, or its most so far."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def endurance(jobs: int) -> Table:
    """Return the table of consecutive jobs on a simulated accelerator, some of which fail."""
    from weightstream_hw.sim.compiled import Fault

    machine = PRESETS["tiny"]
    model = chain([128, 64], machine, 3)
    x = random_inputs(model, 3)
    expected = ws.open("numpy").run(model, x, raw=True)
    failed, early = 0, 0
    with Accelerator(SimPort(machine)) as device:
        device.load(model)
        held = device.port.buffers
        for number in track(range(1, jobs + 1), "simulating", console=console, transient=True):
            if number % _FAILING == 0:
                device.port.add_fault(Fault.SLVERR)
                try:
                    device.run(model, x)
                except DeviceError:
                    failed += 1
                device.port.clear_faults()
            else:
                assert np.array_equal(device.run(model, x, raw=True), expected), "not the numpy outputs"
            if number == min(100, jobs):
                early = resident()
        late = resident()
        left = device.port.buffers - held
        device.unload(model)
        after = device.port.buffers
    table = Table(
        title=f"{jobs:,} jobs on sim:tiny, 128 x 64 int4, batch 3", title_justify="left", show_header=False
    )
    table.add_column(justify="left")
    table.add_column(justify="right")
    for name, value in (
        ("failed: memory answered with an error", f"{failed}"),
        ("equal to numpy's outputs", f"{jobs - jobs // _FAILING}"),
        (f"resident after {min(100, jobs)} jobs", f"{early / 1024:,.0f} KiB"),
        (f"resident after {jobs:,} jobs", f"{late / 1024:,.0f} KiB ({(late - early) / 1024:+,.0f})"),
        ("buffers of jobs that are left", f"{left}"),
        ("buffers left after unload", f"{after}"),
    ):
        table.add_row(name, value)
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000, metavar="N", help="jobs in a row")
    parser.add_argument("--seconds", type=float, default=10, metavar="S", help="time for each batch size")
    arguments = parser.parse_args()
    console.print(overhead(arguments.seconds))
    console.print(endurance(arguments.jobs))


if __name__ == "__main__":
    main()
