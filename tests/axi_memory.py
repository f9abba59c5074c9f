"""A memory behind an AXI bus, for gateware tests: random pauses, and every rule of the bus checked."""

import random
from collections import deque

PAGE = 4096
OKAY, SLVERR = 0, 2


class Rules:
    """What a source drives must hold still from valid to ready.

    Parameters
    ----------
    name : str
        The channel.
    """

    def __init__(self, name):
        self.name = name
        self.stalled = None

    def see(self, valid, ready, *payload):
        """Take one clock of a channel; return whether its payload was taken."""
        if self.stalled is not None:
            assert valid, f"{self.name}: valid was withdrawn"
            assert payload == self.stalled, f"{self.name}: the payload changed while it was stalled"
        self.stalled = payload if valid and not ready else None
        return bool(valid and ready)


def check_burst(address, length, size, beat_bytes, longest):
    """Check the address phase of a burst; return the addresses of its beats."""
    assert 1 << size == beat_bytes
    assert address % beat_bytes == 0
    assert length + 1 <= longest
    assert address // PAGE == (address + (length + 1) * beat_bytes - 1) // PAGE, "a burst crosses a page"
    return [address + beat * beat_bytes for beat in range(length + 1)]


class AxiMemory:
    """Memory from address `base` on.

    Parameters
    ----------
    data : bytes
        What it holds.
    longest : int
        The longest burst that is allowed.
    base : int
        Address of its first byte.
    seed : int
        Of the pauses and delays.
    stall : float
        Probability that a channel pauses for a clock.
    delay : int
        The most clocks from an address to its answer.
    bad : set of int
        Addresses of beats that are answered with an error.
    """

    def __init__(self, data, *, longest=16, base=0, seed=0, stall=0.0, delay=0, bad=frozenset()):
        self.data = bytearray(data)
        self.longest = longest
        self.base = base
        self.stall = stall
        self.delay = delay
        self.bad = bad
        self.random = random.Random(seed)
        self.read_bursts, self.write_bursts = [], []
        self.clock = 0
        self.most_reads = self.most_writes = 0

    def _pause(self):
        return self.random.random() < self.stall

    def _due(self):
        return self.clock + self.random.randint(0, self.delay)

    async def serve_reads(self, ctx, bus):
        """Answer reads; runs for ever, as a background test bench."""
        rules, waiting = Rules("AR"), deque()
        beat_bytes = len(bus.rdata) // 8
        beats, offered = deque(), False
        while True:
            if waiting and waiting[0][0] <= self.clock:
                beats.extend(waiting.popleft()[1])
            if not offered and beats and not self._pause():
                offered = True
                address, last = beats[0]
                at = address - self.base
                assert 0 <= at <= len(self.data) - beat_bytes, f"read of {address:#x}, outside of the memory"
                ctx.set(bus.rdata, int.from_bytes(self.data[at : at + beat_bytes], "little"))
                ctx.set(bus.rlast, last)
                ctx.set(bus.rresp, SLVERR if address in self.bad else OKAY)
            ctx.set(bus.rvalid, offered)
            ctx.set(bus.arready, not self._pause())
            *_, valid, ready, address, length, size, rvalid, rready = await ctx.tick().sample(
                bus.arvalid, bus.arready, bus.araddr, bus.arlen, bus.arsize, bus.rvalid, bus.rready
            )
            self.clock += 1
            if rvalid and rready:
                beats.popleft()
                offered = False
            if rules.see(valid, ready, address, length, size):
                addresses = check_burst(address, length, size, beat_bytes, self.longest)
                self.read_bursts.append((address, length + 1))
                due = max(self._due(), waiting[-1][0] if waiting else 0)
                waiting.append((due, [(a, a == addresses[-1]) for a in addresses]))
                under_way = len(waiting) + sum(last for _, last in beats)
                self.most_reads = max(self.most_reads, under_way)

    async def serve_writes(self, ctx, bus):
        """Take writes; runs for ever, as a background test bench."""
        address_rules, data_rules = Rules("AW"), Rules("W")
        beat_bytes = len(bus.wdata) // 8
        bursts, beats, answers = deque(), deque(), deque()
        burst_beats = []
        offered, clock = False, 0
        while True:
            if not offered and answers and answers[0][0] <= clock and not self._pause():
                offered = True
                ctx.set(bus.bresp, answers[0][1])
            ctx.set(bus.bvalid, offered)
            ctx.set(bus.awready, not self._pause())
            ctx.set(bus.wready, not self._pause())
            *_, avalid, aready, address, length, size, valid, ready, word, strobes, last, bvalid, bready = (
                await ctx.tick().sample(
                    bus.awvalid, bus.awready, bus.awaddr, bus.awlen, bus.awsize,
                    bus.wvalid, bus.wready, bus.wdata, bus.wstrb, bus.wlast, bus.bvalid, bus.bready,
                )
            )  # fmt: skip
            clock += 1
            if bvalid and bready:
                answers.popleft()
                offered = False
            if address_rules.see(avalid, aready, address, length, size):
                bursts.append(check_burst(address, length, size, beat_bytes, self.longest))
                self.write_bursts.append((address, length + 1))
            if data_rules.see(valid, ready, word, strobes, last):
                burst_beats.append((word, strobes))
                if last:
                    beats.append(burst_beats)
                    burst_beats = []
            while bursts and beats:
                addresses, written = bursts.popleft(), beats.popleft()
                assert len(addresses) == len(written), "the last beat is not where the length says"
                for address, (word, strobes) in zip(addresses, written, strict=True):
                    self._store(address - self.base, word, strobes, beat_bytes)
                bad = any(address in self.bad for address in addresses)
                due = clock + self.random.randint(0, self.delay)
                answers.append((max(due, answers[-1][0] if answers else 0), SLVERR if bad else OKAY))
            self.most_writes = max(self.most_writes, len(answers) + len(bursts))

    def _store(self, at, word, strobes, beat_bytes):
        assert 0 <= at <= len(self.data) - beat_bytes, "write outside of the memory"
        for lane, byte in enumerate(word.to_bytes(beat_bytes, "little")):
            if strobes >> lane & 1:
                self.data[at + lane] = byte
