"""Figures of the accelerator, from its compiled RTL: symbols a clock, set-up, memory traffic, LeNet."""

import argparse
import math

from rich.console import Console
from rich.progress import track
from rich.table import Table

import weightstream as ws
from weightstream.runtime.image import Image
from weightstream.spec.machine import PRESETS
from workloads import LENETS, Bench, chain, lenet_model, mnist_inputs, random_inputs

#: Bytes a second that the DDR of a PYNQ-Z2 gives to the logic, and bytes a clock of one of its memory ports.
DDR, PORT_BYTES = 1.58e9, 8
console = Console(width=110)


def job(bench: Bench, model: ws.Model, batch: int) -> dict[str, float]:
    """Run a batch of any inputs, and return what the counters counted."""
    return bench.job(model, random_inputs(model, batch))


def stream_bytes(model: ws.Model) -> int:
    """Return the bytes of all weight streams."""
    return sum(2 * len(lane) for coded in model.matrices().values() for lane in coded.lanes)


def lane_bytes(image: Image, model: ws.Model, beats: int, batch: int) -> float:
    """Return the bytes that were read for weights: all but program, records, keys, inputs."""
    from weightstream.spec.image import DESCRIPTOR_BYTES, HEADER, HEADER_BYTES, OP_MATRIX, unpack_descriptor

    machine = image.machine
    program, words = HEADER.unpack_from(image.data)[4:6]

    def bus_beats(count: int) -> int:
        return -(-8 * count // machine.bus_bytes)

    others = bus_beats(HEADER_BYTES // 8) + bus_beats(words) + bus_beats(batch * image.input_pitch // 8)
    at = program
    while at < program + 8 * words:
        fields = unpack_descriptor(image.data[at : at + DESCRIPTOR_BYTES])
        at += DESCRIPTOR_BYTES
        if fields["op"] == OP_MATRIX:
            passes = math.ceil(batch / fields["positions"])
            others += passes * (bus_beats(fields["records_words"]) + bus_beats(fields["keys_words"]))
            at += 8 * (fields["stored_lanes"] + fields["config_words"])
    return (beats - others) * machine.bus_bytes


def rates(preset: str) -> Table:
    """Return the table of symbols a clock, marginal costs and traffic."""
    machine = PRESETS[preset]
    streams, columns = machine.layout.streams, 512
    few, many = (chain([columns, tiles * streams], machine, machine.columns) for tiles in (2, 6))
    fast = Bench(machine, bandwidth=64)
    batch = machine.columns
    first, second = job(fast, few, batch), job(fast, many, batch)
    symbols = 4 * columns * machine.slots
    rate = symbols / (second["cycles"] - first["cycles"])
    table = Table(title=f"{preset}: {machine}", title_justify="left")
    for i, name in enumerate(("what", "measured", "at least")):
        table.add_column(name, justify="left" if i == 0 else "right")
    table.add_row(f"symbols a clock a lane, {columns} symbols a row", f"{rate:.4f}", "0.99")

    need = (stream_bytes(many) - stream_bytes(few)) / (second["cycles"] - first["cycles"])
    slow = Bench(machine, bandwidth=1.25 * need)
    first, second = job(slow, few, batch), job(slow, many, batch)
    rate = symbols / (second["cycles"] - first["cycles"])
    table.add_row(f"the same, latency 40, {1.25 * need:.2f} bytes a cycle", f"{rate:.4f}", "0.97")

    one = chain([columns, columns], machine, batch)
    two = chain([columns, columns, columns], machine, batch)
    single, double = job(fast, one, batch), job(fast, two, batch)
    cycles = double["cycles"] - single["cycles"]
    sharing = list(two.matrices().values())[-1].plan
    ideal = sharing.tiles * sharing.part_symbols * machine.slots
    table.add_row(
        f"clocks of a {columns} x {columns} layer beyond 1.02 x {ideal}",
        f"{cycles - 1.02 * ideal:.0f}",
        "<= 600",
    )
    wide = job(fast, one, 8 * batch)
    table.add_row(
        f"clocks of a further pass beyond 1.02 x {ideal}",
        f"{(wide['cycles'] - single['cycles']) / 7 - 1.02 * ideal:.0f}",
        "",
    )
    image = fast.device.load(many)
    counters = job(fast, many, batch)
    extra = lane_bytes(image, many, counters["beats_read"], batch) / stream_bytes(many) - 1
    table.add_row("memory traffic for weights beyond the file's streams", f"{extra:+.2%}", "<= 2 %")
    return table


def lenet(preset: str) -> Table:
    """Return the table of both MNIST networks."""
    machine = PRESETS[preset]
    full, port = Bench(machine), Bench(machine, bandwidth=PORT_BYTES)
    x = mnist_inputs()
    table = Table(title=f"LeNet-300-100 on {preset}: {machine}", title_justify="left")
    for i, name in enumerate(("", "cycles", "at 100 MHz", "at 150 MHz", "idle rounds")):
        table.add_column(name, justify="left" if i == 0 else "right")
    for name in LENETS:
        for bench, batch, memory in (
            (full, 1, ""),
            (port, 1, f", memory moves {PORT_BYTES} bytes a clock"),
            (full, 48, ""),
        ):
            counters = bench.job(lenet_model(name, machine, batch), x[:batch])
            cycles = counters["cycles"] / batch
            idle = sum(value for key, value in counters.items() if key.startswith("idle"))
            table.add_row(
                f"{name}, batch {batch}{memory}",
                f"{cycles:,.0f}",
                f"{1e8 / cycles:,.0f} img/s",
                f"{1.5e8 / cycles:,.0f} img/s",
                f"{idle} of {idle + counters['busy']}",
            )
    weights = 784 * 300 + 300 * 100 + 100 * 10
    for name, width in (("int8", 8), ("int4", 4), ("2 bits", 2)):
        rate = DDR / (weights * width / 8)
        table.add_row(f"raw {name} weights from 1.58 GB/s, batch 1", "", f"{rate:,.0f} img/s", "", "")
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="pynq_z2", choices=PRESETS, help="the machine that runs LeNet")
    parser.add_argument(
        "--rates", default="ecp5_85f", choices=PRESETS, help="the machine of the other figures"
    )
    arguments = parser.parse_args()
    for measure, preset in track(
        ((rates, arguments.rates), (lenet, arguments.preset)), "simulating", console=console, transient=True
    ):
        console.print(measure(preset))


if __name__ == "__main__":
    main()
