"""Two gateware components that are given the same: Yosys checks that they do the same, clock by clock."""

from amaranth.back import rtlil
from amaranth.hdl import Assert, Module, Signal
from amaranth.lib import data, memory, wiring

from weightstream_hw.synthesis import run_yosys


class Twins(wiring.Component):
    """Two components, their inputs from a memory, and an assertion for each of their outputs."""

    def __init__(self, components, inputs, settled):
        self._components, self._inputs, self._settled = components, inputs, settled
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.plain, m.submodules.other = self._components
        shape = _inputs(self._components[0])
        assert all(given.keys() == shape.members.keys() for given in self._inputs)
        m.submodules.inputs = inputs = memory.Memory(
            shape=shape, depth=len(self._inputs), init=self._inputs, attrs={}
        )
        now = Signal(range(len(self._inputs)))
        read = inputs.read_port(domain="comb")
        m.d.sync += now.eq(now + 1)
        m.d.comb += read.addr.eq(now)
        for component in self._components:
            for name in shape.members:
                _connect(m, getattr(component, name), read.data[name])
        plain, other = (list(_outputs(component)) for component in self._components)
        assert len(plain) == len(other) > 0
        for one, two in zip(plain, other, strict=True):
            m.d.comb += Assert((now < self._settled) | (one == two))
        return m


def _inputs(component):
    """Return the layout of a component's inputs."""
    shapes = {}
    for name, member in component.signature.members.items():
        if member.flow == wiring.In:
            shapes[name] = member.shape
            for length in reversed(member.dimensions):
                shapes[name] = data.ArrayLayout(shapes[name], length)
    return data.StructLayout(shapes)


def _connect(m, port, value):
    if isinstance(port, list):
        for one, its_value in zip(port, value, strict=True):
            _connect(m, one, its_value)
    else:
        m.d.comb += port.eq(value)


def _outputs(component):
    for _, member, value in component.signature.flatten(component):
        if member.flow == wiring.Out:
            yield getattr(value, "as_value", lambda value=value: value)()


def compare(directory, components, inputs, *, cells, settled):
    """Run both for as many clocks as there are inputs; Yosys fails where outputs differ.

    Parameters
    ----------
    directory : path
        For files of the run.
    components : pair of wiring.Component
        What is compared.
    inputs : list of dict
        Of each clock, by the names of the ports.
    cells : str
        Verilog of what the second one instantiates.
    settled : int
        Clocks after which registers that nothing resets hold what inputs were.
    """
    twins = Twins(components, inputs, settled)
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
