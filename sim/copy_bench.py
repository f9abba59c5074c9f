"""The benches' own bench: everything that they offer, on a design that copies memory."""

import random

import cocotb
from cocotb.triggers import ClockCycles

from copy_engine import BEATS, BURST, CONTROL, ERROR, SOURCE, TARGET
from tb import TB, started

PAGE = 4096


async def start(tb: TB, source: int, target: int, beats: int) -> None:
    for register, value in ((SOURCE, source), (TARGET, target), (BEATS, beats), (CONTROL, 1)):
        await tb.write32(register, value)


@cocotb.test
@cocotb.parametrize(latency=[1, 40, 100], pause=[0.0, 0.5])
async def copies_across_pages(dut, latency, pause):
    tb = await started(dut, latency=latency, pause=pause, seed=latency)
    lanes = len(dut.m_axi_rdata) // 8
    size, source, target = 4 * BURST * lanes, 3 * PAGE - 2 * BURST * lanes, 20 * PAGE - BURST * lanes
    data = random.Random(5).randbytes(size)
    tb.ram.write(source, data)
    tb.guard(target, size)
    await start(tb, source, target, size // lanes)
    clocks = await tb.interrupt(20_000)
    assert clocks > latency + 4 * BURST
    assert tb.ram.read(target, size) == data
    tb.check_guard(target, size)
    assert await tb.read32(CONTROL) == 2
    assert await tb.read32(ERROR) == 0
    await ClockCycles(dut.clk, 2)
    assert not int(dut.interrupt.value)


@cocotb.test
@cocotb.parametrize(written=[False, True])
async def faulty_memory_answers_an_error(dut, written):
    tb = await started(dut, latency=5, pause=0.2)
    lanes = len(dut.m_axi_rdata) // 8
    fault = (PAGE if written else 0) + lanes * (BURST + 3)
    tb.ram.faults["write" if written else "read"].append(range(fault, fault + lanes))
    await start(tb, 0, PAGE, 2 * BURST)
    await tb.interrupt(20_000)
    assert await tb.read32(ERROR) == 2


@cocotb.test
async def latency_is_pipelined(dut):
    tb = await started(dut, latency=100)
    await start(tb, 0, PAGE, 8 * BURST)
    # The copy engine keeps eight bursts in flight: they wait together.
    assert await tb.interrupt(20_000) < 2 * 100 + 8 * BURST + 80
