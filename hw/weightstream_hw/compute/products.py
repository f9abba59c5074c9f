"""Products of an activation with all symbols, computed once for all lanes.

Golden: weightstream.golden.compute.mac
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import MAX_GROUP, SYMBOLS
from weightstream.spec.machine import Machine

from ..control.config_write import CONFIG_WRITE
from ..multipliers import check_multipliers, registered_product

#: Pairs of products a table: one of an even symbol, one of the odd symbol behind it.
PAIRS = SYMBOLS // 2

#: Weights a symbol that a centre has inputs for.
CENTRE_GROUP = MAX_GROUP // 2

#: Width of the product of an int8 and an activation.
_BITS = 16
#: Width of a product: four of an int8 and an int9, summed up.
PRODUCT_BITS = 18

#: A write of two products to the tables of a column of lanes.
PRODUCT_WRITE = data.StructLayout(
    {"enable": 1, "bank": 1, "pair": 3, "even": signed(PRODUCT_BITS), "odd": signed(PRODUCT_BITS)}
)


def product_bits(machine: Machine) -> int:
    """Return the bits that the products of a machine need: 16, and 1 more for each doubling of its group."""
    return 15 + machine.group.bit_length()


class ProductCentre(wiring.Component):
    """For each column of lanes, ``products[symbol] = sum over i of palette[pass][symbol][i] * x[i]``.

    Timing
    ------
    Latency: `latency` clocks from a start to its first pair of products, one pair a clock.
    Throughput: a start every `PAIRS` clocks.
    Stall: none; a start in less than `PAIRS` clocks drops what is left of the one before.

    Parameters
    ----------
    machine : Machine
        Columns, weights a symbol (`group`) and passes.
    dsp : str
        One of `MULTIPLIERS`: a slice of 18 x 25 bits for an even and an odd symbol, or a multiplier for each.

    Attributes
    ----------
    config : In(CONFIG_WRITE)
        Palette writes: the address is 16 * pass + symbol, the data one signed byte a weight, lowest first.
        Weights that the layer does not have must be 0; what x holds for them does not matter.
    signed_input : In(1)
        Whether activations are int8, not uint8; constant during a layer.
    start : In(1)
        Compute the products of what x, palette and parity hold in this clock.
    palette : In(2)
        The pass.
    parity : In(1)
        The bank to write to.
    x : In(8), array of columns x 4
        An activation for each weight of the group.
    products : Out(PRODUCT_WRITE), array of columns
        To the lanes.

    Raises
    ------
    ValueError
        The machine has no product tables, or `dsp` is none of `MULTIPLIERS`.
    """

    #: Clocks from a start to its first pair of products.
    latency = 5

    def __init__(self, machine: Machine, dsp: str = "generic"):
        if not machine.group:
            raise ValueError("machine must have product tables, not group=0")
        self.machine = machine
        self._dsp = check_multipliers(dsp)
        self._joined = dsp == "xc7"
        super().__init__(
            {
                "config": In(CONFIG_WRITE),
                "signed_input": In(1),
                "start": In(1),
                "palette": In(2),
                "parity": In(1),
                "x": In(8).array(machine.columns, CENTRE_GROUP),
                "products": Out(PRODUCT_WRITE).array(machine.columns),
            }
        )

    def cycles(self, starts: int) -> int:
        """Return the clocks from the first of some starts to the last of their products, inclusive."""
        return self.latency + PAIRS * starts

    def elaborate(self, platform) -> Module:
        """Return the circuit.

        An even and an odd weight meet the same activation, so they may share a slice of 18 x 25 bits: the
        product of ``even * 2**16 + odd`` holds the odd product in its low 16 bits, and above them the even
        product, less 1 if the odd one is negative.
        """
        m = Module()

        # Which pair: counts up to PAIRS once it was started.
        pair = Signal(range(PAIRS))
        busy = Signal()
        palette = Signal(2, reset_less=True)
        parity = Signal(reset_less=True)
        with m.If(self.start):
            m.d.sync += [busy.eq(1), pair.eq(0), palette.eq(self.palette), parity.eq(self.parity)]
        with m.Else():
            m.d.sync += pair.eq(pair + 1)
            with m.If(pair == PAIRS - 1):
                m.d.sync += busy.eq(0)

        # What travels beside the products: three registers between the palettes and the sums' register.
        write = Cat(busy, parity, pair)
        for stage in range(3):
            delayed = Signal(len(write), name=f"write{stage}")
            m.d.sync += delayed.eq(write)
            write = delayed

        factors = [self._factors(even, odd) for even, odd in self._weights(m, Cat(pair, palette))]
        for column, out in enumerate(self.products):
            evens, odds = [], []
            for i, own in enumerate(factors):
                x = Signal(signed(9), name=f"x_{column}_{i}", reset_less=True)
                with m.If(self.start):
                    byte = self.x[column][i]
                    m.d.sync += x.eq(Cat(byte, byte[7] & self.signed_input).as_signed())
                products = [
                    registered_product(m, f"{kind}_{column}_{i}", x, factor, dsp=self._dsp)
                    for kind, factor in own.items()
                ]
                if self._joined:
                    (product,) = products
                    even, odd = product[_BITS : 2 * _BITS].as_signed() + product[_BITS - 1], product
                else:
                    even, odd = products[0][:_BITS].as_signed(), products[1]
                evens.append(even)
                odds.append(odd[:_BITS].as_signed())
            m.d.sync += [
                Cat(out.enable, out.bank, out.pair).eq(write),
                out.even.eq(_sum(m, evens, f"even_{column}")),
                out.odd.eq(_sum(m, odds, f"odd_{column}")),
            ]
        return m

    def _weights(self, m: Module, address: Value) -> list[tuple[Value, Value]]:
        """Return each weight of a pair of symbols: that of the even one, that of the odd one."""
        config = Signal.like(self.config)
        m.d.sync += config.eq(self.config)
        reads = []
        for parity, name in enumerate(("even", "odd")):
            memory = Memory(
                shape=data.ArrayLayout(signed(8), self.machine.group),
                depth=PAIRS * self.machine.passes,
                init=[],
                attrs={"ram_style": "distributed"},
            )
            m.submodules[name] = memory
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [
                write.en.eq(config.palette & (config.address[0] == parity)),
                write.addr.eq(config.address[1:]),
                write.data.eq(config.data),
                read.addr.eq(address),
            ]
            reads.append(read.data)
        return [tuple(read[i] for read in reads) for i in range(self.machine.group)]

    def _factors(self, even: Value, odd: Value) -> dict[str, Value]:
        """Return what activations are multiplied by: two weights, or both as one factor."""
        if self._joined:
            return {"product": Cat(odd, odd[-1].replicate(8), even - odd[-1]).as_signed()}
        return {"even_product": even, "odd_product": odd}


def _sum(m: Module, terms: list, name: str) -> Value:
    """Return the sum of up to four terms, with registers between its two levels."""
    level = []
    for i in range(0, len(terms), 2):
        total = sum(terms[i + 1 : i + 2], terms[i])
        register = Signal(total.shape(), name=f"{name}_{i}", reset_less=True)
        m.d.sync += register.eq(total)
        level.append(register)
    return sum(level[1:], level[0])


def start_window(machine: Machine, product_latency: int) -> range:
    """Return when a start may come: clocks ahead of the first symbol that its products are for.

    Later, and a slot would look up a product that is not there yet; earlier, and a product would be
    overwritten in front of the last slot of the column before the last, which had the same bank.

    Parameters
    ----------
    machine : Machine
        Its slots matter.
    product_latency : int
        `Mac.product_latency`.
    """
    first = ProductCentre.latency + product_latency
    return range(first + PAIRS - 1, first + machine.slots + 1)
