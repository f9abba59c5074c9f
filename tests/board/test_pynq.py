"""The driver through pynq itself: real Overlay, allocate, register map and interrupts, on a simulated board.

pynq needs an older numpy than the other tests: an environment of its own runs these.
"""

import asyncio
import gc
import importlib
import re
import warnings
import weakref

import numpy as np
import pytest

import machine_networks
import weightstream as ws
from weightstream.board.names import INSTANCE, OVERLAY
from weightstream.errors import DeviceError, TargetError
from weightstream.golden import network as golden
from weightstream.runtime.driver import Accelerator
from weightstream.runtime.selftest import selftest
from weightstream.spec.machine import PRESETS
from weightstream.spec.registers import BY_NAME, ID_MAGIC
from weightstream_hw.boards.description import BOARDS
from weightstream_hw.boards.hwh import build_hwh

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pynq

    importlib.import_module("pynq.lib")  # an overlay imports it, and it warns

    from simulated_board import SimulatedBoard, SimulatedUio, connect_interrupts

TINY = PRESETS["tiny"]
#: pynq 4 knows no Zynq-7000.
NAMES = ["kv260", "zcu104"] + ["pynq_z2", "pynq_z1"] * pynq.__version__.startswith("3")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def write_overlay(folder, name="kv260", change=lambda text: text):
    """Write a bitstream that holds nothing and its description; return the path of the bitstream."""
    path = folder / f"{OVERLAY}.bit"
    path.write_bytes(b"")
    path.with_suffix(".hwh").write_text(change(build_hwh(BOARDS[name])))
    return path


@pytest.fixture
def board(monkeypatch):
    """A board whose interrupts arrive, active for pynq."""
    made = SimulatedBoard(TINY)
    connect_interrupts(monkeypatch, made)
    yield made
    # Finalisers give buffers back: nothing is left, whatever a test did.
    gc.collect()
    assert made.port.buffers == 0


@pytest.fixture
def overlay(board, tmp_path):
    return write_overlay(tmp_path)


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(7)
    return machine_networks.chain(rng, TINY, [40, 30, 12])


@pytest.fixture(scope="module")
def x(network):
    return machine_networks.random_inputs(np.random.default_rng(8), network, 9)


@pytest.mark.parametrize("name", NAMES)
def test_overlay_has_accelerator_with_registers_and_interrupt(board, tmp_path, name):
    path = write_overlay(tmp_path, name)
    overlay = pynq.Overlay(str(path), device=board)
    processor = BOARDS[name].processor
    entry = overlay.ip_dict[INSTANCE]
    assert (entry["phys_addr"], entry["addr_range"]) == (processor.core, 4096)
    assert overlay.interrupt_pins[f"{INSTANCE}/interrupt"]["controller"] == "axi_intc_0"
    assert board.clocks[0]["enable"] == 1
    assert board.clocks[0]["divisor0"] == processor.pll // BOARDS[name].mhz
    core = getattr(overlay, INSTANCE)
    assert type(core).__name__ == "AcceleratorIP"
    assert core.register_map.IDENTITY.MAGIC == ID_MAGIC
    assert int(core.register_map.BATCH.ITEMS) == 1
    assert core.register_map.SHAPE.LANES == TINY.lanes


def test_jobs_equal_golden_with_interrupts(overlay, board, network, x):
    with ws.open(f"pynq:{overlay}") as device:
        assert device.port.polling == ""
        model = ws.Model(network, b"")
        assert np.array_equal(device.run(model, x, raw=True), golden.run(network, x))
        looks = board.looks
        for _ in range(5):
            device.run(model, x, raw=True)
        assert device.port.polling == ""
        # What a job needs anyway: nobody polled.
        assert board.looks - looks < 5 * 30
    assert device.port.buffers == 0


def test_jobs_equal_golden_polled(overlay, network, x):
    with ws.open(f"pynq:{overlay}", interrupt=False) as device:
        assert device.port.polling
        assert np.array_equal(device.run(ws.Model(network, b""), x, raw=True), golden.run(network, x))


