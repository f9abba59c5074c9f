"""What the multipliers do that gateware instantiates for a family of FPGAs, as Verilog."""

import re
from pathlib import Path

import pyosys


def dsp48e1():
    """Return Yosys's model of the DSP48E1."""
    text = (Path(pyosys.__file__).parent / "share" / "xilinx" / "cells_sim.v").read_text()
    return re.search(r"^module DSP48E1 .*?^endmodule\n", text, re.M | re.S).group()


def mult18x18d():
    """Return our model of the MULT18X18D: Yosys has none."""
    return (Path(__file__).parent / "mult18x18d.v").read_text()


#: By the parameter `dsp` of gateware.
MODELS = {"xc7": dsp48e1, "ecp5": mult18x18d}
