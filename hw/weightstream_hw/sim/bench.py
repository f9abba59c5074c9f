"""Benches for blocks with streams: random stalls on every port, and the rules of streams always checked."""

import os
import random
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

from amaranth import ClockDomain, Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

#: Period of the clock: 100 MHz.
_PERIOD = 1e-8


class ContractError(AssertionError):
    """A block broke a rule of its streams, or hangs."""


class Bench:
    """A block with sources and sinks at its streams.

    A source holds what it offers until it is taken. A block's own streams must do that too: what is valid
    and stalled stays valid and stays the same. Every stream that has a sink is watched.

    Parameters
    ----------
    dut : wiring.Component
        The block.
    seed : int
        Of the stalls.
    stall : float
        Share of clocks in which a source that could offer does not, and a sink does not take.
    limit : int
        Clocks after which the block is said to hang.

    Attributes
    ----------
    clocks : int
        Clocks that have passed.
    """

    def __init__(self, dut: wiring.Component, *, seed: int, stall: float = 0.0, limit: int = 10_000):
        self.dut = dut
        self.clocks = 0
        self._seed, self._stall, self._limit = seed, stall, limit
        top = Module()
        top.domains.sync = ClockDomain()  # a block without registers has none of its own
        top.submodules.dut = dut
        self._simulator = Simulator(top)
        self._simulator.add_clock(_PERIOD)
        # What each sink has, and how much it wants.
        self._sinks: list[tuple[list, int]] = []
        self._ports = 0
        #: Clocks of the first transfer of a source and of the last one of a sink.
        self._first: int | None = None
        self._last = 0
        self._simulator.add_testbench(self._watch_time, background=True)

    def source(self, stream: Any, values: Iterable) -> None:
        """Offer values at an input."""
        rng = self._random()

        async def offer(ctx):
            for value in values:
                while rng.random() < self._stall:
                    await ctx.tick()
                ctx.set(stream.payload, value)
                ctx.set(stream.valid, 1)
                if self._first is None:
                    self._first = self.clocks
                taken = False
                while not taken:
                    *_, taken = await ctx.tick().sample(stream.ready)
                ctx.set(stream.valid, 0)

        self._simulator.add_testbench(offer)

    def sink(self, stream: Any, count: int) -> list:
        """Take values from an output; return the list that will hold them when the bench has run."""
        rng = self._random()
        taken: list = []
        self._sinks.append((taken, count))

        async def take(ctx):
            stalled = None
            while len(taken) < count:
                ready = rng.random() >= self._stall
                ctx.set(stream.ready, ready)
                *_, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
                if stalled is not None:
                    self._check(bool(valid), "withdrew what it had offered", stalled)
                    self._check(payload == stalled, f"changed what it had offered to {payload!r}", stalled)
                stalled = payload if valid and not ready else None
                if valid and ready:
                    taken.append(payload)
                    self._last = self.clocks
            ctx.set(stream.ready, 0)

        self._simulator.add_testbench(take)
        return taken

    def process(self, bench: Callable, *, background: bool = False) -> None:
        """Add an Amaranth test bench of your own."""
        self._simulator.add_testbench(bench, background=background)

    def run(self, waves: str | os.PathLike | None = None) -> int:
        """Run until all sources, sinks and benches have ended.

        Parameters
        ----------
        waves : path
            A VCD file to write.

        Returns
        -------
        int
            Clocks from the first offer of a source, that one included, to the last transfer to a sink.

        Raises
        ------
        ContractError
            A stalled stream has changed, or the block hangs.
        """
        recording = nullcontext() if waves is None else self._simulator.write_vcd(os.fspath(waves))
        with recording:
            self._simulator.run()
        return self._last - (self._first or 0)

    def _random(self) -> random.Random:
        """Return the stalls of the next port: those of the others do not move when a port is added."""
        self._ports += 1
        return random.Random(f"{self._seed}/{self._ports}")

    async def _watch_time(self, ctx) -> None:
        while True:
            await ctx.tick()
            self.clocks += 1
            if self.clocks > self._limit:
                have = ", ".join(f"{len(taken)}/{count}" for taken, count in self._sinks)
                raise ContractError(f"no end after {self._limit} clocks; have {have or 'no sinks'}")

    def _check(self, kept: bool, what: str, payload: object) -> None:
        if not kept:
            raise ContractError(f"clock {self.clocks}: the block {what}: {payload!r}")


def run_stream(
    dut: wiring.Component,
    inputs: Iterable,
    n_out: int,
    *,
    seed: int,
    stall: float = 0.0,
    limit: int = 10_000,
) -> tuple[list, int]:
    """Return the outputs of a block with the streams `i` and `o`, and the clocks that it took.

    Parameters
    ----------
    dut : wiring.Component
        The block.
    inputs : iterable
        Payloads.
    n_out : int
        Payloads to wait for.
    seed, stall, limit
        See `Bench`.

    Raises
    ------
    ContractError
        See `Bench.run`.
    """
    bench = Bench(dut, seed=seed, stall=stall, limit=limit)
    bench.source(dut.i, inputs)
    outputs = bench.sink(dut.o, n_out)
    clocks = bench.run()
    return outputs, clocks
