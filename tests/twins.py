"""Two gateware components that are given the same: Yosys checks that they do the same, clock by clock."""

from amaranth.back import rtlil
from amaranth.hdl import Assert, Module, Signal
from amaranth.lib import memory, wiring

from weightstream_hw.synthesis import run_yosys


class Twins(wiring.Component):
    """Two components, their inputs from a memory, and an assertion for each of their outputs."""

    def __init__(self, components, layout, inputs, connect, settled):
        self._components = components
        self._layout, self._inputs, self._connect, self._settled = layout, inputs, connect, settled
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.plain, m.submodules.other = self._components
        m.submodules.inputs = inputs = memory.Memory(
            shape=self._layout, depth=len(self._inputs), init=self._inputs, attrs={}
        )
        now = Signal(range(len(self._inputs)))
        read = inputs.read_port(domain="comb")
        m.d.sync += now.eq(now + 1)
        m.d.comb += read.addr.eq(now)
        for component in self._components:
            self._connect(m, component, read.data)
        plain, other = (list(_outputs(component)) for component in self._components)
        assert len(plain) == len(other) > 0
        for one, two in zip(plain, other, strict=True):
            m.d.comb += Assert((now < self._settled) | (one == two))
        return m


def _outputs(component):
    for _, member, value in component.signature.flatten(component):
        if member.flow == wiring.Out:
            yield getattr(value, "as_value", lambda value=value: value)()


def compare(directory, components, layout, inputs, connect, *, cells, settled):
    """Run both for as many clocks as there are inputs; Yosys fails where outputs differ.

    Parameters
    ----------
    directory : path
        For files of the run.
    components : pair of wiring.Component
        What is compared.
    layout : data.StructLayout
        The inputs of a clock.
    inputs : list of dict
        Of each clock.
    connect : callable
        Connects inputs: is given the module, a component, and a view of the inputs.
    cells : str
        Verilog of what the second one instantiates.
    settled : int
        Clocks after which registers that nothing resets hold what inputs were.
    """
    twins = Twins(components, layout, inputs, connect, settled)
    (directory / "cells.v").write_text(cells)
    (directory / "twins.il").write_text(rtlil.convert(twins, name="twins", emit_src=False))
    run_yosys(
        f"""
        read_rtlil twins.il
        read_verilog -sv cells.v
        hierarchy -check -top twins
        proc
        flatten
        opt_clean
        chformal -lower
        sim -assert -clock clk -reset rst -n {len(inputs) - 2}
        """,
        directory,
    )
