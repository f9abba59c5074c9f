"""Proofs about the register bank and its counters."""

from amaranth.hdl import Cat, Const, Mux, Signal
from harness import Harness, implies

from weightstream.spec.machine import Machine
from weightstream.spec.registers import BY_NAME, REGISTERS, Access, constants
from weightstream_hw.bus.axi import OKAY
from weightstream_hw.bus.counters import EventCounters
from weightstream_hw.bus.registers import RegisterBank, port_name

CTRL = BY_NAME["ctrl"].address // 4


class Counters(Harness):
    """No event is lost or counted twice."""

    def __init__(self, kinds):
        super().__init__(EventCounters(kinds))
        self.kind = self.free(range(kinds), "kind")

    def rules(self, m):
        """Count the events of any one kind."""
        dut, kind = self.dut, self.kind
        self.assume(m, implies(self.started, kind == self.past(kind)), kind < dut.kinds)
        total = Signal(64)
        m.d.sync += total.eq(total + dut.events.bit_select(kind, 1))

        turn, target, moved = (self.inner(name) for name in ("kind", "target", "moved"))
        stored = self.word(m, kind, "sums")
        ours = target == kind
        pending = Signal(8)
        for number in range(dut.kinds):
            with m.If(kind == number):
                m.d.comb += pending.eq(self.inner(f"pending_{number}"))
        visits = max(dut.kinds, 4)
        # Clocks since the last visit, which took all that was pending.
        waited = Mux(turn > kind, turn - kind, turn + visits - kind)
        self.claim(
            m,
            turn < visits,
            implies(self.started, target == self.past(turn)),
            (stored + pending + Mux(ours, moved, 0))[:64] == total,
            implies(self.started, pending <= waited),
            implies(self.started & ours, self.read_data(0, "sums") == stored),
        )
        self.reach(m, (total == 5) & (stored == 3))


