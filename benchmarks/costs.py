"""What the gateware costs: what is measured, and the baselines that are kept of it.

A row of a table in docs/ is declared once, in `PAGES`; what is measured and kept in tests/baselines follows.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import weightstream as ws
from weightstream.spec.machine import PRESETS, Machine
from workloads import LENETS, Bench, chain, lenet_model, mnist_inputs, random_inputs

ROOT = Path(__file__).resolve().parents[1]
BASELINES = ROOT / "tests" / "baselines"
#: Areas and clocks may differ by so much from a baseline, either way; cycles by nothing.
TOLERANCE = 0.1
_BOTH = (("pynq_z2", "xc7"), ("ecp5_85f", "ecp5"))


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Parameters
    ----------
    block : str
        What is measured: one of `weightstream_hw.blocks.BLOCKS`.
    caption : str
        What the row says that it is.
    where : tuple of (str, str)
        Presets and targets.
    changes : mapping
        Parameters that are not the preset's.
    pieces : int
        So many of the block are shown: of one that is measured alone.
    routed : bool
        Whether clocks are measured, where they can be.
    """

    block: str
    caption: str
    where: tuple[tuple[str, str], ...] = _BOTH
    changes: Mapping[str, int | bool] = field(default_factory=dict)
    pieces: int = 1
    routed: bool = False

    def measures(self) -> "list[Measure]":
        """Return what the row needs."""
        changes = tuple(self.changes.items())
        return [
            Measure(self.block, preset, target, changes, self.routed and target == "ecp5")
            for preset, target in self.where
        ]


@dataclass(frozen=True)
class Measure:
    """One synthesis: arguments of `weightstream_hw.report.cost_report`."""

    block: str
    preset: str
    target: str
    changes: tuple[tuple[str, int | bool], ...] = ()
    routed: bool = False

    @property
    def command(self) -> str:
        """The command that measures the same."""
        words = ["weightstream-hw report", f"--preset {self.preset}", f"--target {self.target}"]
        words += [f"--set {name}={str(value).lower()}" for name, value in self.changes]
        words += [f"--block {self.block}"] * (self.block != "accelerator") + ["--route"] * self.routed
        return " ".join(words)

    @property
    def arguments(self) -> dict:
        """The arguments of `cost_report`."""
        return {
            "preset": self.preset,
            "target": self.target,
            "block": self.block,
            "routed": self.routed,
            "changes": dict(self.changes),
        }

    def __str__(self) -> str:
        changes = "".join(f", {name} {value}" for name, value in self.changes)
        return f"{self.block} of {self.preset}{changes}, {self.target}"


#: Tables of the pages in docs/blocks.
PAGES: dict[str, tuple[Row, ...]] = {
    "accelerator": (
        Row("accelerator", "`pynq_z2`, whole", (("pynq_z2", "xc7"),)),
        Row("lane-macs", "its 24 lanes alone, each with two MACs", (("pynq_z2", "xc7"),), pieces=24),
        Row("accelerator", "`ecp5_85f`, whole", (("ecp5_85f", "ecp5"),), routed=True),
        Row("lane-macs", "its 8 lanes alone, each with two MACs", (("ecp5_85f", "ecp5"),), {}, 8, True),
        Row("accelerator", "`tiny`, whole", (("tiny", "xc7"), ("tiny", "ecp5"))),
    ),
    "activations": (
        Row("pool", "Pool, 128 KiB"),
        Row("fetch", "ColumnFetch with PositionTable"),
        Row("feed", "Feed: a patch buffer for each group and column"),
    ),
    "bridge": (
        Row("block-memory", "BlockMemory, 160 KiB", (("ulx3s", "ecp5"),)),
        Row("request-reader", "RequestReader", (("ulx3s", "ecp5"),)),
    ),
    "bus": (
        Row("read-master", "ReadMaster, 5 clients"),
        Row("write-master", "WriteMaster"),
        Row("registers", "RegisterBank with EventCounters"),
    ),
    "contexts": (Row("contexts", "context map, for two lanes"),),
    "drain": (
        Row("drain", "GroupDrain with requantiser, thresholds, float rounding"),
        Row("drain", "the same without float rounding", changes={"float_rounding": False}),
        Row("drain", "the same with float rounding, without thresholds", changes={"thresholds": False}),
        Row("records", "RecordLoader"),
    ),
    "keys": (Row("keys", "key decoder, once in the machine"),),
    "lane": (
        Row("lane", "a lane with queue, keys, and half of a context map", routed=True),
        Row("lane", "the same with 16 slots", changes={"slots": 16}),
        Row("lane-macs", "with 8 slots and two MACs of both kinds", routed=True),
        Row("ring", "`RingControl`, once for all lanes"),
    ),
    "mac": (
        Row("mac", "Mac with both kinds, group 4"),
        Row("mac", "Mac, multiplier alone", changes={"group": 0}),
        Row("mac", "Mac, product table alone, group 4", changes={"multipliers": False}),
        Row("products", "ProductCentre, 2 columns, group 4"),
        Row("products", "the same, group 2", changes={"group": 2}),
        Row("products", "the same, group 1", changes={"group": 1}),
    ),
    "requantise": (
        Row("requantiser", "with float rounding", routed=True),
        Row("requantiser", "without float rounding", changes={"float_rounding": False}, routed=True),
    ),
    "sequencer": (Row("sequencer", "RoundSequencer with ColumnWalk"),),
    "streams": (
        Row("streams", "StreamFetch for all lanes"),
        Row("words", "WordDistributor for all lanes"),
    ),
    "thresholds": (Row("thresholds", "threshold unit", routed=True),),
    "word_queue": (Row("queue", "word queue, 1,024 words"),),
}
#: All that is measured, each once. What takes longest comes first, so that processes end together.
MEASURES: tuple[Measure, ...] = tuple(
    sorted(
        dict.fromkeys(m for rows in PAGES.values() for row in rows for m in row.measures()),
        key=lambda m: (m.block != "accelerator", not m.routed),
    )
)