def test_interrupt_that_never_comes_is_polled_with_a_warning(overlay, network, x):
    SimulatedUio.ignored = True
    with ws.open(f"pynq:{overlay}") as device:
        model = ws.Model(network, b"")
        with pytest.warns(UserWarning, match="the interrupt of accelerator_0 does not come"):
            y = device.run(model, x, raw=True)
        assert np.array_equal(y, golden.run(network, x))
        assert np.array_equal(device.run(model, x, raw=True), y)
        assert device.port.polling == "its interrupt does not come"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the interrupt of accelerator_0 does not come:UserWarning")
def test_selftest_fails_where_the_interrupt_does_not_come(overlay, board):
    for ignored, text in ((False, "came for each job"), (True, "not used: its interrupt does not come")):
        SimulatedUio.ignored = ignored
        steps = {step.name: step for step in selftest(f"pynq:{overlay}")}
        assert (steps["interrupt"].text, steps["interrupt"].passed) == (text, not ignored)
        assert steps["result"].text == ("interrupt" if ignored else "PASS")


def test_overlay_without_controller_is_polled(board, tmp_path, network, x):
    # The accelerator is wired straight to the processor, which pynq does not serve.
    def direct(text):
        text = text.replace('="axi_intc_0" PORT="intr"', '="zynq_ultra_ps_e_0" PORT="pl_ps_irq0"')
        text = text.replace('="axi_intc_0" PORT="irq"', '="accelerator_0" PORT="interrupt"')
        return re.sub(r'<PORT DIR="." NAME="(intr|irq)".*?</PORT>', "", text, flags=re.S)

    path = write_overlay(tmp_path, change=direct)
    with ws.open(f"pynq:{path}") as device:
        assert device.port.polling == "the overlay has no interrupt controller that serves it"
        assert np.array_equal(device.run(ws.Model(network, b""), x, raw=True), golden.run(network, x))


def test_no_uio_device_is_polled(overlay, monkeypatch, network, x):
    monkeypatch.setattr("pynq.interrupt.get_uio_irq", lambda irq: None)
    with ws.open(f"pynq:{overlay}") as device:
        assert "UIO" in device.port.polling
        assert np.array_equal(device.run(ws.Model(network, b""), x, raw=True), golden.run(network, x))


def test_bound_driver_runs_in_a_notebooks_loop(overlay, board, network, x):
    async def cell():
        loaded = pynq.Overlay(str(overlay), device=board)
        core = getattr(loaded, INSTANCE)
        y = core.run(ws.Model(network, b""), x, raw=True)
        assert core.accelerator.port.polling == ""
        core.close()
        return y

    assert np.array_equal(asyncio.run(cell()), golden.run(network, x))


@pytest.mark.parametrize("forgotten", ["flush", "invalidate"])
def test_forgotten_cache_operation_shows(overlay, board, monkeypatch, network, x, forgotten):
    monkeypatch.setattr(SimulatedBoard, forgotten, lambda *_: None)
    with ws.open(f"pynq:{overlay}") as device:
        try:
            y = device.run(ws.Model(network, b""), x, raw=True)
        except DeviceError:
            return
        assert not np.array_equal(y, golden.run(network, x))


def test_buffers_are_given_back(overlay, board, network, x):
    with ws.open(f"pynq:{overlay}") as device:
        model = ws.Model(network, b"")
        for _ in range(10):
            device.run(model, x[:2], raw=True)
        device.unload(model)
        gc.collect()
        assert (device.port.buffers, board.port.buffers) == (0, 0)
        buffer = device.port.allocate(100)
        raw = weakref.ref(buffer._raw)
        assert (len(buffer.data), buffer.address % 4096) == (100, 0)
        buffer.free()
        buffer.free()
        assert raw() is None and len(buffer.data) == 0
        with pytest.raises(DeviceError, match="freed"):
            buffer.flush()
        device.port.allocate(10)
    gc.collect()
    assert board.port.buffers == 0


def test_numpy_integers_are_written(overlay):
    with ws.open(f"pynq:{overlay}") as device:
        device.port.write32(0x34, np.uint16(7))
        assert device.port.read32(0x34) == 7


