"""PYNQ.remote, unmodified, and the driver on it: against the fake board, over the network of this machine."""

import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest

import machine_networks
import mnist_networks
import weightstream as ws
from loopback import free_address, listen_somewhere
from weightstream.board.fake.board import FakeBoard
from weightstream.board.fake.overlay import write_overlay
from weightstream.errors import DeviceError, TargetError
from weightstream.golden import network as golden
from weightstream.runtime.selftest import selftest
from weightstream.runtime.sim_port import SimPort, simulated_board
from weightstream.spec.machine import PRESETS
from weightstream_hw.boards.description import BOARDS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pynq
    from pynq.pl_server.remote_device import RemoteDevice

TINY = PRESETS["tiny"]
#: pynq 4 knows no Zynq-7000; pynq 3 knows both families.
BOARD, MHZ = ("pynq_z2", 100) if pynq.__version__.startswith("3") else ("kv260", 150)
CLIENT = Path(__file__).with_name("remote_client.py")
NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebooks" / "3_on_the_board.ipynb"
COMMAND = [sys.executable, "-c", "from weightstream.cli import main; main()"]
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:Interrupts are not yet implemented"
)


@pytest.fixture
def network():
    return machine_networks.chain(np.random.default_rng(3), TINY, [40, 30, 12])


@pytest.fixture
def connect(monkeypatch, tmp_path):
    """Return a function that serves a board, makes it pynq's, and returns its server and an overlay."""
    servers = []

    def make(name=BOARD):
        description, handoff = simulated_board(name)
        server = listen_somewhere(FakeBoard(BOARDS[name], SimPort(TINY)))
        servers.append(server)
        device = RemoteDevice(0, server.address.partition(":")[0])
        monkeypatch.setattr(pynq.Device, "_active_device", device, raising=False)
        # pynq keeps the clocks of the first device that it meets.
        monkeypatch.delattr(pynq.ps.Clocks, "_real_instance", raising=False)
        monkeypatch.delattr(pynq.ps.Clocks, "device", raising=False)
        return server, write_overlay(tmp_path / name, description.part, handoff)

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def printed(tmp_path):
    """Start the command `fake-board`; return the variable and the path of the overlay that it prints."""
    options = ["--board", BOARD, "--host", free_address(), "-o", str(tmp_path / "overlay")]
    server = subprocess.Popen([*COMMAND, "fake-board", *options], stdout=subprocess.PIPE, text=True)
    try:
        # What it prints can be pasted.
        said = [server.stdout.readline().strip() for _ in range(4)]
        name, _, value = said[2].removeprefix("export ").partition("=")
        yield name, value, said[3].partition("--on pynq:")[2]
    finally:
        # Not Ctrl-C: a shell's job in the background, as these tests may be, does not listen to it.
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert server.returncode == 0


@pytest.mark.slow
def test_unmodified_client_runs_lenet_on_a_fake_board_bit_for_bit(printed, tmp_path):
    name, value, bitstream = printed
    model, x = mnist_networks.mnist("int4", layout=TINY, batch=10)
    model.save(tmp_path / "lenet.ws")
    np.save(tmp_path / "x.npy", x[:10])
    expected = ws.open("numpy").run(model, x[:10], raw=True)
    files = [bitstream, *(tmp_path / file for file in ("lenet.ws", "x.npy", "y.npy"))]
    done = subprocess.run(
        [sys.executable, CLIENT, *files],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "driver AcceleratorIP",
        "identity WSTR",
        "mmio True",
        "batch 1",
        "batch 7",
        f"mhz {MHZ}",
        "memory True 0",
        "not flushed True",
        "polled: interrupts do not come over PYNQ.remote",
        "buffers 0",
    ]
    assert np.array_equal(np.load(tmp_path / "y.npy"), expected)


