"""An AXI4-Lite master with pauses, for a bank of registers."""

import random

from amaranth.hdl import Cat


class Port:
    """A master of a bus; `stall`: share of clocks in which it rests, at random."""

    def __init__(self, bus, seed=0, stall=0.0):
        self.bus = bus
        self.random = random.Random(seed)
        self.stall = stall

    async def pause(self, ctx):
        while self.random.random() < self.stall:
            await ctx.tick()

    async def _offer(self, ctx, valid, ready):
        await self.pause(ctx)
        ctx.set(valid, -1)
        await ctx.tick().until(ready)
        ctx.set(valid, 0)

    async def _answer(self, ctx, valid, ready, *payload):
        """Take an answer, late; it must not change before it is taken."""
        while not ctx.get(valid):
            await ctx.tick()
        seen = [ctx.get(signal) for signal in payload]
        while self.random.random() < self.stall:
            await ctx.tick()
            assert ctx.get(valid) and seen == [ctx.get(signal) for signal in payload]
        ctx.set(ready, 1)
        await ctx.tick()
        ctx.set(ready, 0)
        return seen

    async def read(self, ctx, address):
        bus = self.bus
        ctx.set(bus.araddr, address)
        await self._offer(ctx, bus.arvalid, bus.arready)
        data, response = await self._answer(ctx, bus.rvalid, bus.rready, bus.rdata, bus.rresp)
        assert response == 0
        return data

    async def read64(self, ctx, address):
        low = await self.read(ctx, address)
        return await self.read(ctx, address + 4) << 32 | low

    async def write(self, ctx, address, data, strobes=0xF, order="together"):
        bus = self.bus
        ctx.set(bus.awaddr, address)
        ctx.set(bus.wdata, data)
        ctx.set(bus.wstrb, strobes)
        if order == "address first":
            await self._offer(ctx, bus.awvalid, bus.awready)
            await self._offer(ctx, bus.wvalid, bus.wready)
        elif order == "data first":
            await self._offer(ctx, bus.wvalid, bus.wready)
            assert not ctx.get(bus.bvalid)
            await self._offer(ctx, bus.awvalid, bus.awready)
        else:
            await self._offer(ctx, Cat(bus.awvalid, bus.wvalid), bus.awready & bus.wready)
        assert await self._answer(ctx, bus.bvalid, bus.bready, bus.bresp) == [0]
