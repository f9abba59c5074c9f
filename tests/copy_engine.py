"""A small design with the accelerator's ports, for tests of simulators and benches: it copies memory."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

#: Registers: control (bit 0 starts; bit 1: done, cleared by reading), addresses, beats,
#: worst response, and the rule that is broken.
CONTROL, SOURCE, TARGET, BEATS, ERROR, MISDEED = 0x00, 0x10, 0x18, 0x20, 0x24, 0x28
#: Rules of the bus that it can break, for tests of those who watch.
CROSS_PAGES, MOVE_STALLED = 1, 2
#: Beats of a burst; both addresses and the size must be a multiple of it.
BURST = 16


def _ports(bus_bits: int, address_bits: int) -> dict:
    """Return the ports of an accelerator."""
    lite = {"awaddr": In(12), "awvalid": In(1), "awready": Out(1), "wdata": In(32), "wstrb": In(4)}
    lite |= {"wvalid": In(1), "wready": Out(1), "bresp": Out(2), "bvalid": Out(1), "bready": In(1)}
    lite |= {"araddr": In(12), "arvalid": In(1), "arready": Out(1), "rdata": Out(32), "rresp": Out(2)}
    lite |= {"rvalid": Out(1), "rready": In(1)}
    full = {"rdata": In(bus_bits), "rresp": In(2), "rlast": In(1), "rvalid": In(1), "rready": Out(1)}
    full |= {"wdata": Out(bus_bits), "wstrb": Out(bus_bits // 8), "wlast": Out(1), "wvalid": Out(1)}
    full |= {"wready": In(1), "bresp": In(2), "bvalid": In(1), "bready": Out(1)}
    for channel in ("ar", "aw"):
        address = {"addr": Out(address_bits), "len": Out(8), "size": Out(3), "burst": Out(2), "prot": Out(3)}
        address |= {"cache": Out(4), "valid": Out(1), "ready": In(1)}
        full |= {channel + name: member for name, member in address.items()}
    ports = {f"s_axi_{name}": member for name, member in lite.items()}
    return ports | {f"m_axi_{name}": member for name, member in full.items()} | {"interrupt": Out(1)}


class CopyEngine(wiring.Component):
    """Copy memory in bursts, reading ahead."""

    def __init__(self, bus_bits: int = 64, address_bits: int = 32):
        self.bus_bits, self.address_bits = bus_bits, address_bits
        super().__init__(_ports(bus_bits, address_bits))

    def elaborate(self, platform):
        m = Module()
        start, done, error = Signal(), Signal(), Signal(2)
        source, target, beats = Signal(64), Signal(64), Signal(32)
        misdeed = Signal(2)
        self._registers(m, start, done, error, source, target, beats, misdeed)

        # Bursts to read, to announce for writing, and to be answered.
        to_read, to_address, unanswered = Signal(32), Signal(32), Signal(32)
        read_address, write_address = Signal(self.address_bits), Signal(self.address_bits)
        step = BURST * self.bus_bits // 8
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=self.bus_bits, depth=8 * BURST)
        # Beats that are not yet spoken for.
        room = Signal(range(8 * BURST + 1), init=8 * BURST)
        ar = self.m_axi_arvalid & self.m_axi_arready
        aw = self.m_axi_awvalid & self.m_axi_awready
        w = self.m_axi_wvalid & self.m_axi_wready
        b = self.m_axi_bvalid & self.m_axi_bready
        # Bursts that were announced and not written; the beat of the first of them.
        open_bursts = Signal(32)
        position = Signal(range(BURST))
        m.d.comb += [
            self.m_axi_arvalid.eq((to_read != 0) & (room >= BURST)),
            self.m_axi_araddr.eq(read_address + Mux(misdeed == CROSS_PAGES, self.bus_bits // 8, 0)),
            self.m_axi_rready.eq(fifo.w_rdy),
            fifo.w_en.eq(self.m_axi_rvalid),
            fifo.w_data.eq(self.m_axi_rdata),
            self.m_axi_awvalid.eq(to_address != 0),
            self.m_axi_awaddr.eq(write_address),
            self.m_axi_wvalid.eq(fifo.r_rdy & (open_bursts != 0)),
            self.m_axi_wdata.eq(fifo.r_data),
            self.m_axi_wstrb.eq(~0),
            self.m_axi_wlast.eq(position == BURST - 1),
            fifo.r_en.eq(w),
            self.m_axi_bready.eq(1),
        ]
        for channel in ("ar", "aw"):
            size = (self.bus_bits // 8).bit_length() - 1
            for name, value in {"len": BURST - 1, "size": size, "burst": 1, "cache": 3}.items():
                m.d.comb += getattr(self, f"m_axi_{channel}{name}").eq(value)
        m.d.sync += [
            room.eq(room - Mux(ar, BURST, 0) + w),
            open_bursts.eq(open_bursts + aw - (w & self.m_axi_wlast)),
            position.eq(position + w),
            unanswered.eq(unanswered - b),
        ]
        with m.If(ar):
            m.d.sync += [to_read.eq(to_read - 1), read_address.eq(read_address + step)]
        with m.If(aw):
            m.d.sync += [to_address.eq(to_address - 1), write_address.eq(write_address + step)]
        with m.If((misdeed == MOVE_STALLED) & self.m_axi_arvalid & ~self.m_axi_arready):
            m.d.sync += read_address.eq(read_address ^ step)
        with m.If(self.m_axi_rvalid & self.m_axi_rready & (self.m_axi_rresp > error)):
            m.d.sync += error.eq(self.m_axi_rresp)
        with m.If(b & (self.m_axi_bresp > error)):
            m.d.sync += error.eq(self.m_axi_bresp)
        with m.If(b & (unanswered == 1)):
            m.d.sync += done.eq(1)
        with m.If(start):
            bursts = beats[BURST.bit_length() - 1 :]
            m.d.sync += [to_read.eq(bursts), to_address.eq(bursts), unanswered.eq(bursts), error.eq(0)]
            m.d.sync += [read_address.eq(source), write_address.eq(target)]
        m.d.comb += self.interrupt.eq(done)
        return m

    def _registers(self, m, start, done, error, source, target, beats, misdeed):
        """Build the slave; a write's address and data may come in any order."""
        addressed, address, written, data = Signal(), Signal(12), Signal(), Signal(32)
        write = Signal()
        m.d.comb += [
            self.s_axi_awready.eq(~addressed),
            self.s_axi_wready.eq(~written),
            write.eq(addressed & written & ~self.s_axi_bvalid),
            start.eq(write & (address == CONTROL) & data[0]),
            self.s_axi_arready.eq(~self.s_axi_rvalid),
        ]
        with m.If(self.s_axi_awvalid & self.s_axi_awready):
            m.d.sync += [addressed.eq(1), address.eq(self.s_axi_awaddr)]
        with m.If(self.s_axi_wvalid & self.s_axi_wready):
            m.d.sync += [written.eq(1), data.eq(self.s_axi_wdata)]
        with m.If(self.s_axi_bvalid & self.s_axi_bready):
            m.d.sync += self.s_axi_bvalid.eq(0)
        registers = {SOURCE: source[:32], SOURCE + 4: source[32:], TARGET: target[:32]}
        registers |= {TARGET + 4: target[32:], BEATS: beats, MISDEED: misdeed}
        readable = registers | {CONTROL: Cat(0, done), ERROR: error}
        with m.If(write):
            m.d.sync += [addressed.eq(0), written.eq(0), self.s_axi_bvalid.eq(1), self.s_axi_bresp.eq(2)]
            with m.Switch(address):
                for offset, register in registers.items():
                    with m.Case(offset):
                        m.d.sync += [register.eq(data), self.s_axi_bresp.eq(0)]
                with m.Case(CONTROL):
                    m.d.sync += self.s_axi_bresp.eq(0)
        with m.If(self.s_axi_rvalid & self.s_axi_rready):
            m.d.sync += self.s_axi_rvalid.eq(0)
        with m.If(self.s_axi_arvalid & self.s_axi_arready):
            m.d.sync += [self.s_axi_rvalid.eq(1), self.s_axi_rdata.eq(0), self.s_axi_rresp.eq(2)]
            with m.Switch(self.s_axi_araddr):
                for offset, register in readable.items():
                    with m.Case(offset):
                        m.d.sync += [self.s_axi_rdata.eq(register), self.s_axi_rresp.eq(0)]
                        if offset == CONTROL:
                            m.d.sync += done.eq(0)