@pytest.mark.slow
def test_unmodified_notebook_runs_on_a_fake_board(printed, monkeypatch):
    name, value, bitstream = printed
    monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if cell.metadata.get("tags") == ["parameters"])
    assert parameters.source == 'TARGET = "sim:tiny"'
    parameters.source = f"TARGET = {f'pynq:{bitstream}'!r}"
    # It compares outputs with the golden model by itself.
    nbclient.execute(notebook, cwd=NOTEBOOK.parent, timeout=300, kernel_name="python3")
    report = "".join(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream"
    )
    assert f"target      pynq:{bitstream}\n" in report
    assert "interrupts do not come over PYNQ.remote" in report
    assert "result      PASS\n" in report


def test_jobs_equal_golden_and_leave_nothing_behind(connect, network):
    server, overlay = connect()
    x = machine_networks.random_inputs(np.random.default_rng(4), network, 5)
    with ws.open(f"pynq:{overlay}") as device:
        assert np.array_equal(device.run(ws.Model(network, b""), x, raw=True), golden.run(network, x))
        # The top bit of a word is no sign.
        device.port.write32(0x3C, 0xFFFF_FFFF)
        assert device.port.read32(0x3C) == 0xFFFF_FFFF
    assert server._board.buffers == 0


@pytest.mark.slow
def test_selftest_passes_and_tells_that_it_polls(connect):
    _, overlay = connect()
    steps = list(selftest(f"pynq:{overlay}"))
    assert (steps[-1].name, steps[-1].text) == ("result", "PASS")
    interrupt = next(step for step in steps if step.name == "interrupt")
    assert interrupt.text == "not used: interrupts do not come over PYNQ.remote"


def test_memory_that_is_used_up_over_the_network_says_so(connect):
    _, overlay = connect()
    with ws.open(f"pynq:{overlay}") as device:
        device.port.allocate(5000)
        with pytest.raises(
            DeviceError, match=r"cannot allocate 536870912 bytes .*holds 5000 bytes in 1 buffers"
        ):
            device.port.allocate(1 << 29)


def test_board_that_goes_away_is_a_device_error(connect, network):
    server, overlay = connect()
    x = machine_networks.random_inputs(np.random.default_rng(5), network, 1)
    device = ws.open(f"pynq:{overlay}")
    model = ws.Model(network, b"")
    device.load(model)
    server.close()
    with pytest.raises(DeviceError, match="cannot "):
        device.run(model, x)
    with pytest.raises(DeviceError, match="cannot free a buffer"):
        device.close()


def test_bitstream_that_the_board_has_already_is_not_sent_again(connect):
    # As on a board: what was loaded first under a name stays.
    server, overlay = connect()
    ws.open(f"pynq:{overlay}").close()
    sent = server._board.files.read("/lib/firmware/weightstream.bin")
    overlay.write_bytes(overlay.read_bytes()[:-1] + b"!")
    ws.open(f"pynq:{overlay}").close()
    assert server._board.files.read("/lib/firmware/weightstream.bin") == sent


@pytest.mark.skipif(pynq.__version__.startswith("3"), reason="pynq 3 loads them")
def test_zynq_7000_under_pynq_4_is_explained(connect):
    _, overlay = connect("pynq_z2")
    with pytest.raises(TargetError, match=r"it has dropped boards with Zynq-7000 .* which need pynq 3"):
        ws.open(f"pynq:{overlay}")


def test_no_board_in_the_network_is_explained(tmp_path):
    variables = {**os.environ, "PYNQ_REMOTE_DEVICES": free_address()}
    command = [*COMMAND, "selftest", "--on", f"pynq:{tmp_path}/x.bit"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    assert re.search(
        r"FAIL: no board answers at PYNQ_REMOTE_DEVICES=127\.0\.0\.\d+ \(Failed to connect", said
    )
    assert "weightstream fake-board" in said


def test_variable_that_is_set_too_late_is_explained(monkeypatch):
    monkeypatch.delattr(pynq.Device, "_active_device", raising=False)
    monkeypatch.setattr(pynq.Device, "_devices", [], raising=False)
    monkeypatch.setenv("PYNQ_REMOTE_DEVICES", "127.0.0.1")
    monkeypatch.delitem(sys.modules, "pynq.pl_server.remote_device")
    with pytest.raises(TargetError, match="set the variable before anything imports pynq"):
        ws.open("pynq")
