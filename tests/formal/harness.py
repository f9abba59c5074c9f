"""What all proofs share: a block with free inputs, and words to say what holds about it."""

from abc import ABC, abstractmethod
from pathlib import Path

from amaranth.hdl import (
    Assert,
    Assume,
    Cat,
    Const,
    Cover,
    Elaboratable,
    Fragment,
    Module,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib.wiring import In


class Harness(Elaboratable, ABC):
    """A block whose inputs are anything, unless a rule says otherwise; each proof says its rules.

    Parameters
    ----------
    dut : Component
        The block.
    """

    def __init__(self, dut):
        self.dut = dut
        self._block = Fragment.get(dut, None)
        self.inputs = [
            Value.cast(value) for _, member, value in dut.signature.flatten(dut) if member.flow is In
        ]
        #: Not the first clock: what was before is known.
        self.started = Signal()

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self._block
        # Apart, so that the past is kept in every clock, also where it is asked for under a condition.
        m.submodules.pasts = self._pasts = Module()
        m.d.comb += Assume(~ResetSignal())
        m.d.sync += self.started.eq(1)
        self.rules(m)
        return m

    @abstractmethod
    def rules(self, m):
        """Say what is assumed and what is claimed."""

    # ---- what is inside of the block, for claims that lead from one clock to the next ------------

    def inner(self, *path, width=None):
        """Return a signal within the block: names of the blocks it is in, and its own."""
        fragment, name = self._within(path[:-1]), path[-1]
        signals = {
            id(signal): signal
            for statements in fragment.statements.values()
            for signal in statements._lhs_signals()
            if signal.name == name and width in (None, len(signal))
        }
        if len(signals) != 1:
            raise KeyError(f"there are {len(signals)} signals {'.'.join(path)}")
        return next(iter(signals.values()))

    def state(self, name, *path):
        """Return whether a state machine within the block is in a state."""
        machine = self._within(path).find_generated("fsm")
        return self.inner(*path, "fsm_state") == machine.encoding[name]

    def word(self, m, address, *path):
        """Return what a memory within the block holds at an address."""
        memory = self._within(path)
        data = Signal(memory._data.shape, name=f"word_{path[-1]}")
        memory.read_port(domain="comb", addr=address, data=data, en=Const(1), transparent_for=())
        return data

    def read_data(self, port, *path):
        """Return what a read port of a memory within the block shows; ports in the order they were made."""
        return self._within(path)._read_ports[port]._data

    def _within(self, path):
        fragment = self._block
        for name in path:
            fragment = fragment.find_subfragment(name)
        return fragment

    # ---- rules -----------------------------------------------------------------------------------

    def free(self, shape, name):
        """Return an input of the proof: anything, anew in each clock."""
        signal = Signal(shape, name=name)
        self.inputs.append(signal)
        return signal

    def claim(self, m, *conditions):
        """Claim conditions in every clock; one that fails is named by file, number in the claim, line."""
        for number, condition in enumerate(conditions, 1):
            statement = Assert(condition, src_loc_at=1)
            file, line = statement.src_loc
            statement.src_loc = (f"{Path(file).name}, number {number}", line)
            m.d.comb += statement

    def assume(self, m, *conditions):
        """Assume conditions in every clock."""
        for condition in conditions:
            m.d.comb += Assume(condition, src_loc_at=1)

    def reach(self, m, condition):
        """Claim that a condition can come true."""
        m.d.comb += Cover(condition, src_loc_at=1)

    def past(self, value):
        """Return what a value was one clock before."""
        value = Value.cast(value)
        signal = Signal(value.shape(), name="past")
        self._pasts.d.sync += signal.eq(value)
        return signal

    def held(self, valid, ready, *payload):
        """Return that what is offered is neither withdrawn nor changed before it is taken."""
        stalled = self.past(Value.cast(valid) & ~Value.cast(ready))
        same = [Value.cast(value) == self.past(value) for value in payload]
        return implies(stalled, all_of(valid, *same))

    def held_stream(self, stream):
        """Return that a stream keeps its promise."""
        return self.held(stream.valid, stream.ready, stream.payload)


def all_of(*conditions):
    """Return that all conditions hold."""
    return Cat(Value.cast(condition).any() for condition in conditions).all()


def implies(condition, *then):
    """Return that all others hold if a condition does."""
    return ~Value.cast(condition).any() | all_of(*then)


class Watched:
    """Any one entry of a queue, from when it goes in until it comes out.

    What holds about it holds about all of them.

    Parameters
    ----------
    m : Module
        Where it belongs.
    choose : Value
        A free input: watch what goes in now.
    enters, leaves : Value
        Something goes in, something comes out.
    level : Value
        What is in the queue.
    entry : Value
        What goes in.
    """

    def __init__(self, m, choose, enters, leaves, level, entry):
        entry = Value.cast(entry)
        #: It is in the queue, behind `ahead` others.
        self.active, self.ahead = Signal(), Signal(8)
        self.entry = Signal(entry.shape())
        #: It is the one that comes out next.
        self.next = Signal()
        m.d.comb += self.next.eq(self.active & (self.ahead == 0))
        with m.If(~self.active & choose & enters):
            m.d.sync += [self.active.eq(1), self.entry.eq(entry), self.ahead.eq(level - leaves)]
        with m.Elif(leaves):
            m.d.sync += [self.ahead.eq(self.ahead - 1), self.active.eq(self.active & ~self.next)]


def queue_holds(harness, m, watched, entry, *path):
    """Claim that a `SyncFIFO` holds the entry of what is watched, where it should be; return its level."""
    level, consume, produce = (harness.inner(*path, name) for name in ("level", "consume", "produce"))
    place = Signal.like(consume, name="place")
    m.d.comb += place.eq(consume + watched.ahead)
    word = harness.word(m, place, *path, "storage")
    depth = 1 << len(consume)
    harness.claim(
        m,
        level <= depth,
        produce == (consume + level)[: len(consume)],
        implies(watched.active, watched.ahead < level, word == entry),
    )
    return level
