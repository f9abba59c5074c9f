"""The fake board: what answers at which address, its two copies of memory, its files."""

import numpy as np
import pytest

from weightstream.board.fake.board import FakeBoard
from weightstream.board.fake.errors import BoardError, Status
from weightstream.board.fake.files import LIMIT
from weightstream.board.fake.runner import Runner
from weightstream.runtime.sim_port import BASE, MEMORY_BYTES, SimPort
from weightstream.spec.machine import PRESETS
from weightstream.spec.registers import ID_MAGIC
from weightstream_hw.boards.description import BOARDS, ZYNQ_MPSOC

TINY = PRESETS["tiny"]
CORE, IDENTITY = ZYNQ_MPSOC.core, ZYNQ_MPSOC.core + 0x80


@pytest.fixture
def board():
    made = FakeBoard(BOARDS["kv260"], SimPort(TINY))
    yield made
    made.close()


def load(board):
    """Load a bitstream."""
    board.files.write("/lib/firmware/x.bin", b"any")
    board.files.write("/sys/class/fpga_manager/fpga0/firmware", b"x.bin")


def test_logic_answers_once_a_bitstream_is_loaded(board):
    with pytest.raises(BoardError, match="no bitstream is loaded: a board would hang"):
        board.read32(IDENTITY)
    assert board.files.read("/sys/class/fpga_manager/fpga0/state") == b"unknown\n"
    with pytest.raises(BoardError, match=r"no bitstream '/lib/firmware/x\.bin'"):
        board.files.write("/sys/class/fpga_manager/fpga0/firmware", b"x.bin")
    load(board)
    assert board.read32(IDENTITY) == ID_MAGIC
    assert board.files.read("/sys/class/fpga_manager/fpga0/state") == b"operating\n"


def test_loading_a_bitstream_resets_the_accelerator_and_keeps_memory(board):
    load(board)
    name = board.allocate(100)
    board.fill(name, 0, b"kept")
    board.flush(name)
    board.write32(CORE + 0x04, 1)
    load(board)
    assert board.read32(CORE + 0x04) == 0
    board.invalidate(name)
    assert board.content(name)[:4] == b"kept"


def test_memory_of_processor_and_accelerator_are_two(board):
    name = board.allocate(4096)
    shared = board.buffer(name).shared.data
    assert board.address(name) == BASE
    board.fill(name, 10, b"abc")
    assert bytes(shared[10:13]) != b"abc"
    board.flush(name)
    assert bytes(shared[10:13]) == b"abc"
    shared[:3] = np.frombuffer(b"xyz", np.uint8)
    assert board.content(name)[:3] != b"xyz"
    board.invalidate(name)
    assert board.content(name)[:3] == b"xyz"
    board.free(name)
    with pytest.raises(BoardError, match="was it allocated, or freed"):
        board.flush(name)
    assert board.buffers == 0


def test_memory_that_is_used_up_is_said(board):
    board.allocate(MEMORY_BYTES)
    with pytest.raises(BoardError, match="has no 1 bytes left.* 1 buffers hold some") as caught:
        board.allocate(1)
    assert caught.value.status is Status.RESOURCE_EXHAUSTED
    for size in (0, MEMORY_BYTES + 1, 1 << 60):
        with pytest.raises(BoardError, match="a buffer must have 1 to"):
            board.allocate(size)


@pytest.mark.parametrize(
    "address", [0, CORE - 4, CORE + 4096, ZYNQ_MPSOC.controller + 0x20, 0xFFFF_FFFC, 1 << 63]
)
def test_addresses_of_nothing_are_refused(board, address):
    load(board)
    for access in (lambda: board.read32(address), lambda: board.write32(address, 1)):
        with pytest.raises(BoardError, match="a board would hang at the access"):
            access()
    with pytest.raises(BoardError, match="is no multiple of 4"):
        board.read32(CORE + 2)


def test_interrupt_controller_sees_the_accelerators_line(board):
    load(board)
    intc = ZYNQ_MPSOC.controller
    board.write32(intc + 0x10, 1)  # enable the line
    assert board.read32(intc + 0x04) == 0
    board.write32(CORE + 0x08, 1)
    board.write32(CORE + 0x04, 1)
    board.write32(CORE, 1)  # a job on no image: it ends at once, with an error
    for _ in range(100):
        board.step(100)
    assert board.read32(intc + 0x04) == 1
    board.write32(intc + 0x14, 1)
    assert board.read32(intc + 0x04) == 0


def test_files_of_the_host_are_out_of_reach(board, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    for path in (str(secret), "/etc/passwd", "/lib/firmware", "", "relative.bin"):
        assert not board.files.exists(path)
        with pytest.raises(BoardError, match="has no file"):
            board.files.read(path)
        with pytest.raises(BoardError, match="not "):
            board.files.write(path, b"y")
    for path in ("/lib/firmware/../../etc/passwd", "/lib/firmware//x.bin", "/lib/firmware/a/x.bin"):
        with pytest.raises(BoardError, match="takes files in /lib/firmware"):
            board.files.write(path, b"y")
    assert secret.read_text() == "x"
    with pytest.raises(BoardError, match="limited"):
        board.files.check_write("/lib/firmware/x.bin", LIMIT + 1)


def test_partial_bitstreams_are_refused(board):
    load(board)
    board.files.write("/sys/class/fpga_manager/fpga0/flags", b"1")
    with pytest.raises(BoardError, match="parts of its logic"):
        board.files.write("/sys/class/fpga_manager/fpga0/firmware", b"x.bin")


def test_board_that_is_switched_off_refuses_and_keeps_nobody_waiting(board):
    runner = Runner(board)
    assert runner.call(board.files.exists, "/proc/version")
    runner.close()
    runner.close()
    with pytest.raises(BoardError, match="switched off"):
        runner.call(board.files.exists, "/proc/version")
