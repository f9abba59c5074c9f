"""The hardware handoff: what PYNQ reads beside a bitstream.

Vivado writes its own when it builds an overlay; this one, from the register declaration and a board, is for
simulated boards, and for comparing with Vivado's.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from weightstream.board.names import INSTANCE, INTERRUPT, OVERLAY, VLNV
from weightstream.errors import TargetError

from .description import CONTROLLER_RANGE, CORE_RANGE, Board, Processor
from .words import Word, words

#: The interrupt controller: pynq knows no core without one.
CONTROLLER = "axi_intc_0"
_CONTROLLER_VLNV = "xilinx.com:ip:axi_intc:4.1"
_BUS = "xilinx.com:interface:aximm:1.0"


def build_hwh(board: Board) -> str:
    """Return the handoff of a board's overlay."""
    processor = board.processor
    system = Element("EDKSYSTEM", EDWVERSION="1.2", VIVADOVERSION="none: made from the register declaration")
    SubElement(
        system, "SYSTEMINFO", ARCH=processor.architecture, BOARD=board.name, DEVICE=board.part, NAME=OVERLAY
    )
    SubElement(system, "EXTERNALPORTS")
    SubElement(system, "EXTERNALINTERFACES")
    modules = SubElement(system, "MODULES")
    _add_core(modules, processor)
    _add_controller(modules, processor)
    _add_processor(modules, board)
    ElementTree.indent(system)
    return '<?xml version="1.0" encoding="UTF-8" standalone="no" ?>\n' + _text(system)


def check_hwh(path: Path, board: Board) -> None:
    """Compare a handoff that Vivado has written with what drivers expect of the board.

    Raises
    ------
    TargetError
        Accelerator, addresses, interrupt or registers differ; the message says which.
    """
    found, expected = _facts(path.read_text("utf-8")), _facts(build_hwh(board))
    for name, value in expected.items():
        if found.get(name) != value:
            raise TargetError(f"{path}: {name} should be {value}, not {found.get(name)}")


def _facts(text: str) -> dict[str, str]:
    """Return what drivers rely on."""
    # Vivado begins its files with a byte order mark.
    system = ElementTree.fromstring(text.lstrip("\ufeff").encode())
    facts = {}
    for module in system.iter("MODULE"):
        if module.get("INSTANCE") == INSTANCE:
            facts["VLNV"] = str(module.get("VLNV"))
            for register in module.iter("REGISTER"):
                values = {str(p.get("NAME")): str(p.get("VALUE")) for p in register.findall("PROPERTY")}
                facts[f"register {register.get('NAME')}"] = hex(int(values["ADDRESS_OFFSET"], 0))
        for port in module.iter("PORT"):
            for connection in port.iter("CONNECTION"):
                if connection.get("INSTANCE") == INSTANCE and connection.get("PORT") == INTERRUPT:
                    facts["listener of the interrupt"] = str(module.get("INSTANCE"))
        for memory in module.iter("MEMRANGE"):
            if memory.get("INSTANCE") in (INSTANCE, CONTROLLER):
                start, end = (int(str(memory.get(key)), 16) for key in ("BASEVALUE", "HIGHVALUE"))
                facts[f"addresses of {memory.get('INSTANCE')}"] = f"0x{start:X}..0x{end:X}"
    return facts


def _text(element: Element) -> str:
    return ElementTree.tostring(element, encoding="unicode") + "\n"


def _module(modules: Element, name: str, vlnv: str) -> Element:
    kind = "PROCESSOR" if name.startswith(("processing", "zynq")) else "PERIPHERAL"
    module, version = vlnv.split(":")[2:]
    return SubElement(
        modules,
        "MODULE",
        FULLNAME=f"/{name}",
        HWVERSION=version,
        INSTANCE=name,
        IPTYPE=kind,
        IS_ENABLE="1",
        MODCLASS=kind,
        MODTYPE=module,
        VLNV=vlnv,
    )


def _properties(element: Element, **values: object) -> None:
    for name, value in values.items():
        SubElement(element, "PROPERTY", NAME=name, VALUE=str(value))


def _ports(module: Element, *ports: tuple[str, str, str, str]) -> None:
    """Add ports: name, direction, kind, and ``instance/port`` of what each is connected to."""
    group = SubElement(module, "PORTS")
    for name, direction, kind, other in ports:
        port = SubElement(group, "PORT", DIR=direction, NAME=name, SIGIS=kind)
        if kind == "INTERRUPT":
            port.set("SENSITIVITY", "LEVEL_HIGH")
        if other:
            instance, _, pin = other.partition("/")
            SubElement(SubElement(port, "CONNECTIONS"), "CONNECTION", INSTANCE=instance, PORT=pin)


def _buses(module: Element, *buses: tuple[str, str, int]) -> None:
    group = SubElement(module, "BUSINTERFACES")
    for name, kind, bits in buses:
        SubElement(group, "BUSINTERFACE", NAME=name, TYPE=kind, DATAWIDTH=str(bits), VLNV=_BUS)


def _memory(group: Element, instance: str, bus: str, master: str, start: int, size: int, kind: str) -> None:
    SubElement(
        group,
        "MEMRANGE",
        ADDRESSBLOCK="registers" if instance == INSTANCE else "Reg",
        BASENAME="C_BASEADDR",
        BASEVALUE=f"0x{start:08X}",
        HIGHNAME="C_HIGHADDR",
        HIGHVALUE=f"0x{start + size - 1:08X}",
        INSTANCE=instance,
        IS_DATA="TRUE",
        IS_INSTRUCTION="TRUE",
        MASTERBUSINTERFACE=master,
        MEMTYPE=kind,
        SLAVEBUSINTERFACE=bus,
    )


