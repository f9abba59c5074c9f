"""Running a block in Amaranth's simulator."""

from amaranth.sim import Simulator


def simulate(dut, *benches, background=(), watching=()):
    """Run test benches to their end; others, which have none, see each clock before them or after them."""
    sim = Simulator(dut)
    sim.add_clock(1e-8)
    for bench in background:
        sim.add_testbench(bench, background=True)
    for bench in benches:
        sim.add_testbench(bench)
    for bench in watching:
        sim.add_testbench(bench, background=True)
    sim.run()
