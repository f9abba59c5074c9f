"""The registers of an accelerator behind an AXI4-Lite port, made from their declaration."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine
from weightstream.spec.registers import ADDRESS_BITS, REGISTERS, Access, Field, Register, constants

from .axi import OKAY, AxiLite
from .counters import EventCounters

#: Fields that the bank knows itself.
_OWN = {("ctrl", "interrupt")}
#: Registers that count, in the order of their counters.
_COUNTERS = [register for register in REGISTERS if register.fields[0].access is Access.COUNT]


def port_name(register: Register, field: Field) -> str:
    """Return the name of the port of a field."""
    return f"{register.name}__{field.name}"


class RegisterBank(wiring.Component):
    """Registers between a processor and the accelerator.

    What each field does is declared in `weightstream.spec.registers`. A field of access READ has an input; of
    access WRITE, START and PULSE an output; of access EVENT and COUNT an input that is set for one clock by
    each event. TOGGLE, CONSTANT and `ctrl.interrupt` have no port.

    Timing
    ------
    Latency: 3 clocks from an address to what is read, 2 from address and data to the answer to a write, with
    which outputs change.
    Throughput: a read in 4 clocks, a write in 2; reads and writes go on side by side.
    Stall: the port takes no address or data until the answer before was taken.

    Parameters
    ----------
    machine : Machine
        What is built, for the constants.

    Attributes
    ----------
    bus : In(AxiLite)
        The port. Write addresses and data may come in any order.
    interrupt : Out(1)
        The interrupt line.
    <register>__<field> : In or Out
        A field of a register.
    """

    #: Clocks from an address to what is read, and from address and data to the end of a write.
    read_latency, write_latency = 3, 2

    def __init__(self, machine: Machine):
        self.machine = machine
        ports = {}
        for register in REGISTERS:
            for field in register.fields:
                if (register.name, field.name) in _OWN:
                    continue
                name = port_name(register, field)
                if field.access in (Access.WRITE, Access.START, Access.PULSE):
                    ports[name] = Out(field.bits, init=field.reset)
                elif field.access is Access.READ:
                    ports[name] = In(field.bits)
                elif field.access in (Access.EVENT, Access.COUNT):
                    ports[name] = In(1)
        super().__init__({"bus": In(AxiLite(ADDRESS_BITS)), "interrupt": Out(1), **ports})

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        reads, read_word = self._read_port(m)
        writes, write_word, data, strobes = self._write_port(m)
        m.submodules.counters = counters = EventCounters(len(_COUNTERS))
        events = [getattr(self, port_name(register, register.fields[0])) for register in _COUNTERS]
        m.d.comb += counters.events.eq(Cat(events))

        state = {}
        for register in REGISTERS:
            first = register.address // 4
            read = reads & (read_word == first)
            enables = Cat(
                (writes & (write_word == first + n)).replicate(4) & strobes for n in range(register.words)
            )
            for field in register.fields:
                value = self._field(m, register, field, read, enables, data.replicate(register.words))
                state[register.name, field.name] = value
        with m.Switch(read_word):
            for number, register in enumerate(_COUNTERS):
                with m.Case(register.address // 4):
                    m.d.comb += counters.address.eq(number)
                state[register.name, register.fields[0].name] = counters.count

        pending = [state["ier", bit] & state["isr", bit] for bit in ("done", "ready")]
        m.d.comb += self.interrupt.eq(state["gie", "enable"] & Cat(pending).any())
        state["ctrl", "interrupt"] = self.interrupt

        # The upper word goes with the lower one that was read before it.
        upper = Signal(32, reset_less=True)
        with m.If(reads):
            m.d.sync += self.bus.rdata.eq(0)
            with m.Switch(read_word):
                for register in REGISTERS:
                    value = Signal(32 * register.words, name=register.name)
                    for field in register.fields:
                        part = value[field.lsb : field.lsb + field.bits]
                        m.d.comb += part.eq(state[register.name, field.name])
                    first = register.address // 4
                    with m.Case(first):
                        m.d.sync += self.bus.rdata.eq(value[:32])
                        if register.words == 2 and register.fields[0].access is not Access.WRITE:
                            m.d.sync += upper.eq(value[32:])
                    if register.words == 2:
                        with m.Case(first + 1):
                            kept = value[32:] if register.fields[0].access is Access.WRITE else upper
                            m.d.sync += self.bus.rdata.eq(kept)
        return m

    def _read_port(self, m: Module):
        """Take reads; return when one is looked up, and the number of its word."""
        bus = self.bus
        read_word = Signal(ADDRESS_BITS - 2, reset_less=True)
        reads = Signal()
        m.d.comb += bus.rresp.eq(OKAY)
        with m.FSM():
            with m.State("wait"):
                m.d.comb += bus.arready.eq(1)
                m.d.sync += read_word.eq(bus.araddr[2:])
                with m.If(bus.arvalid):
                    m.next = "count"
            with m.State("count"):
                m.next = "load"
            with m.State("load"):
                m.d.comb += reads.eq(1)
                m.next = "answer"
            with m.State("answer"):
                m.d.comb += bus.rvalid.eq(1)
                with m.If(bus.rready):
                    m.next = "wait"
        return reads, read_word

    def _write_port(self, m: Module):
        """Take writes; return when one is done, the number of its word, its data and its strobes."""
        bus = self.bus
        write_word = Signal(ADDRESS_BITS - 2, reset_less=True)
        data = Signal(32, reset_less=True)
        strobes = Signal(4, reset_less=True)
        has_address = Signal()
        has_data = Signal()
        writes = Signal()
        m.d.comb += [
            bus.awready.eq(~has_address),
            bus.wready.eq(~has_data),
            writes.eq(has_address & has_data & (~bus.bvalid | bus.bready)),
            bus.bresp.eq(OKAY),
        ]
        with m.If(bus.awvalid & ~has_address):
            m.d.sync += [has_address.eq(1), write_word.eq(bus.awaddr[2:])]
        with m.If(bus.wvalid & ~has_data):
            m.d.sync += [has_data.eq(1), data.eq(bus.wdata), strobes.eq(bus.wstrb)]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(writes):
            m.d.sync += [has_address.eq(0), has_data.eq(0), bus.bvalid.eq(1)]
        return writes, write_word, data, strobes

    def _field(self, m: Module, register: Register, field: Field, read, enables, data):
        """Do what the access of a field says; return what it reads.

        `read` says that the register is read; `enables`, one a byte, where `data` is written to it.
        """
        name = port_name(register, field)
        port = getattr(self, name, None)
        event = getattr(self, f"ctrl__{field.event}") if field.event else port
        one = data[field.lsb] & enables[field.lsb // 8]
        match field.access:
            case Access.CONSTANT:
                return Const(constants(self.machine)[register.name, field.name], field.bits)
            case Access.WRITE:
                for bit in range(field.bits):
                    with m.If(enables[(field.lsb + bit) // 8]):
                        m.d.sync += port[bit].eq(data[field.lsb + bit])
            case Access.PULSE:
                m.d.sync += port.eq(one)
                return Const(0)
            case Access.START:
                m.d.sync += port.eq(port & ~event | one)
            case Access.EVENT:
                port = Signal(name=f"{name}_kept")
                m.d.sync += port.eq(port & ~read | event)
            case Access.TOGGLE:
                port = Signal(name=f"{name}_kept")
                m.d.sync += port.eq(port ^ one | event)
        return port