def _add_core(modules: Element, processor: Processor) -> None:
    core = _module(modules, INSTANCE, VLNV)
    block = SubElement(
        SubElement(core, "ADDRESSBLOCKS"),
        "ADDRESSBLOCK",
        ACCESS="read-write",
        INTERFACE="s_axi",
        NAME="registers",
        RANGE=str(CORE_RANGE),
        USAGE="register",
    )
    registers = SubElement(block, "REGISTERS")
    for word in words():
        _add_register(registers, word)
    clock = f"{processor.instance}/{processor.clock}"
    _ports(
        core,
        ("aclk", "I", "clk", clock),
        ("aresetn", "I", "rst", ""),  # the reset block is no module here
        (INTERRUPT, "O", "INTERRUPT", f"{CONTROLLER}/intr"),
    )
    _buses(core, ("s_axi", "SLAVE", 32), ("m_axi", "MASTER", processor.slave_bits))
    group = SubElement(core, "MEMORYMAP")
    for _, start, size in processor.spaces:
        _memory(group, processor.instance, processor.slave, "m_axi", start, size, "MEMORY")


def _add_register(registers: Element, word: Word) -> None:
    register = SubElement(registers, "REGISTER", NAME=word.name)
    _properties(
        register,
        DESCRIPTION=word.doc,
        ADDRESS_OFFSET=f"0x{word.address:X}",
        SIZE=32,
        ACCESS=access(word.writable),
        IS_ENABLED="true",
        RESET_VALUE=f"0x{word.reset:X}",
    )
    fields = SubElement(register, "FIELDS")
    for field in word.fields:
        _properties(
            SubElement(fields, "FIELD", NAME=field.name),
            DESCRIPTION=field.doc,
            ACCESS=access(field.writable),
            BIT_OFFSET=field.lsb,
            BIT_WIDTH=field.bits,
        )


def access(writable: bool) -> str:
    """Return what IP-XACT calls it."""
    return "read-write" if writable else "read-only"


def _add_controller(modules: Element, processor: Processor) -> None:
    controller = _module(modules, CONTROLLER, _CONTROLLER_VLNV)
    _ports(
        controller,
        ("s_axi_aclk", "I", "clk", f"{processor.instance}/{processor.clock}"),
        ("intr", "I", "INTERRUPT", f"{INSTANCE}/{INTERRUPT}"),
        ("irq", "O", "INTERRUPT", f"{processor.instance}/{processor.interrupt}"),
    )
    _buses(controller, ("s_axi", "SLAVE", 32))


def _add_processor(modules: Element, board: Board) -> None:
    processor = board.processor
    module = _module(modules, processor.instance, f"xilinx.com:ip:{processor.module}:{processor.version}")
    parameters = SubElement(module, "PARAMETERS")
    for name, value in _clocks(board).items():
        SubElement(parameters, "PARAMETER", NAME=name, VALUE=str(value))
    _ports(
        module,
        (processor.clock, "O", "clk", f"{INSTANCE}/aclk"),
        (processor.interrupt, "I", "INTERRUPT", f"{CONTROLLER}/irq"),
    )
    _buses(module, (processor.master, "MASTER", 32), (processor.slave, "SLAVE", processor.slave_bits))
    group = SubElement(module, "MEMORYMAP")
    for instance, start, size in (
        (CONTROLLER, processor.controller, CONTROLLER_RANGE),
        (INSTANCE, processor.core, CORE_RANGE),
    ):
        _memory(group, instance, "s_axi", processor.master, start, size, "REGISTER")


def _clocks(board: Board) -> dict[str, object]:
    """Return the parameters from which pynq sets clocks and widths of ports when it loads an overlay."""
    divisor = board.processor.pll // board.mhz
    values: dict[str, object] = {}
    for i in range(4):
        used = int(i == 0)
        if board.processor.architecture == "zynq":
            values[f"PCW_FPGA_FCLK{i}_ENABLE"] = used
            values[f"PCW_FCLK{i}_PERIPHERAL_CLKSRC"] = "IO PLL"
            values[f"PCW_FCLK{i}_PERIPHERAL_DIVISOR0"] = divisor if used else 1
            values[f"PCW_FCLK{i}_PERIPHERAL_DIVISOR1"] = 1
        else:
            clock = f"PSU__CRL_APB__PL{i}_REF_CTRL__"
            values[f"PSU__FPGA_PL{i}_ENABLE"] = used
            values[f"{clock}SRCSEL"] = "IOPLL"
            values[f"{clock}DIVISOR0"] = divisor if used else 1
            values[f"{clock}DIVISOR1"] = 1
            values[f"{clock}ACT_FREQMHZ"] = board.mhz if used else board.processor.pll
    if board.processor.architecture == "zynq":
        return values | {"C_S_AXI_HP0_DATA_WIDTH": 64, "PCW_S_AXI_HP0_DATA_WIDTH": 64}
    return values | {"C_MAXIGP0_DATA_WIDTH": 32, "C_SAXIGP2_DATA_WIDTH": 128}
