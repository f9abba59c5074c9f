"""The accelerator's top module as Vivado's IP packager wants it."""

from __future__ import annotations

from amaranth.lib.wiring import In, Signature

from weightstream.board.names import INTERRUPT
from weightstream.spec.registers import ADDRESS_BITS

from ..bus.axi import OUTSTANDING, AxiLite, AxiRead, AxiWrite
from .description import Board

#: Module that is packaged; the one inside comes from Amaranth.
TOP, INNER = "weightstream_accelerator", "accelerator"


def build_wrapper(board: Board) -> str:
    """Return Verilog that names buses, clock, reset and interrupt by attributes.

    The reset is turned: block designs have it low active.
    """
    machine = board.machine
    lite, read, write = (
        AxiLite(ADDRESS_BITS),
        AxiRead(machine.address_bits, machine.bus_bits),
        AxiWrite(machine.address_bits, machine.bus_bits),
    )
    memory = (
        f"MAX_BURST_LENGTH {machine.burst_beats}, NUM_READ_OUTSTANDING {OUTSTANDING}, "
        f"NUM_WRITE_OUTSTANDING {OUTSTANDING}, SUPPORTS_NARROW_BURST 0"
    )
    clock = "xilinx.com:signal:clock:1.0 aclk CLK"
    ports = [
        _port("input", 1, "aclk", clock, "ASSOCIATED_BUSIF s_axi:m_axi, ASSOCIATED_RESET aresetn"),
        _port("input", 1, "aresetn", "xilinx.com:signal:reset:1.0 aresetn RST", "POLARITY ACTIVE_LOW"),
        *_bus("s_axi", lite, slave=True, parameters="PROTOCOL AXI4LITE"),
        *_bus("m_axi", read, parameters=memory),
        *_bus("m_axi", write, parameters=""),
        _port(
            "output",
            1,
            INTERRUPT,
            f"xilinx.com:signal:interrupt:1.0 {INTERRUPT} INTERRUPT",
            "SENSITIVITY LEVEL_HIGH",
        ),
    ]
    names = [
        *(f"s_axi_{name}" for name in lite.members),
        *(f"m_axi_{name}" for signature in (read, write) for name in signature.members),
        INTERRUPT,
    ]
    connections = [".clk(aclk)", ".rst(~aresetn)", *(f".{name}({name})" for name in names)]
    return (
        f"// The accelerator for {board.title}, with the attributes that Vivado finds buses by.\n"
        "`default_nettype none\n\n"
        f"module {TOP} (\n" + ",\n".join(ports) + "\n);\n"
        f"  {INNER} core (\n    " + ",\n    ".join(connections) + "\n  );\n"
        "endmodule\n\n`default_nettype wire\n"
    )


def _port(direction: str, bits: int, name: str, interface: str, parameters: str = "") -> str:
    lines = [f'  (* X_INTERFACE_INFO = "{interface}" *)']
    if parameters:
        lines.append(f'  (* X_INTERFACE_PARAMETER = "{parameters}" *)')
    width = f" [{bits - 1}:0]" if bits > 1 else ""
    return "\n".join([*lines, f"  {direction} wire{width} {name}"])


def _bus(prefix: str, signature: Signature, *, slave: bool = False, parameters: str) -> list[str]:
    """Return the ports of a bus; its first carries the parameters."""
    ports = []
    for name, member in signature.members.items():
        given = (member.flow == In) != slave
        ports.append(
            _port(
                "input" if given else "output",
                member.shape if isinstance(member.shape, int) else member.shape.width,
                f"{prefix}_{name}",
                f"xilinx.com:interface:aximm:1.0 {prefix} {name.upper()}",
                "" if ports else parameters,
            )
        )
    return ports
