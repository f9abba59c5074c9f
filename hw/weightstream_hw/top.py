"""The accelerator, with ports that block designs know by name."""

from __future__ import annotations

from amaranth import Module, ResetInserter, Signal
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from weightstream.spec.machine import Machine
from weightstream.spec.registers import ADDRESS_BITS, BY_NAME, ErrorCode

from .bus.axi import AxiLite, AxiRead, AxiWrite
from .bus.read_master import ReadMaster
from .bus.registers import RegisterBank, port_name
from .bus.write_master import WriteMaster
from .control.job import JobControl
from .core import CLIENTS, COUNTED_ROUNDS, Core


def _flat(prefix: str, signature: wiring.Signature, slave: bool = False) -> dict:
    """Return the members of a bus as ports of their own."""
    return {
        f"{prefix}_{name}": member.flip() if slave else member for name, member in signature.members.items()
    }


def _port(bank: RegisterBank, name: str) -> Value:
    """Return the port of a register that has one field."""
    (field,) = BY_NAME[name].fields
    return getattr(bank, port_name(BY_NAME[name], field))


class Accelerator(wiring.Component):
    """Runs compressed networks from memory: registers on one side, a memory bus on the other.

    Timing
    ------
    Latency, Throughput: those of `Core`.
    Stall: whatever memory and buses do, nothing is lost; a watchdog ends a job in which no beat moves.

    Parameters
    ----------
    machine : Machine
        What is built.
    dsp : str
        One of `weightstream_hw.multipliers.MULTIPLIERS`.

    Attributes
    ----------
    s_axi_* : AXI4-Lite slave
        Registers: docs/registers.md.
    m_axi_* : AXI4 master
        Memory. No more than ``machine.burst_beats`` beats a burst.
    interrupt : Out(1)
        See registers `gie`, `ier`, `isr`.
    """

    def __init__(self, machine: Machine, dsp: str = "generic"):
        self.machine = machine
        self._dsp = dsp
        self._lite = AxiLite(ADDRESS_BITS)
        self._read = AxiRead(machine.address_bits, machine.bus_bits)
        self._write = AxiWrite(machine.address_bits, machine.bus_bits)
        super().__init__(
            _flat("s_axi", self._lite, slave=True)
            | _flat("m_axi", self._read)
            | _flat("m_axi", self._write)
            | {"interrupt": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        machine = self.machine
        reset = Signal()
        core = Core(machine, dsp=self._dsp)
        m.submodules.core = ResetInserter(reset)(core)
        m.submodules.bank = bank = RegisterBank(machine)
        m.submodules.reads = reads = ReadMaster(machine, len(CLIENTS))
        m.submodules.writes = writes = WriteMaster(machine)
        m.submodules.job = job = JobControl(machine, 2 + Core.REPORTERS)
        self._connect(m, "s_axi", self._lite, bank.bus, slave=True)
        self._connect(m, "m_axi", self._read, reads.bus)
        self._connect(m, "m_axi", self._write, writes.bus)
        for client in range(len(CLIENTS)):
            wiring.connect(m, core.requests[client], reads.requests[client])
        wiring.connect(m, core.write_command, writes.command)
        wiring.connect(m, core.write_words, writes.data)

        # It is a long way to all of the core, so a register drives it. What the core does in the clock
        # before, nobody looks at.
        m.d.sync += reset.eq(job.core_reset)
        beats_read, beats_written = Signal(), Signal()
        m.d.comb += [
            beats_read.eq(reads.bus.rvalid & reads.bus.rready),
            beats_written.eq(writes.bus.wvalid & writes.bus.wready),
            core.start.eq(job.core_start),
            *(core.job[name].eq(_port(bank, name)) for name in core.job.shape().members),
            core.beat.eq(reads.beat),
            core.beat_valid.eq(reads.beat_valid),
            core.written.eq(writes.done),
            job.start.eq(bank.ctrl__ap_start),
            job.soft_reset.eq(bank.reset__soft),
            job.core_done.eq(core.done),
            job.masters_idle.eq(reads.idle & writes.idle),
            job.progress.eq(beats_read | beats_written),
            job.watchdog.eq(bank.watchdog__limit),
            reads.flush.eq(job.flush),
            writes.flush.eq(job.flush),
        ]
        reports = (
            (reads.error, ErrorCode.READ_RESPONSE, reads.error_address),
            (writes.error, ErrorCode.WRITE_RESPONSE, writes.error_address),
        )
        for report, (valid, code, address) in zip(list(job.errors)[:2], reports, strict=True):
            m.d.comb += [report.valid.eq(valid), report.code.eq(code), report.address.eq(address)]
        for report, own in zip(list(job.errors)[2:], core.errors, strict=True):
            m.d.comb += report.eq(own)

        m.d.comb += [
            self.interrupt.eq(bank.interrupt),
            bank.ctrl__ap_ready.eq(job.accepted),
            bank.ctrl__ap_done.eq(job.done),
            bank.ctrl__ap_idle.eq(job.idle),
            bank.error__code.eq(job.error_code),
            bank.error_at__address.eq(job.error_address),
            bank.cycles__count.eq(~job.idle),
            *(_port(bank, name).eq(core.rounds[name]) for name in COUNTED_ROUNDS),
            bank.beats_read__count.eq(beats_read),
            bank.beats_written__count.eq(beats_written),
            bank.jobs__count.eq(job.done),
        ]
        return m

    def _connect(self, m: Module, prefix: str, signature: wiring.Signature, bus, slave: bool = False) -> None:
        """Connect the ports of a bus to the bus of a block."""
        for name, member in signature.members.items():
            port, own = getattr(self, f"{prefix}_{name}"), getattr(bus, name)
            drives = (member.flow == Out) != slave
            m.d.comb += port.eq(own) if drives else own.eq(port)
