"""An accelerator with its memory in block RAM, behind a UART."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from ..bus.axi import AxiLite, AxiRead, AxiWrite
from ..top import Accelerator
from .engine import Engine
from .frames import FrameWriter
from .memory import BlockMemory
from .uart import UartReceiver, UartTransmitter


class BridgedAccelerator(wiring.Component):
    """Run networks that a computer sends along a serial line: docs/serial.md.

    Timing
    ------
    Latency: that of the line.
    Throughput: that of the line; a job then runs at the accelerator's own.
    Stall: none on the line: the computer waits for answers.

    Parameters
    ----------
    machine : Machine
        What is built; its bus has 64 bits.
    memory_bytes : int
        Block RAM for networks, inputs and outputs, a multiple of 4096.
    divisor : int
        Clocks of a bit on the line.
    clock_hz : int
        The clock.
    dsp : str
        How lanes use multiplier blocks: see `SearchStep`.

    Attributes
    ----------
    receive : In(1)
        The line from the computer, not synchronised.
    transmit : Out(1)
        The line to it.
    interrupt : Out(1)
        The accelerator's interrupt line.
    """

    receive: In(1, init=1)
    transmit: Out(1, init=1)
    interrupt: Out(1)

    def __init__(
        self, machine: Machine, *, memory_bytes: int, divisor: int, clock_hz: int, dsp: str = "generic"
    ):
        self.machine = machine
        self.divisor = divisor
        self.clock_hz = clock_hz
        self._dsp = dsp
        self._memory = BlockMemory(machine, memory_bytes)
        super().__init__()

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        m.submodules.accelerator = accelerator = Accelerator(self.machine, dsp=self._dsp)
        m.submodules.memory = memory = self._memory
        m.submodules.engine = engine = Engine(memory, self.clock_hz)
        m.submodules.frames = frames = FrameWriter()
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        wiring.connect(m, engine.words, memory.request)
        wiring.connect(m, engine.answer, frames.i)
        wiring.connect(m, frames.o, transmitter.i)
        m.d.comb += [
            receiver.line.eq(self.receive),
            self.transmit.eq(transmitter.line),
            engine.byte.eq(receiver.byte),
            engine.byte_valid.eq(receiver.valid),
            engine.words_answer.eq(memory.answer),
            engine.words_answered.eq(memory.answered),
            engine.interrupt.eq(accelerator.interrupt),
            self.interrupt.eq(accelerator.interrupt),
        ]
        address_bits, bus_bits = self.machine.address_bits, self.machine.bus_bits
        self._join(m, accelerator, "m_axi", AxiRead(address_bits, bus_bits), memory.reads)
        self._join(m, accelerator, "m_axi", AxiWrite(address_bits, bus_bits), memory.writes)
        registers = engine.registers
        self._join(m, accelerator, "s_axi", AxiLite(registers.signature.address_bits), registers, slave=True)
        return m

    def _join(self, m: Module, accelerator, prefix: str, signature, bus, *, slave: bool = False) -> None:
        """Connect the accelerator's ports of a bus, which are named one by one, to the bus of a block."""
        for name, member in signature.members.items():
            port, own = getattr(accelerator, f"{prefix}_{name}"), getattr(bus, name)
            m.d.comb += own.eq(port) if (member.flow == Out) != slave else port.eq(own)
