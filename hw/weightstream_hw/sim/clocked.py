"""What is compiled: the accelerator with a register behind each input."""

import re

from amaranth import ClockDomain, ClockSignal, Module, ResetSignal, Signal
from amaranth.back import verilog
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

#: Names that Verilator would change, because a C++ dialect has them for words of its own.
_RENAMED = {"interrupt": "irq"}


class Clocked(wiring.Component):
    """A component whose inputs, clock apart, come from registers.

    A simulator then has nothing to do for an input between edges, which is half of its work else: all logic
    settles once a clock. Whoever drives the inputs says one clock ahead what they will be.

    Parameters
    ----------
    component : wiring.Component
        With ports that are plain signals.

    Attributes
    ----------
    clk, rst : In(1)
        Clock, and reset for the next clock.
    and the ports of the component; `interrupt` is called `irq`.
    """

    def __init__(self, component: wiring.Component):
        self._component = component
        members = {_RENAMED.get(name, name): m for name, m in component.signature.members.items()}
        super().__init__({"clk": In(1), "rst": In(1)} | members)

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain()
        m.domains.inputs = ClockDomain(reset_less=True)
        m.submodules.accelerator = inner = self._component
        reset = Signal(init=1)
        m.d.inputs += reset.eq(self.rst)
        m.d.comb += [
            ClockSignal("sync").eq(self.clk),
            ClockSignal("inputs").eq(self.clk),
            ResetSignal("sync").eq(reset),
        ]
        for name, member in inner.signature.members.items():
            inside, outside = getattr(inner, name), getattr(self, _RENAMED.get(name, name))
            if member.flow == Out:
                m.d.comb += outside.eq(inside)
            else:
                register = Signal.like(inside, name=f"{name}_register")
                m.d.inputs += register.eq(outside)
                m.d.comb += inside.eq(register)
        return m


def simulation_verilog(component: wiring.Component, top: str) -> str:
    """Return Verilog that simulators agree about.

    Amaranth writes ``always @*``, which waits for something to change: what depends on constants alone, or
    on registers that stay as they were initialised, would be unknown.
    """
    text = verilog.convert(component, name=top, emit_src=False, strip_internal_attrs=True)
    text = re.sub(r"^  always @\*\n(?=    \S+ = \d+'[a-z][0-9a-f]+;$)", "  always_comb\n", text, flags=re.M)
    # All other processes look at this signal, which is there to change at the start, but does so too early.
    signal = r"(\\[$]auto[$]verilog_backend\.cc:\d+:dump_module[$]\d+ )"
    return re.sub(rf"^  reg {signal} = 0;$", r"  reg \1;\n  initial #0 \1 = 0;", text, flags=re.M)
