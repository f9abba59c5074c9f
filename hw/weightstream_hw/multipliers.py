"""How gateware multiplies: the parameter `dsp` of blocks, for the families that there are."""

#: Values of `dsp`, and what each means; every block that multiplies takes all of them.
MULTIPLIERS = {
    "generic": "by operators, in pieces of at most 18 x 18 bits: synthesis chooses what multiplies",
    "xc7": "by slices of 18 x 25 bits; the search for symbols instantiates DSP48E1",
    "ecp5": "as generic, but the search for symbols instantiates MULT18X18D",
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
