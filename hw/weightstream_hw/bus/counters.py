"""Counters of events, as wide as they are many, in one small memory."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


class EventCounters(wiring.Component):
    """Count events in 64 bits each.

    Each event has a counter of a few bits in registers; one after another they are moved into the memory that
    holds the sums, which so needs one adder for all. The sums are those since power-up: no reset clears them.

    Timing
    ------
    Latency: 1 clock from `address` to `count`, which has the events up to `lag` clocks before.
    Throughput: an event of each kind a clock.
    Stall: none.

    Parameters
    ----------
    kinds : int
        Kinds of events.

    Attributes
    ----------
    events : In(kinds)
        What happens in this clock.
    address : In
        Kind of event to read.
    count : Out(64)
        Its sum.

    Raises
    ------
    ValueError
        `kinds` is not positive.
    """

    #: Clocks from `address` to `count`.
    latency = 1

    def __init__(self, kinds: int):
        if kinds < 1:
            raise ValueError(f"kinds must be positive, not {kinds}")
        # A counter is not visited again before its sum is written.
        self.kinds = kinds
        self._visits = max(kinds, 4)
        #: The most clocks that an event is not in `count` yet.
        self.lag = self._visits + 3
        super().__init__({"events": In(kinds), "address": In(range(kinds)), "count": Out(64)})

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        m.submodules.sums = sums = Memory(
            shape=64, depth=self._visits, init=[], attrs={"ram_style": "distributed"}
        )
        # A sum may be looked at in the clock in which it is written: what a block memory then shows depends
        # on its family, so `shown` is no port of one.
        old, shown, write = sums.read_port(), sums.read_port(domain="comb"), sums.write_port()
        m.d.comb += shown.addr.eq(self.address)
        m.d.sync += self.count.eq(shown.data)

        kind = Signal(range(self._visits))
        m.d.sync += kind.eq(Mux(kind == self._visits - 1, 0, kind + 1))

        # From one visit to the next there are at most as many events as clocks.
        pending = Array(Signal(range(self._visits + 1), name=f"pending_{n}") for n in range(self.kinds))
        for n in range(self.kinds):
            m.d.sync += pending[n].eq(Mux(kind == n, 0, pending[n]) + self.events[n])

        moved = Signal(range(self._visits + 1))
        target = Signal.like(kind)
        # Behind a reset there is nothing to write yet.
        visited = Signal()
        m.d.sync += [
            moved.eq(Mux(kind < self.kinds, pending[kind], 0)),
            target.eq(kind),
            visited.eq(1),
        ]
        m.d.comb += [
            old.addr.eq(kind),
            write.addr.eq(target),
            write.data.eq(old.data + moved),
            write.en.eq(visited),
        ]
        return m
