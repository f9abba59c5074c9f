"""Operations, one after another: what starts what, and what waits for what."""

import random

import pytest

from simulation import simulate
from weightstream.spec import image
from weightstream.spec.machine import Machine
from weightstream.spec.registers import ErrorCode
from weightstream_hw.control.descriptor import DescriptorRegister
from weightstream_hw.control.executor import Executor

MACHINE = Machine(address_bits=40)
PULSES = ("configure", "load", "store", "pass_start", "loaders_start", "done", "error")
LOAD, STORE, END = ({"op": op} for op in (image.OP_LOAD, image.OP_STORE, image.OP_END))


def layer(positions, **changes):
    return {"op": image.OP_MATRIX, "positions": positions} | changes


class Surroundings:
    """What an executor is connected to: all of it takes a random time, within limits (least, most).

    Each clock is checked against what the executor must never do.

    Attributes
    ----------
    events : list of tuple
        Pulses, with what belongs to them, in order.
    clocks : dict of list
        Clocks of each kind of event.
    """

    def __init__(
        self, operations, batch, seed, *, loading=(1, 60), passing=(60, 90), draining=(1, 80), left=()
    ):
        self._operations, self._batch = operations, batch
        self._rng = random.Random(seed)
        self._times = {"configured": (1, 20), "moved": (1, 30), "loaders": loading, "pass": passing}
        self._times |= {"drain": draining}
        #: Passes behind which words of a stream are left.
        self._left = left
        self.events, self.clocks = [], {name: [] for name in (*PULSES, "pass_done")}
        #: Clocks until something ends; what does not run has none.
        self._running = {}
        self._clock = self._passes = 0

    def run(self):
        following = DescriptorRegister("next")
        dut = Executor(MACHINE, following)
        self.flush = dut.flush

        async def bench(ctx):
            ctx.set(dut.batch, self._batch)
            ctx.set(dut.drain_ready, 1)
            ctx.set(dut.loaders_ready, 1)
            ctx.set(dut.start, 1)
            taken, offered = 0, False
            while not ctx.get(dut.done):
                if not offered and taken < len(self._operations) and self._rng.random() < 0.3:
                    offered = True
                    for name, value in self._fields(taken).items():
                        ctx.set(getattr(following, name), value)
                    ctx.set(dut.following_address, self._address(taken))
                ctx.set(dut.layer_valid, offered)
                took = offered and ctx.get(dut.layer_ready)
                await ctx.tick()
                self._clock += 1
                assert self._clock < 20_000, f"hangs behind {self.events[-5:]}"
                ctx.set(dut.start, 0)
                if took:
                    assert "loaders" not in self._running, "the loaders still look at the descriptor"
                    taken, offered = taken + 1, False
                if taken:
                    # It is the one that was taken, until the next one is.
                    assert ctx.get(dut.operation) == self._address(taken - 1)
                    for name, value in self._fields(taken - 1).items():
                        assert ctx.get(getattr(dut.descriptor, name)) == value
                self._follow(ctx, dut)

        simulate(dut, bench)
        return self

    def _fields(self, number):
        fields = {"rows": number + 1, "zero_point": -number, "item_words": 3 * number, "positions": 0}
        return fields | self._operations[number]

    def _address(self, number):
        return 0xFF_0000_0000 + 128 * number

    def _follow(self, ctx, dut):
        """Answer the pulses of a clock."""
        ended = {name for name, clocks in self._running.items() if clocks == 1}
        self._running = {name: n - 1 for name, n in self._running.items() if n > 1}
        pulses = [name for name in PULSES if ctx.get(getattr(dut, name))]
        for name in pulses:
            self.clocks[name].append(self._clock)
            detail = {"pass_start": dut.pass_item, "error": dut.error_code}.get(name)
            self.events.append((name,) if detail is None else (name, ctx.get(detail)))
        for name, block in (("configure", "configured"), ("load", "moved"), ("store", "moved")):
            if name in pulses:
                self._begin(block)
        if {"load", "store"} & set(pulses):
            assert "drain" not in self._running, "outputs are still on their way"
        if "loaders_start" in pulses:
            assert "loaders" not in self._running, "the loaders were busy"
            self._begin("loaders")
        if "pass_start" in pulses:
            assert not {"pass", "configured", "moved"} & set(self._running)
            ends = self.clocks["pass_done"]
            assert not ends or self._clock > ends[-1] + self.flush, "symbols were still in the lanes"
            assert len(self.clocks["loaders_start"]) > self._passes, "nothing loads keys and records"
            self._passes += 1
            self._begin("pass")
        if "pass" in ended:
            self.clocks["pass_done"].append(self._clock)
            # The last tile is drained long after the last round.
            self._begin("drain")
        ctx.set(dut.streams_end, self._passes - 1 not in self._left)
        for name in ("configured", "moved"):
            ctx.set(getattr(dut, name), name in ended)
        ctx.set(dut.pass_done, "pass" in ended)
        ctx.set(dut.drain_ready, "drain" not in self._running)
        # The loaders answer a start one clock later.
        ctx.set(dut.loaders_ready, "loaders" not in self._running or "loaders_start" in pulses)

    def _begin(self, name):
        assert name not in self._running or name == "drain", f"{name} was started twice"
        self._running[name] = self._rng.randint(*self._times[name])


