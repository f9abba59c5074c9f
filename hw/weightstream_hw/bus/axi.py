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


def _handshake(channel: str) -> dict:
    return {f"{channel}valid": Out(1), f"{channel}ready": In(1)}


def _address(channel: str, bits: int) -> dict:
    """Return the members of an address channel, `ar` or `aw`, that all variants of AXI have."""
    return {f"{channel}addr": Out(bits), f"{channel}prot": Out(3, init=PROTECTION)} | _handshake(channel)


def _burst(channel: str) -> dict:
    """Return what an address channel says about bursts."""
    return {
        f"{channel}len": Out(8),
        f"{channel}size": Out(3),
        f"{channel}burst": Out(2, init=INCREMENTING),
        f"{channel}cache": Out(4, init=CACHE),
    }


def _read_data(bits: int) -> dict:
    return {"rdata": In(bits), "rresp": In(2), "rvalid": In(1), "rready": Out(1)}


def _write_data(bits: int) -> dict:
    return {"wdata": Out(bits), "wstrb": Out(bits // 8)} | _handshake("w")


_WRITE_RESPONSE = {"bresp": In(2), "bvalid": In(1), "bready": Out(1)}


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
            _address("ar", address_bits) | _burst("ar") | _read_data(data_bits) | {"rlast": In(1)}
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
            _address("aw", address_bits)
            | _burst("aw")
            | _write_data(data_bits)
            | {"wlast": Out(1)}
            | _WRITE_RESPONSE
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
            _address("aw", address_bits)
            | _write_data(32)
            | _WRITE_RESPONSE
            | _address("ar", address_bits)
            | _read_data(32)
        )

    def __eq__(self, other):
        return isinstance(other, AxiLite) and self.members == other.members


def read_request(machine: Machine) -> data.StructLayout:
    """Return the layout of what a client asks for: byte address, a multiple of a beat; beats minus 1."""
    return data.StructLayout({"address": machine.address_bits, "beats": 8})


def read_beat(machine: Machine) -> data.StructLayout:
    """Return the layout of a beat that a client gets; `last`: the last one of its burst."""
    return data.StructLayout({"data": machine.bus_bits, "last": 1})
