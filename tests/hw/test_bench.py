"""The bench for blocks with streams: it stalls, counts, and sees who breaks the rules."""

import pytest
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream_hw.sim.bench import Bench, ContractError, run_stream


class Register(wiring.Component):
    """Passes words on, a clock later; `fault` is the rule that it breaks."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    latency = 1

    def __init__(self, fault: str = ""):
        self.fault = fault
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        with m.Elif(self.fault == "changes"):
            m.d.sync += self.o.payload.eq(self.o.payload + 1)
        with m.Elif(self.fault == "withdraws"):
            m.d.sync += self.o.valid.eq(0)
        if self.fault == "hangs":
            m.d.comb += self.i.ready.eq(0)
        return m


@pytest.mark.parametrize("stall", [0.0, 0.5, 0.9], ids=["free", "stalled", "slow"])
def test_values_arrive_in_order(stall):
    outputs, clocks = run_stream(Register(), range(100), 100, seed=3, stall=stall)
    assert outputs == list(range(100))
    assert (clocks == 100 + Register.latency) == (stall == 0)
    assert clocks > 250 or stall == 0


def test_stalls_repeat_with_their_seed():
    def clocks(seed):
        return run_stream(Register(), range(50), 50, seed=seed, stall=0.4)[1]

    assert clocks(1) == clocks(1) != clocks(2)


@pytest.mark.parametrize(
    "fault, text",
    [
        ("changes", r"^clock \d+: the block changed what it had offered to \d+: \d+$"),
        ("withdraws", r"^clock \d+: the block withdrew what it had offered: \d+$"),
    ],
    ids=["changes", "withdraws"],
)
def test_stalled_stream_must_hold_still(fault, text):
    with pytest.raises(ContractError, match=text):
        run_stream(Register(fault), range(100), 100, seed=1, stall=0.5)


def test_hanging_block_says_how_far_it_came():
    with pytest.raises(ContractError, match=r"^no end after 200 clocks; have 0/5$"):
        run_stream(Register("hangs"), range(5), 5, seed=1, limit=200)


class Pair(wiring.Component):
    """Joins two streams."""

    left: In(stream.Signature(8))
    right: In(stream.Signature(8))
    both: Out(stream.Signature(data.StructLayout({"left": 8, "right": 8})))

    def elaborate(self, platform):
        m = Module()
        taken = Signal()
        m.d.comb += [
            self.both.valid.eq(self.left.valid & self.right.valid),
            taken.eq(self.both.valid & self.both.ready),
            self.left.ready.eq(taken),
            self.right.ready.eq(taken),
            self.both.p.left.eq(self.left.payload),
            self.both.p.right.eq(self.right.payload),
        ]
        return m


def test_several_streams_stall_on_their_own(tmp_path):
    bench = Bench(Pair(), seed=2, stall=0.5)
    bench.source(bench.dut.left, range(30))
    bench.source(bench.dut.right, range(100, 130))
    pairs = bench.sink(bench.dut.both, 30)
    seen = []

    async def look(ctx):
        await ctx.tick().repeat(3)
        seen.append(bench.clocks)

    bench.process(look)
    bench.run(tmp_path / "waves.vcd")
    assert [(pair.left, pair.right) for pair in pairs] == list(zip(range(30), range(100, 130), strict=True))
    assert seen == [3]
    assert "both" in (tmp_path / "waves.vcd").read_text()
