"""The read side of the memory bus, shared by several clients."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from .axi import OKAY, OUTSTANDING, AxiRead, read_beat, read_request


class ReadMaster(wiring.Component):
    """Pass the bursts of clients on to an AXI bus, and bring each client its beats.

    A request is aligned to a beat, stays within a page of 4 KiB and within the longest burst of the
    machine; the clients see to that. They ask only for what they have room for: beats are never held up.

    Timing
    ------
    Latency: 1 clock from a request to its address on the bus; 1 clock from a beat on the bus to its client.
    Throughput: a request a clock, a beat a clock.
    Stall: requests wait while the bus takes no address, or while `OUTSTANDING` bursts are under way.

    Parameters
    ----------
    machine : Machine
        What is built.
    clients : int
        How many there are; the first one goes first.

    Attributes
    ----------
    requests : array of In(stream)
        Bursts, one stream a client.
    beat : Out(StructLayout)
        What memory sent: `data`, and whether it is the `last` beat of its burst.
    beat_valid : Out(clients)
        Whom it is for: at most one bit is set.
    bus : Out(AxiRead)
        The bus.
    flush : In(1)
        While it is set, no burst is begun and what arrives is dropped. Then the clients may be reset.
    idle : Out(1)
        No burst is under way.
    error : Out(1)
        A beat came with an error; for one clock.
    error_address : Out(address_bits)
        With `error`: address of its burst.

    Raises
    ------
    ValueError
        `clients` is not positive.
    """

    #: Clocks from a request to its address on the bus, and from a beat on the bus to its client.
    latency = 1

    def __init__(self, machine: Machine, clients: int):
        if clients < 1:
            raise ValueError(f"clients must be positive, not {clients}")
        self.machine = machine
        self.clients = clients
        super().__init__(
            {
                "requests": In(stream.Signature(read_request(machine))).array(clients),
                "beat": Out(read_beat(machine)),
                "beat_valid": Out(clients),
                "bus": Out(AxiRead(machine.address_bits, machine.bus_bits)),
                "flush": In(1),
                "idle": Out(1),
                "error": Out(1),
                "error_address": Out(machine.address_bits),
            }
        )

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        bus = self.bus
        burst = data.StructLayout({"client": range(self.clients), "address": self.machine.address_bits})

        # Memory answers in order: whoever issued the oldest burst that is not complete gets the beat.
        m.submodules.order = order = SyncFIFO(width=burst.size, depth=OUTSTANDING)
        oldest = data.View(burst, order.r_data)
        newest = data.View(burst, order.w_data)

        # ---- addresses ---------------------------------------------------------------------------
        free = Signal()
        # `order` is full; what it says itself is not in a register.
        full = Signal()
        m.d.comb += free.eq((~bus.arvalid | bus.arready) & ~full & ~self.flush)
        chosen = Signal(read_request(self.machine))
        taken = Signal()
        for client, request in reversed(list(enumerate(self.requests))):
            with m.If(request.valid):
                m.d.comb += [chosen.eq(request.payload), newest.client.eq(client)]
            earlier = Cat(other.valid for other in list(self.requests)[:client])
            m.d.comb += request.ready.eq(free & ~earlier.any())
        m.d.comb += [
            taken.eq(free & Cat(request.valid for request in self.requests).any()),
            newest.address.eq(chosen.address),
            order.w_en.eq(taken),
            bus.arsize.eq((self.machine.bus_bytes - 1).bit_length()),
        ]
        with m.If(taken != order.r_en):
            m.d.sync += full.eq(taken & (order.level == OUTSTANDING - 1))
        with m.If(bus.arready):
            m.d.sync += bus.arvalid.eq(0)
        with m.If(taken):
            m.d.sync += [
                bus.arvalid.eq(1),
                bus.araddr.eq(chosen.address),
                bus.arlen.eq(chosen.beats),
            ]

        # ---- data --------------------------------------------------------------------------------
        arrived = Signal()
        m.d.comb += [
            bus.rready.eq(1),
            arrived.eq(bus.rvalid & order.r_rdy),
            order.r_en.eq(arrived & bus.rlast),
            self.idle.eq(~order.r_rdy & ~self.beat_valid.any()),
        ]
        m.d.sync += [
            self.beat.data.eq(bus.rdata),
            self.beat.last.eq(bus.rlast),
            self.error.eq(arrived & (bus.rresp != OKAY)),
            self.error_address.eq(oldest.address),
        ]
        for client in range(self.clients):
            m.d.sync += self.beat_valid[client].eq(arrived & ~self.flush & (oldest.client == client))
        return m
