"""How gateware multiplies: the parameter `dsp` of blocks, for the families that there are."""

from __future__ import annotations

from amaranth.hdl import ClockSignal, Const, Instance, Module, Mux, Shape, Signal, Value

#: Values of `dsp`, and what each means; every block that multiplies takes all of them.
MULTIPLIERS = {
    "generic": "by operators, in pieces of at most 18 x 18 bits: synthesis chooses what multiplies",
    "xc7": "by slices of 18 x 25 bits; the search for symbols instantiates DSP48E1",
    "ecp5": "as generic, but lanes, MACs and the product centre instantiate MULT18X18D",
}


def check_multipliers(dsp: str) -> str:
    """Return a value of `dsp`.

    Raises
    ------
    ValueError
        There is none of that name.
    """
    if dsp not in MULTIPLIERS:
        raise ValueError(f"dsp must be one of {', '.join(map(repr, MULTIPLIERS))}, not {dsp!r}")
    return dsp


def registered_product(
    m: Module, name: str, a: Value, b: Value, *, dsp: str, clear: Value | None = None
) -> Signal:
    """Return the product of two factors: 2 clocks later, as factors and product have registers.

    Parameters
    ----------
    m : Module
        Where it is built.
    name : str
        What it is called there.
    a, b : Value
        Factors, each of at most 18 bits for an ECP5.
    dsp : str
        One of `MULTIPLIERS`.
    clear : Value, optional
        Along with the registered factors: makes the product 0.
    """
    if dsp == "ecp5":
        return _mult18x18d(m, name, a, b, Const(0, 1) if clear is None else clear)
    registers = []
    for factor, value in (("a", a), ("b", b)):
        registers.append(Signal(value.shape(), name=f"{name}_{factor}", reset_less=True))
        m.d.sync += registers[-1].eq(value)
    result = registers[0] * registers[1]
    product = Signal(result.shape(), name=name, reset_less=True)
    m.d.sync += product.eq(result if clear is None else Mux(clear, 0, result))
    return product


def _mult18x18d(m: Module, name: str, a: Value, b: Value, clear: Value) -> Signal:
    """Do it in one block of an ECP5, with the block's registers.

    Yosys would leave the registers outside: then the way through the block from one to the other is the
    longest of all.
    """
    shape = (Signal(a.shape()) * Signal(b.shape())).shape()
    product = Signal(shape, name=name)
    ports: dict[str, Value] = {
        "i_CLK0": ClockSignal(),
        "i_CE0": Const(1, 1),
        # RST0 is nobody's reset; RST1 clears the product.
        "i_RST0": Const(0, 1),
        "i_RST1": clear,
        "i_SOURCEA": Const(0, 1),
        "i_SOURCEB": Const(0, 1),
    }
    # Single wires: the cell has no buses.
    for port, value in (("A", a), ("B", b)):
        signed = value.shape().signed
        ports[f"i_SIGNED{port}"] = Const(signed, 1)
        wide = Signal(Shape(18, signed), name=f"{name}_{port.lower()}")
        m.d.comb += wide.eq(value)
        ports |= {f"i_{port}{bit}": wide[bit] for bit in range(18)}
    ports |= {f"i_C{bit}": Const(0, 1) for bit in range(18)}
    ports |= {f"o_P{bit}": product[bit] for bit in range(len(product))}
    registers = {
        f"p_REG_{register}_{pin}": f"{pin}{1 if pin == 'RST' and register == 'OUTPUT' else 0}"
        for register in ("INPUTA", "INPUTB", "OUTPUT")
        for pin in ("CLK", "CE", "RST")
    }
    m.submodules[f"{name}_block"] = Instance("MULT18X18D", **ports, **registers, p_RESETMODE="SYNC")
    return product
