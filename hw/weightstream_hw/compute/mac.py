"""Multiply-accumulate: one lane's symbols, one column of activations.

Golden: weightstream.golden.compute.mac
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import SYMBOLS
from weightstream.spec.machine import Machine

from ..control.config_write import CONFIG_WRITE
from ..multipliers import check_multipliers, registered_product
from .control import MAC_CONTROL
from .products import PAIRS, PRODUCT_WRITE, product_bits

SUM_BITS = 32


class Mac(wiring.Component):
    """Add up the products of each slot: ``sum[slot] += palette[pass][symbol] * x``, or a product looked up.

    Timing
    ------
    Latency: `latency` clocks from a capture to where the shadow sum may be addressed; a sum is there one
        clock after its address.
    Throughput: one symbol a clock; each slot has its turn once in `slots` clocks.
    Stall: none; a clock without a symbol adds nothing.

    Parameters
    ----------
    machine : Machine
        Slots, passes, and which kinds of products there are (`multipliers`, `group`).
    dsp : str
        One of `MULTIPLIERS`.

    Attributes
    ----------
    symbol : In(4)
        The symbol of a slot.
    control : In(MAC_CONTROL)
        What to do with it, in the same clock. The slot counts all the time, with and without symbols. A
        capture moves the slot's sum to its shadow copy and starts from 0; it never comes with a symbol.
        A reset leaves sums as they are: the first ones must be captured before symbols come.
    x : In(signed(9))
        Machines with multipliers: the activation, in the same clock.
    config : In(CONFIG_WRITE)
        Machines with multipliers: palette writes, at address 16 * pass + symbol, of the first weight of a
        group.
    product_mode : In(1)
        Machines with both kinds: look products up; constant during a layer.
    products : In(PRODUCT_WRITE)
        Machines with product tables: writes to them. A product is there for symbols that come
        `product_latency` clocks after it, or later.
    shadow_address : In(4)
        A slot.
    sum : Out(signed(32))
        Its shadow sum, one clock later.

    Raises
    ------
    ValueError
        `dsp` is none of `MULTIPLIERS`.
    """

    #: Clocks from a write of products to the first symbol that finds them.
    product_latency = 1

    def __init__(self, machine: Machine, dsp: str = "generic"):
        self.machine = machine
        self._dsp = check_multipliers(dsp)
        members = {
            "symbol": In(4),
            "control": In(MAC_CONTROL),
            "shadow_address": In(4),
            "sum": Out(signed(SUM_BITS)),
        }
        if machine.multipliers:
            members |= {"x": In(signed(9)), "config": In(CONFIG_WRITE)}
        if machine.group:
            members["products"] = In(PRODUCT_WRITE)
        if machine.multipliers and machine.group:
            members["product_mode"] = In(1)
        #: Clocks from a symbol to its product.
        self._depth = 3 if machine.multipliers else 2
        #: Clocks from a capture to the first address that finds its sum.
        self.latency = self._depth
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        """Return the circuit.

        The sums of all slots go round: product + old sum -> register -> ring memory -> old sum. A product is
        0 without a symbol, because its factor is. With both kinds a looked-up product is a factor too, of a
        weight of 1, so that multiplier and adder are one DSP slice.
        """
        m = Module()
        symbol = Signal(4, reset_less=True)
        control = Signal(MAC_CONTROL)
        m.d.sync += [symbol.eq(self.symbol), control.eq(self.control)]
        found = self._lookup(m, symbol, control.parity) if self.machine.group else None
        if self.machine.multipliers:
            product = self._multiply(m, symbol, control, found)
        else:
            product = Signal(signed(product_bits(self.machine)), reset_less=True)
            m.d.sync += product.eq(Mux(control.symbol, found, 0))
        self._accumulate(m, control, product)
        return m

    def _lookup(self, m: Module, symbol: Signal, bank: Value) -> Value:
        """Return the product of a symbol, from memories for the even and the odd symbols."""
        bits = product_bits(self.machine)
        products = Signal.like(self.products)
        m.d.sync += products.eq(self.products)
        found = []
        for name, value in (("even", products.even), ("odd", products.odd)):
            memory = Memory(shape=signed(bits), depth=2 * PAIRS, init=[], attrs={"ram_style": "distributed"})
            m.submodules[name] = memory
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [
                write.en.eq(products.enable),
                write.addr.eq(Cat(products.pair, products.bank)),
                write.data.eq(value),
                read.addr.eq(Cat(symbol[1:], bank)),
            ]
            found.append(read.data)
        return Mux(symbol[0], found[1], found[0])

    def _multiply(self, m: Module, symbol: Signal, control: Signal, found: Value | None) -> Signal:
        """Return palette weight * activation, or 1 * the product that was found."""
        palette = Memory(
            shape=signed(8), depth=SYMBOLS * self.machine.passes, init=[], attrs={"ram_style": "distributed"}
        )
        m.submodules.palette = palette
        write, read = palette.write_port(), palette.read_port(domain="comb")
        config = Signal.like(self.config)
        x = Signal(signed(9), reset_less=True)
        m.d.sync += [config.eq(self.config), x.eq(self.x)]
        m.d.comb += [
            write.en.eq(config.palette),
            write.addr.eq(config.address),
            write.data.eq(config.data),
            read.addr.eq(Cat(symbol, control.palette)),
        ]
        weight, factor = read.data, x
        if found is not None:
            weight = Mux(self.product_mode, Const(1, signed(8)), weight)
            factor = Mux(self.product_mode, found, factor)
        factor = Mux(control.symbol, factor, 0)
        return registered_product(m, "product", weight, factor, dsp=self._dsp)

    def _accumulate(self, m: Module, control: Signal, product: Signal) -> None:
        """Add products to the sums of their slots, and keep the sums that are captured."""
        slots = [control.slot[: (self.machine.slots - 1).bit_length()]]
        captures = [control.capture]
        for stage in range(1, self._depth + 1):
            slots.append(Signal.like(slots[0], name=f"slot{stage}", reset_less=True))
            m.d.sync += slots[stage].eq(slots[stage - 1])
        for stage in range(1, self._depth - 1):
            captures.append(Signal(name=f"capture{stage}"))
            m.d.sync += captures[stage].eq(captures[stage - 1])

        memories = []
        for name in ("ring", "shadow"):
            memory = Memory(
                shape=signed(SUM_BITS),
                depth=self.machine.slots,
                init=[],
                attrs={"ram_style": "distributed"},
            )
            m.submodules[name] = memory
            memories.append((memory.write_port(), memory.read_port(domain="comb")))
        (ring_write, ring_read), (shadow_write, shadow_read) = memories

        old = Signal(signed(SUM_BITS), reset_less=True)
        total = Signal(signed(SUM_BITS), reset_less=True)
        # `old` is there in the clock of the product, `total` one later.
        m.d.sync += [old.eq(ring_read.data), total.eq(old + product), self.sum.eq(shadow_read.data)]
        with m.If(captures[-1]):
            m.d.sync += old.eq(0)
        m.d.comb += [
            ring_read.addr.eq(slots[self._depth - 2]),
            ring_write.en.eq(1),
            ring_write.addr.eq(slots[self._depth]),
            ring_write.data.eq(total),
            shadow_write.en.eq(captures[-1]),
            shadow_write.addr.eq(slots[self._depth - 2]),
            shadow_write.data.eq(ring_read.data),
            shadow_read.addr.eq(self.shadow_address),
        ]
