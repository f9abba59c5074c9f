"""No gateware looks at what a block memory reads in the clock in which the same address is written.

Families differ in what it shows then; `weightstream_hw.synthesis` counts ECP5 without what would settle it.
"""

import numpy as np
import pytest
from amaranth.hdl import Cat, MemoryInstance, Module, Mux, Shape, Signal, Value
from amaranth.lib import memory
from amaranth.sim import Simulator

import machine_networks
from weightstream import Model
from weightstream.golden import network as golden
from weightstream.runtime.driver import Accelerator
from weightstream.runtime.sim_port import CLOCK_HZ, SimPort
from weightstream.spec.machine import PRESETS, Machine
from weightstream_hw.sim import compiled
from weightstream_hw.sim.compiled import compile_component
from weightstream_hw.top import Accelerator as Gateware


def elaborate_poisoned(cells, _platform):
    """Elaborate a memory whose clocked reads are inverted if the same address is written in their clock."""
    m = Module()
    m.submodules.cells = instance = MemoryInstance(data=cells.data, attrs=cells.attrs)
    writes = {}
    for port in cells.write_ports:
        write = {"addr": port.addr, "data": port.data, "en": port.en}
        writes[port] = instance.write_port(domain=port.domain, **write)
    for port in cells.read_ports:
        seen = tuple(writes[other] for other in port.transparent_for)
        data = Signal(Shape.cast(cells.shape).width)
        instance.read_port(domain=port.domain, addr=port.addr, data=data, en=port.en, transparent_for=seen)
        poisoned = Signal()
        if port.domain != "comb":
            meets = [
                other.en.any() & (other.addr == port.addr)
                for other in cells.write_ports
                if other not in port.transparent_for
            ]
            with m.If(port.en):
                m.d.sync += poisoned.eq(Cat(meets).any())
        m.d.comb += Value.cast(port.data).eq(Mux(poisoned, ~data, data))
    return m


@pytest.fixture
def poisoned(monkeypatch):
    monkeypatch.setattr(memory.Memory, "elaborate", elaborate_poisoned)


@pytest.mark.parametrize("transparent", [False, True])
def test_a_read_that_meets_a_write_is_poisoned(poisoned, transparent):
    cells = memory.Memory(shape=8, depth=4, init=[1, 2, 3, 4])
    write = cells.write_port()
    read = cells.read_port(transparent_for=[write] if transparent else [])
    found = []

    async def bench(ctx):
        ctx.set(write.data, 0x55)
        for address, enable in ((0, 0), (1, 1), (1, 0), (2, 1)):
            ctx.set(read.addr, address)
            ctx.set(write.addr, 1 if address == 1 else 3)
            ctx.set(write.en, enable)
            await ctx.tick()
            found.append(ctx.get(read.data))

    simulator = Simulator(cells)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == [1, 0x55 if transparent else 0xFF - 2, 0x55, 3]


@pytest.mark.long
def test_networks_do_not_depend_on_what_colliding_reads_show(poisoned, monkeypatch):
    def compile_poisoned(machine: Machine, *, trace: bool = False):
        return compile_component(Gateware(machine), trace=trace)

    monkeypatch.setattr(compiled, "compile_machine", compile_poisoned)
    with Accelerator(SimPort(PRESETS["tiny"], pause=0.2, latency=20)) as device:
        for seed in range(30):
            rng = np.random.default_rng(seed)
            sizes = [int(size) for size in rng.integers(1, 120, 3)]
            network = machine_networks.chain(rng, device.machine, sizes)
            x = machine_networks.random_inputs(rng, network, int(rng.integers(1, 8)))
            model = Model(network, b"")
            assert np.array_equal(device.run(model, x, raw=True), golden.run(network, x))
            device.unload(model)
        # Sums are read while others, or they themselves, are written: a clock later each time.
        before = device.counters()
        for _ in range(30):
            device.port.wait(1 / CLOCK_HZ)
            assert device.counters() == before