def test_memory_that_is_used_up_says_need_and_held(overlay, board):
    board.memory_left = 1 << 16
    with ws.open(f"pynq:{overlay}") as device:
        device.port.allocate(5000)
        with pytest.raises(
            DeviceError, match=r"cannot allocate 1048576 bytes .* holds 5000 bytes in 1 buffers"
        ):
            device.port.allocate(1 << 20)


def test_missing_files_are_named(board, tmp_path):
    with pytest.raises(TargetError, match=r"there is no overlay .*none\.bit: weightstream-hw build"):
        ws.open(f"pynq:{tmp_path}/none.bit")
    path = write_overlay(tmp_path)
    path.with_suffix(".hwh").unlink()
    with pytest.raises(TargetError, match=r"weightstream\.bit needs .*weightstream\.hwh"):
        ws.open(f"pynq:{path}")


def test_description_that_is_no_xml_is_refused(board, tmp_path):
    path = write_overlay(tmp_path, change=lambda text: text[:500])
    with pytest.raises(TargetError, match=r"^pynq .* cannot load .*weightstream\.bit"):
        ws.open(f"pynq:{path}")


@pytest.mark.filterwarnings("ignore:IP accelerator_0 is of type:UserWarning")
def test_other_cores_are_refused_by_name(board, tmp_path):
    for old, new, message in (
        (
            "accelerator:1.0",
            "accelerator:9.3",
            r"has weightstream:weightstream:accelerator:9\.3, this driver",
        ),
        (
            "weightstream:accelerator:",
            "other:npu:",
            r"has no weightstream.* in it: weightstream:other:npu:1\.0",
        ),
    ):
        path = write_overlay(tmp_path, change=lambda text, old=old, new=new: text.replace(old, new))
        with pytest.raises(TargetError, match=message):
            ws.open(f"pynq:{path}")


@pytest.mark.parametrize("name", ["identity", "map", "machine"])
def test_gateware_of_another_version_behind_the_right_description_is_refused(
    overlay, board, monkeypatch, name
):
    read, place = board.port.read32, BY_NAME[name].address
    monkeypatch.setattr(board.port, "read32", lambda address: 0 if address == place else read(address))
    with pytest.raises(TargetError, match="0x00000000.*load the overlay that belongs to this version"):
        ws.open(f"pynq:{overlay}")


def test_too_few_addresses_are_refused(board, tmp_path):
    path = write_overlay(tmp_path, change=lambda text: text.replace("0xA0000FFF", "0xA00000FF"))
    with pytest.raises(
        TargetError, match="accelerator_0 has 256 bytes of addresses, its registers take 4096"
    ):
        ws.open(f"pynq:{path}")


def test_no_root_is_explained(overlay, board, monkeypatch):
    def denied(*_, **__):
        raise OSError("Root permissions required.")

    monkeypatch.setattr(pynq, "MMIO", denied)
    with pytest.raises(TargetError, match=r"Root permissions required.*sudo -E"):
        ws.open(f"pynq:{overlay}")


def test_no_board_is_explained(monkeypatch):
    monkeypatch.setattr(pynq.Device, "_devices", [], raising=False)
    monkeypatch.delattr(pynq.Device, "_active_device", raising=False)
    monkeypatch.delenv("XILINX_XRT", raising=False)
    with pytest.raises(TargetError, match=r"pynq finds no board.*XILINX_XRT is not set.*sudo -E"):
        ws.open("pynq")


def test_job_that_never_ends_times_out(overlay, board, network, x):
    from weightstream_hw.sim.compiled import Fault

    with ws.open(f"pynq:{overlay}", timeout=0.3) as device:
        assert isinstance(device, Accelerator)
        device.port.write32(0x3C, 0)  # no watchdog
        board.port.add_fault(Fault.DEAF)
        with pytest.raises(DeviceError):
            device.run(ws.Model(network, b""), x, raw=True)
        board.port.clear_faults()
        assert np.array_equal(device.run(ws.Model(network, b""), x, raw=True), golden.run(network, x))
