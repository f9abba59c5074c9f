"""Boards, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from weightstream.errors import TargetError
from weightstream.spec.machine import PRESETS, Machine
from weightstream.spec.registers import ADDRESS_BITS

#: Bytes of addresses of the accelerator, and of its interrupt controller.
CORE_RANGE, CONTROLLER_RANGE = 1 << ADDRESS_BITS, 1 << 16


@dataclass(frozen=True, kw_only=True)
class Processor:
    """The processing system of a family: what it and its ports are called.

    Parameters
    ----------
    module : str
        Its IP; with ``_0``, its instance in the block design.
    version : str
        Version of the IP in the `.hwh`; block designs take the newest.
    architecture : str
        What the `.hwh` calls the family.
    master, slave : str
        Ports to the registers, and from the accelerator to memory.
    master_clock, slave_clock : str
        Their clocks.
    clock, reset, interrupt : str
        What it drives, and what it listens to.
    slave_bits : int
        Width of the memory port.
    spaces : tuple of (str, int, int)
        Memory that the accelerator reaches: names of its segments, where they begin and how long they are.
    core, controller : int
        Addresses of the accelerator and of its interrupt controller.
    pll : int
        MHz that the clock is divided from.
    dsp : str
        How lanes use multiplier blocks.
    """

    module: str
    version: str
    architecture: str
    master: str
    master_clock: str
    slave: str
    slave_clock: str
    clock: str
    reset: str
    interrupt: str
    slave_bits: int
    spaces: tuple[tuple[str, int, int], ...]
    core: int
    controller: int
    pll: int
    dsp: str

    @property
    def instance(self) -> str:
        """Name in the block design."""
        return f"{self.module}_0"


ZYNQ_7000 = Processor(
    module="processing_system7",
    version="5.5",
    architecture="zynq",
    master="M_AXI_GP0",
    master_clock="M_AXI_GP0_ACLK",
    slave="S_AXI_HP0",
    slave_clock="S_AXI_HP0_ACLK",
    clock="FCLK_CLK0",
    reset="FCLK_RESET0_N",
    interrupt="IRQ_F2P",
    slave_bits=64,
    spaces=(("S_AXI_HP0/HP0_DDR_LOWOCM", 0, 1 << 29),),
    core=0x43C0_0000,
    controller=0x4180_0000,
    pll=1000,
    dsp="xc7",
)
ZYNQ_MPSOC = Processor(
    module="zynq_ultra_ps_e",
    version="3.5",
    architecture="zynquplus",
    master="M_AXI_HPM0_FPD",
    master_clock="maxihpm0_fpd_aclk",
    slave="S_AXI_HP0_FPD",
    slave_clock="saxihp0_fpd_aclk",
    clock="pl_clk0",
    reset="pl_resetn0",
    interrupt="pl_ps_irq0",
    slave_bits=128,
    spaces=(("SAXIGP2/HP0_DDR_LOW", 0, 1 << 31), ("SAXIGP2/HP0_DDR_HIGH", 8 << 32, 32 << 30)),
    core=0xA000_0000,
    controller=0xA001_0000,
    pll=1500,
    dsp="generic",
)


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board and what is built for it.

    Parameters
    ----------
    name, title : str
        What users call it: in commands, and in texts.
    part : str
        FPGA.
    files : str
        Vivado's board files; without them the processor is set up from `settings`.
    processor : Processor
        Its processing system.
    settings : dict
        Parameters of the processor that its board files would set. The board's own boot loader sets up memory
        and peripherals before any overlay is loaded.
    preset : str
        The machine.
    mhz : int
        Clock that is asked for. No Vivado has said yet whether it is reached.

    Raises
    ------
    ValueError
        `mhz` does not divide the processor's clock, or `preset` is none.
    """

    name: str
    title: str
    part: str
    files: str
    processor: Processor
    settings: dict[str, str | int]
    preset: str
    mhz: int

    def __post_init__(self):
        if self.processor.pll % self.mhz:
            raise ValueError(f"mhz must divide {self.processor.pll}, not {self.mhz}")
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {self.preset!r}")

    @property
    def machine(self) -> Machine:
        """What is built."""
        return PRESETS[self.preset]


_PYNQ_Z2 = Board(
    name="pynq_z2",
    title="TUL PYNQ-Z2",
    part="xc7z020clg400-1",
    files="tul.com.tw:pynq-z2:part0:*",
    processor=ZYNQ_7000,
    settings={
        "PCW_CRYSTAL_PERIPHERAL_FREQMHZ": 50,
        "PCW_APU_PERIPHERAL_FREQMHZ": 650,
        "PCW_UIPARAM_DDR_FREQ_MHZ": 525,
        "PCW_UIPARAM_DDR_BUS_WIDTH": "16 Bit",
        "PCW_UIPARAM_DDR_PARTNO": "MT41J256M16 RE-125",
    },
    preset="pynq_z2",
    mhz=100,
)
_PYNQ_Z1 = replace(_PYNQ_Z2, name="pynq_z1", title="Digilent PYNQ-Z1", files="*:pynq-z1:part0:*")
_KV260 = Board(
    name="kv260",
    title="AMD Kria KV260",
    part="xck26-sfvc784-2LV-c",
    files="xilinx.com:kv260_som:part0:*",
    processor=ZYNQ_MPSOC,
    settings={},
    preset="kv260",
    mhz=150,
)
_ZCU104 = replace(
    _KV260,
    name="zcu104",
    title="AMD ZCU104",
    part="xczu7ev-ffvc1156-2-e",
    files="xilinx.com:zcu104:part0:*",
)

#: Boards by name.
BOARDS = {board.name: board for board in (_PYNQ_Z2, _PYNQ_Z1, _KV260, _ZCU104)}


def find_board(name: str) -> Board:
    """Return a board.

    Raises
    ------
    TargetError
        There is no such board.
    """
    if name not in BOARDS:
        raise TargetError(f"there is no board {name!r}; try {', '.join(BOARDS)}")
    return BOARDS[name]
