"""ULX3S with an ECP5-85F: the accelerator behind its USB serial port, its memory in block RAM."""

from __future__ import annotations

from amaranth.hdl import ClockDomain, ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from weightstream.spec.machine import PRESETS

from ..bridge.bridged import BridgedAccelerator

NAME, PRESET = "ulx3s", "ulx3s"
#: Of the oscillator, and of the PLL's output.
OSCILLATOR_HZ, CLOCK_HZ = 25_000_000, 48_000_000
#: The fastest that the board's FT231X does, and whole clocks a bit.
BAUD = 3_000_000
#: Block RAM for networks, inputs and outputs: LeNet-300-100 at 4 bits with 60 images.
MEMORY_BYTES = 160 << 10

# The feedback goes through CLKOP, at 40 MHz: 25 MHz / 5 * 8; CLKOS divides 480 MHz.
_PLL_INPUT, _PLL_FEEDBACK, _PLL_PRIMARY = 5, 8, 12
_VCO_HZ = OSCILLATOR_HZ // _PLL_INPUT * _PLL_FEEDBACK * _PLL_PRIMARY
assert _VCO_HZ % CLOCK_HZ == 0 and CLOCK_HZ % BAUD == 0


class Ulx3s(Elaboratable):
    """The design of the board: PLL, accelerator, UART and four lights.

    Lights: 0, the PLL has locked; 1, the interrupt line is up; 2 and 3, the serial line to and from the board
    is at work.
    """

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        locked = self._make_clock(m, platform)
        m.submodules.design = design = BridgedAccelerator(
            PRESETS[PRESET], memory_bytes=MEMORY_BYTES, divisor=CLOCK_HZ // BAUD, clock_hz=CLOCK_HZ
        )
        uart = platform.request("uart", 0, dir={pin: "-" for pin in ("rx", "tx", "rts", "dtr")})
        m.submodules.receive = receive = io.Buffer("i", uart.rx)
        m.submodules.transmit = transmit = io.Buffer("o", uart.tx)
        # High, as in other designs for this board: its radio then leaves it alone.
        pins = ("en", "tx", "rx", "gpio0", "gpio5", "gpio16", "gpio17")
        radio = platform.request("esp32", 0, dir=dict.fromkeys(pins, "-"))
        m.submodules.radio = held = io.Buffer("o", radio.gpio0)
        m.d.comb += [design.receive.eq(receive.i), transmit.o.eq(design.transmit), held.o.eq(1)]
        lights = (locked, design.interrupt, ~receive.i, ~design.transmit)
        for number, value in enumerate(lights):
            light = io.Buffer("o", platform.request("led", number, dir="-"))
            m.submodules[f"light_{number}"] = light
            m.d.comb += light.o.eq(value)
        return m

    def _make_clock(self, m: Module, platform) -> Signal:
        """Make the domain `sync`; return whether its clock has settled."""
        m.submodules.oscillator = oscillator = io.Buffer("i", platform.request("clk25", 0, dir="-"))
        m.domains.sync = ClockDomain()
        feedback, locked = Signal(), Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=str(OSCILLATOR_HZ // 1_000_000),
            a_FREQUENCY_PIN_CLKOP=str(_VCO_HZ // _PLL_PRIMARY // 1_000_000),
            a_FREQUENCY_PIN_CLKOS=str(CLOCK_HZ // 1_000_000),
            # What Diamond chooses for such a loop.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_FEEDBK_PATH="CLKOP",
            p_CLKI_DIV=_PLL_INPUT,
            p_CLKFB_DIV=_PLL_FEEDBACK,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=_PLL_PRIMARY,
            p_CLKOP_CPHASE=_PLL_PRIMARY // 2,
            p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED",
            p_CLKOS_DIV=_VCO_HZ // CLOCK_HZ,
            p_CLKOS_CPHASE=_PLL_PRIMARY // 2,
            p_CLKOS_FPHASE=0,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_CLKI=oscillator.i,
            i_CLKFB=feedback,
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=feedback,
            o_CLKOS=ClockSignal("sync"),
            o_LOCK=locked,
        )
        m.submodules.reset = ResetSynchronizer(~locked, domain="sync")
        return locked
