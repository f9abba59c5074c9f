"""Both ends of an accelerator's buses, in cocotb: a processor; a memory with pauses, latency and faults."""

import itertools
import logging
import mmap
import random

import cocotb
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.triggers import ClockCycles, RisingEdge, Timer, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

PERIOD = 10
#: The memory that an accelerator sees; addresses beyond it wrap.
MEMORY = 1 << 20
#: Bytes before and behind what may be written; they must stay.
GUARD, GUARD_BYTE = 128, 0xAA


class DelayedChannel:
    """An address channel whose transactions come some clocks later, as many as there are at a time.

    Parameters
    ----------
    channel : stream sink
        Of cocotbext-axi.
    clock : handle
        The clock.
    latency : int
        Clocks.
    """

    def __init__(self, channel, clock, latency: int):
        self._channel, self._clock, self._latency = channel, clock, latency
        self._due = Queue()
        channel.queue_occupancy_limit = 16
        cocotb.start_soon(self._stamp())

    def __getattr__(self, name):
        return getattr(self._channel, name)

    async def _stamp(self):
        while True:
            transaction = await self._channel.recv()
            await self._due.put((get_sim_time("ns") + self._latency * PERIOD, transaction))

    async def recv(self):
        """Return the next transaction when it is due."""
        due, transaction = await self._due.get()
        while get_sim_time("ns") < due:
            await RisingEdge(self._clock)
        return transaction


class Ram(AxiRam):
    """A memory that answers errors in ranges: `faults` of reads and of writes."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.faults: dict[str, list[range]] = {"read": [], "write": []}
        self.read_if._read = self._failing("read", self.read_if._read)
        self.write_if._write = self._failing("write", self.write_if._write)

    def _failing(self, kind: str, access):
        """Return an access that raises in faulty ranges: the slave then answers SLVERR."""

        async def checked(address, *args):
            if any(address % MEMORY in fault for fault in self.faults[kind]):
                raise OSError(f"fault at 0x{address:x}")
            return await access(address, *args)

        return checked


class TB:
    """Clock, processor and memory around a device under test.

    Parameters
    ----------
    dut : handle
        The accelerator.
    latency : int
        Clocks from an address to its first beat.
    pause : float
        Share of clocks in which a channel rests; each one on its own.
    seed : int
        Of the pauses.
    """

    def __init__(self, dut, *, latency: int = 1, pause: float = 0.0, seed: int = 1):
        self.dut = dut
        # Every transaction would be logged, several lines each.
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)
        # Without a reset on its first edge, what a simulator does not know gets into memories.
        dut.rst.value = 1
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
        memory = mmap.mmap(-1, MEMORY)
        self.ram = Ram(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=MEMORY, mem=memory)
        reads, writes = self.ram.read_if, self.ram.write_if
        channels = [reads.ar_channel, reads.r_channel, writes.aw_channel, writes.w_channel, writes.b_channel]
        channels += [self.registers.read_if.ar_channel, self.registers.read_if.r_channel]
        channels += [getattr(self.registers.write_if, f"{name}_channel") for name in ("aw", "w", "b")]
        if pause:
            for number, channel in enumerate(channels):
                channel.set_pause_generator(_pauses(pause, f"{seed}/{number}"))
        reads.ar_channel = DelayedChannel(reads.ar_channel, dut.clk, latency)
        writes.aw_channel = DelayedChannel(writes.aw_channel, dut.clk, latency)

    async def reset(self) -> None:
        """Start the clock, and reset everything."""
        await Timer(PERIOD, "ns")
        cocotb.start_soon(Clock(self.dut.clk, PERIOD, unit="ns").start())
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 2)

    async def read32(self, address: int) -> int:
        """Return a register."""
        return await self.registers.read_dword(address)

    async def write32(self, address: int, value: int) -> None:
        """Write a register."""
        await self.registers.write_dword(address, value)

    async def interrupt(self, clocks: int) -> int:
        """Wait for the interrupt; return after how many clocks it came. SimTimeoutError if it does not."""
        start = get_sim_time("ns")
        if not int(self.dut.interrupt.value):
            await with_timeout(RisingEdge(self.dut.interrupt), clocks * PERIOD, "ns")
        return int(get_sim_time("ns") - start) // PERIOD

    def guard(self, address: int, size: int) -> None:
        """Surround a range with bytes that must stay."""
        for start in (address - GUARD, address + size):
            self.ram.write(start, bytes([GUARD_BYTE] * GUARD))

    def check_guard(self, address: int, size: int) -> None:
        """Check that nothing was written around a range."""
        for start in (address - GUARD, address + size):
            assert self.ram.read(start, GUARD) == bytes([GUARD_BYTE] * GUARD), hex(start)


async def started(dut, **options) -> TB:
    """Return a bench whose device has been reset; options are those of `TB`."""
    tb = TB(dut, **options)
    await tb.reset()
    return tb


def _pauses(share: float, seed: str):
    rng = random.Random(seed)
    return (rng.random() < share for _ in itertools.count())