def expected_events(operations, batch):
    """Return the pulses of a program without errors, but for those of the loaders: they may be early."""
    events = []
    for d in operations:
        match d["op"]:
            case image.OP_LOAD:
                events.append(("load",))
            case image.OP_STORE:
                events.append(("store",))
            case image.OP_MATRIX:
                events.append(("configure",))
                events += [("pass_start", item) for item in range(0, batch, d["positions"])]
            case image.OP_END:
                events.append(("done",))
    return events


def without_loaders(events):
    return [event for event in events if event != ("loaders_start",)]


@pytest.mark.parametrize(
    "seed,loading",
    [(0, (1, 1)), (1, (1, 60)), (2, (1, 120)), (3, (100, 300))],
    ids=["fast", "random", "varied", "slow"],
)
def test_a_program_runs_in_order(seed, loading):
    operations = [LOAD, layer(4), layer(2), layer(64), STORE, layer(3), LOAD, STORE, END]
    found = Surroundings(operations, 9, seed, loading=loading).run()
    assert without_loaders(found.events) == expected_events(operations, 9)
    # Keys and records of each pass are loaded once.
    assert len(found.clocks["loaders_start"]) == len(found.clocks["pass_start"]) == 3 + 5 + 1 + 3


@pytest.mark.parametrize("batch", [1, 4, 5, 65_535])
def test_a_pass_begins_for_every_item(batch):
    operations = [layer(4 if batch < 10 else 4095), END]
    found = Surroundings(operations, batch, 3).run()
    assert without_loaders(found.events) == expected_events(operations, batch)


def test_a_program_without_operations_is_done():
    assert Surroundings([END], 7, 4).run().events == [("done",)]


def test_keys_and_records_of_the_next_pass_are_loaded_ahead():
    found = Surroundings([layer(2), layer(4), END], 8, 5, loading=(1, 20)).run()
    starts, passes, ends = (found.clocks[name] for name in ("loaders_start", "pass_start", "pass_done"))
    for number, layer_begins in enumerate([True, False, False, False, True, False]):
        if layer_begins:
            assert starts[number] == passes[number]
        else:
            assert passes[number - 1] < starts[number] < ends[number - 1]


def test_loaders_that_are_slower_than_a_pass_are_waited_for():
    found = Surroundings([layer(2), END], 8, 6, loading=(400, 500)).run()
    starts = found.clocks["loaders_start"]
    # The sequencer waits for keys: passes overlap with what they load, but never with two.
    assert all(later - earlier >= 400 for earlier, later in zip(starts, starts[1:], strict=False))
    assert starts == found.clocks["pass_start"]
    assert found.clocks["done"][0] >= starts[-1] + 400


def test_passes_follow_each_other_behind_the_flush():
    found = Surroundings([layer(1), END], 6, 7, loading=(1, 20)).run()
    starts, ends = found.clocks["pass_start"], found.clocks["pass_done"]
    assert {start - end for start, end in zip(starts[1:], ends, strict=False)} == {found.flush + 2}


def test_the_first_pass_waits_for_the_outputs_of_the_layer_before():
    found = Surroundings([layer(8), layer(8), STORE, END], 8, 8, draining=(500, 500)).run()
    ends, starts, [store] = (found.clocks[name] for name in ("pass_done", "pass_start", "store"))
    configures = found.clocks["configure"]
    assert configures[1] < ends[0] + 100, "the configuration need not wait"
    assert starts[1] > ends[0] + 500 and store > ends[1] + 500


@pytest.mark.parametrize("left", [(0,), (2,), (0, 3)])
def test_words_that_are_left_behind_a_pass_are_an_error(left):
    operations = [layer(3), layer(4), END]
    found = Surroundings(operations, 7, 9, left=left).run()
    errors = [event for event in found.events if event[0] == "error"]
    assert errors == [("error", ErrorCode.STREAM_LENGTH)] * len(left)
    for clock, number in zip(found.clocks["error"], left, strict=True):
        assert clock == found.clocks["pass_done"][number] + found.flush + 2