# ---- cycles --------------------------------------------------------------------------------------

#: Machines whose cycles are kept, and memories that they run on: bandwidth in bytes a cycle, latency.
CYCLE_PRESETS = ("tiny", "ecp5_85f", "pynq_z2")
MEMORIES = {"stall-free": {"bandwidth": 64.0, "latency": 1}, "default": {"bandwidth": 16.0, "latency": 40}}
#: Networks: kind, sizes, batch.
_CHAINS = {
    "int4 128 x 64, batch 1": ("int4", [128, 64], 1),
    "int4 128 x 64, batch 8": ("int4", [128, 64], 8),
    "int4 512 x 256, batch 2": ("int4", [512, 256], 2),
    "int8 128 x 64, batch 2": ("int8", [128, 64], 2),
    "ternary 256 x 128, batch 2": ("ternary", [256, 128], 2),
    "int4 128 x 96 x 64 x 10, batch 2": ("int4", [128, 96, 64, 10], 2),
}


def _workloads(machine: Machine) -> Iterator[tuple[str, ws.Model, np.ndarray]]:
    """Yield the networks whose cycles are kept: name, model, inputs."""
    for name, (kind, sizes, batch) in _CHAINS.items():
        model = chain(sizes, machine, batch, kind)
        yield name, model, random_inputs(model, batch)
    for name in LENETS:
        yield f"LeNet-300-100 {name}, batch 1", lenet_model(name, machine), mnist_inputs()[:1]


def measure_cycles(preset: str) -> dict[str, dict[str, int]]:
    """Return the cycles of each network on each memory."""
    machine = PRESETS[preset]
    return {
        network: {name: _cycles(machine, model, x, **memory) for name, memory in MEMORIES.items()}
        for network, model, x in _workloads(machine)
    }


def _cycles(machine: Machine, model: ws.Model, x: np.ndarray, **memory: float) -> int:
    """Return the cycles of the first job of an accelerator: those of a later one can differ by a few."""
    bench = Bench(machine, **memory)
    try:
        return int(bench.job(model, x)["cycles"])
    finally:
        bench.device.close()


# ---- baselines -----------------------------------------------------------------------------------


def load(name: str) -> dict[str, dict]:
    """Return the baselines of a block by command, or those of ``cycles`` by preset."""
    path = BASELINES / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def save(name: str, entries: Mapping[str, Mapping]) -> None:
    """Write the baselines of a block, or of ``cycles``: a figure a line, the seeds of a clock in one."""
    BASELINES.mkdir(exist_ok=True)
    text = re.sub(
        r"\[\n[^]]*\]", lambda seeds: json.dumps(json.loads(seeds[0])), json.dumps(entries, indent=2)
    )
    (BASELINES / f"{name}.json").write_text(text + "\n", "utf-8")


def baseline(measure: Measure) -> dict:
    """Return the baseline of a measure.

    Raises
    ------
    LookupError
        There is none; the message names the command that makes it.
    """
    return _find(measure.block, measure.command)


def cycles(preset: str) -> dict[str, dict[str, int]]:
    """Return the baseline of a preset's cycles; raises what `baseline` raises."""
    return _find("cycles", preset)["cycles"]


def _find(name: str, key: str) -> dict:
    if (found := load(name).get(key)) is None:
        raise LookupError(f"there is no baseline of {key!r}: {renewal(name)}")
    return found


def renewal(name: str) -> str:
    """Return the command that renews the baselines of a block, or those of ``cycles``."""
    return f'make baselines ARGS="--only {name}"'


def figures(entry: Mapping) -> dict[str, float]:
    """Return what is compared of a baseline, or of a report: its numbers."""
    return {
        name: value
        for name, value in entry.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def change(old: float | None, new: float | None) -> str:
    """Return how a figure has changed, as text: empty if it has not."""
    if old == new:
        return ""
    if old is None or new is None:
        return "new" if old is None else "gone"
    return f"{new / old - 1:+.1%}" if old else "was 0"


def deviations(old: Mapping[str, float], new: Mapping[str, float], tolerance: float) -> list[str]:
    """Return the figures that differ by more than a tolerance, as text: name, old, new, percent."""
    return [
        f"{name}: {old.get(name)} -> {new.get(name)} ({change(old.get(name), new.get(name))})"
        for name in {**old, **new}
        if name not in old or name not in new or abs(new[name] - old[name]) > tolerance * old[name]
    ]