class Bank(Harness):
    """The bank keeps the rules of AXI4-Lite; fields hold, show and forget what their access says."""

    def __init__(self):
        self.machine = Machine(lanes=24, bus_bits=128)
        super().__init__(RegisterBank(self.machine))

    def rules(self, m):
        """Follow reads, writes and events."""
        bus = self.dut.bus
        self.assume(
            m,
            self.held(bus.awvalid, bus.awready, bus.awaddr),
            self.held(bus.wvalid, bus.wready, bus.wdata, bus.wstrb),
            self.held(bus.arvalid, bus.arready, bus.araddr),
        )
        self._writes(m)
        self._reads(m)

    def _writes(self, m):
        """Claim that each write has one answer, and that its register has its bytes by then."""
        bus, dut = self.dut.bus, self.dut
        addressed = bus.awvalid & bus.awready
        given = bus.wvalid & bus.wready
        answered = bus.bvalid & bus.bready
        addresses, words = Signal(2), Signal(2)
        m.d.sync += [
            addresses.eq(addresses + addressed - answered),
            words.eq(words + given - answered),
        ]
        has_address, has_data = self.inner("has_address"), self.inner("has_data")
        self.claim(
            m,
            self.held(bus.bvalid, bus.bready, bus.bresp),
            bus.bresp == OKAY,
            implies(bus.bvalid, addresses != 0, words != 0),
            addresses == has_address + bus.bvalid,
            words == has_data + bus.bvalid,
            # An answer comes as soon as it can: nothing waits for ever.
            implies(self.past(has_address & has_data), bus.bvalid),
            implies(self.past(bus.bready & ~(has_address & has_data)), ~bus.bvalid),
        )

        address, data, strobes = Signal(10), Signal(32), Signal(4)
        with m.If(addressed):
            m.d.sync += address.eq(bus.awaddr[2:])
        with m.If(given):
            m.d.sync += [data.eq(bus.wdata), strobes.eq(bus.wstrb)]
        done = Signal()
        m.d.comb += done.eq(has_address & has_data & (~bus.bvalid | bus.bready))
        self.claim(m, implies(has_address, self.inner("write_word") == address))
        self.claim(m, implies(has_data, self.inner("data") == data, self.inner("strobes") == strobes))
        for register in REGISTERS:
            for field in register.fields:
                port = getattr(dut, port_name(register, field), None)
                byte = field.lsb // 8
                here = done & (address == register.address // 4 + byte // 4)
                one = here & strobes[byte % 4] & data[field.lsb % 32]
                if field.access is Access.WRITE:
                    self._holds(m, register, field, port, done, address, data, strobes)
                elif field.access is Access.PULSE:
                    self.claim(m, implies(self.started, port == self.past(one)))
                elif field.access is Access.START:
                    taken_up = getattr(dut, f"ctrl__{field.event}")
                    kept = port & ~taken_up
                    self.claim(m, implies(self.started, port == self.past(one | kept)))
                elif field.access is Access.TOGGLE:
                    event = getattr(dut, f"ctrl__{field.event}")
                    bit = self.inner(f"{port_name(register, field)}_kept")
                    self.claim(m, implies(self.started, bit == self.past(event | (bit ^ one))))
        pending = [
            dut.ier__done & self.inner("isr__done_kept"),
            dut.ier__ready & self.inner("isr__ready_kept"),
        ]
        self.claim(m, dut.interrupt == (dut.gie__enable & (pending[0] | pending[1])))
        self.reach(m, answered & dut.image__address[40])
        self.reach(m, dut.interrupt & dut.ctrl__ap_start)

    def _holds(self, m, register, field, port, done, address, data, strobes):
        """Claim that a field holds the bytes that were written to it, and nothing else changes it."""
        model = Signal(field.bits, init=field.reset)
        for bit in range(field.bits):
            byte = (field.lsb + bit) // 8
            here = done & (address == register.address // 4 + byte // 4) & strobes[byte % 4]
            with m.If(here):
                m.d.sync += model[bit].eq(data[(field.lsb + bit) % 32])
        self.claim(m, port == model)

    def _reads(self, m):
        """Claim that each read has one answer: what its register held when it was looked up."""
        bus = self.dut.bus
        waiting = Signal(3)
        address = Signal(10)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [waiting.eq(1), address.eq(bus.araddr[2:])]
        with m.Elif(bus.rvalid & bus.rready):
            m.d.sync += waiting.eq(0)
        with m.Elif(waiting != 0):
            m.d.sync += waiting.eq(Mux(waiting == 3, 3, waiting + 1))
        self.claim(
            m,
            self.held(bus.rvalid, bus.rready, bus.rdata, bus.rresp),
            bus.rresp == OKAY,
            bus.arready == (waiting == 0),
            bus.rvalid == (waiting == 3),
            self.state("wait") == (waiting == 0),
            self.state("count") == (waiting == 1),
            self.state("load") == (waiting == 2),
            implies(waiting != 0, self.inner("read_word") == address),
        )

        loads = waiting == 2
        looked_up = self.past(loads)
        upper = Signal(32)
        taken = []
        for register in REGISTERS:
            value = Signal(32 * register.words, name=register.name)
            for field in register.fields:
                shown = self._shown(m, register, field, loads & (address == register.address // 4))
                m.d.comb += value[field.lsb : field.lsb + field.bits].eq(shown)
            keeps = register.words == 2 and register.fields[0].access is not Access.WRITE
            for word in range(register.words):
                number = register.address // 4 + word
                expected = self.past(upper if keeps and word else value.word_select(word, 32))
                self.claim(m, implies(looked_up & (address == number), bus.rdata == expected))
                taken.append(number)
            if keeps:
                with m.If(loads & (address == register.address // 4)):
                    m.d.sync += upper.eq(value[32:])
        free = Cat(address != number for number in taken).all()
        self.claim(m, implies(looked_up & free, bus.rdata == 0), self.inner("upper") == upper)
        for number, register in enumerate(r for r in REGISTERS if r.fields[0].access is Access.COUNT):
            chosen = (waiting != 0) & (address == register.address // 4)
            self.claim(m, implies(chosen, self.inner("address") == number))
        self.reach(m, looked_up & (address == CTRL) & bus.rdata[1])

    def _shown(self, m, register, field, read):
        """Return what a field reads; an event is shown until it was read."""
        name = port_name(register, field)
        match field.access:
            case Access.CONSTANT:
                return Const(constants(self.machine)[register.name, field.name], field.bits)
            case Access.PULSE:
                return Const(0)
            case Access.COUNT:
                return self.inner("counters", "count")
            case Access.TOGGLE:
                return self.inner(f"{name}_kept")
            case Access.EVENT:
                model = Signal()
                event = getattr(self.dut, name)
                m.d.sync += model.eq(Mux(read, 0, model) | event)
                self.claim(m, self.inner(f"{name}_kept") == model)
                return model
        return getattr(self.dut, name, self.dut.interrupt)
