"""AXI: the signals of its channels, and what clients and masters say to each other."""

from __future__ import annotations

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

#: Response of a transfer that went well.
OKAY = 0
#: Bursts of ascending addresses.
INCREMENTING = 1
#: Modifiable and bufferable: interconnects may pack and split, the memory controller may answer early.
CACHE = 0b0011
#: Data, not secure, not privileged.
PROTECTION = 0b010
#: No burst may cross a multiple of this.
PAGE_BYTES = 4096
#: Bursts that a master has under way at most.
OUTSTANDING = 16


class AxiRead(wiring.Signature):
    """Read channels of AXI4, seen from the master.

    There are no identifiers: all answers come in order. With bursts of at most 16 beats, the upper bits
    of `arlen` are 0 and the signals are those of AXI3.

    Parameters
    ----------
    address_bits, data_bits : int
        Widths.
    """

    def __init__(self, address_bits: int, data_bits: int):
        self.address_bits = address_bits
        self.data_bits = data_bits
        super().__init__(
            {
                "araddr": Out(address_bits),
                "arlen": Out(8),
                "arsize": Out(3),
                "arburst": Out(2, init=INCREMENTING),
                "arcache": Out(4, init=CACHE),
                "arprot": Out(3, init=PROTECTION),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(data_bits),
                "rresp": In(2),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )

    def __eq__(self, other):
        return isinstance(other, AxiRead) and self.members == other.members


class AxiWrite(wiring.Signature):
    """Write channels of AXI4, seen from the master; without identifiers, as `AxiRead`.

    Parameters
    ----------
    address_bits, data_bits : int
        Widths.
    """

    def __init__(self, address_bits: int, data_bits: int):
        self.address_bits = address_bits
        self.data_bits = data_bits
        super().__init__(
            {
                "awaddr": Out(address_bits),
                "awlen": Out(8),
                "awsize": Out(3),
                "awburst": Out(2, init=INCREMENTING),
                "awcache": Out(4, init=CACHE),
                "awprot": Out(3, init=PROTECTION),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(data_bits),
                "wstrb": Out(data_bits // 8),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
            }
        )

    def __eq__(self, other):
        return isinstance(other, AxiWrite) and self.members == other.members


class AxiLite(wiring.Signature):
    """AXI4-Lite with 32-bit data, seen from the master.

    Parameters
    ----------
    address_bits : int
        Width of a byte address.
    """

    def __init__(self, address_bits: int):
        self.address_bits = address_bits
        super().__init__(
            {
                "awaddr": Out(address_bits),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(address_bits),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )

    def __eq__(self, other):
        return isinstance(other, AxiLite) and self.members == other.members


def read_request(machine: Machine) -> data.StructLayout:
    """Return the layout of what a client asks for: byte address, a multiple of a beat; beats minus 1."""
    return data.StructLayout({"address": machine.address_bits, "beats": 8})


def read_beat(machine: Machine) -> data.StructLayout:
    """Return the layout of a beat that a client gets; `last`: the last one of its burst."""
    return data.StructLayout({"data": machine.bus_bits, "last": 1})
