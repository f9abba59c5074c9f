"""The driver on the RTL of a board behind a serial line, its UART included."""

import numpy as np
import pytest

import machine_networks
import mnist_networks
import needs
import weightstream as ws
from serial_lines import MEMORY_BYTES, BadLine, PseudoTerminal
from weightstream.errors import DeviceError, TargetError
from weightstream.golden import network as golden
from weightstream.model import Model
from weightstream.runtime import control
from weightstream.runtime.driver import Accelerator
from weightstream.runtime.selftest import selftest
from weightstream.runtime.serial_link import SerialLink
from weightstream.runtime.serial_port import SerialPort
from weightstream.spec.machine import PRESETS
from weightstream.spec.registers import ErrorCode
from weightstream.spec.serial import MEMORY_BASE, Command
from weightstream_hw.boards import ulx3s
from weightstream_hw.sim.serial_board import CLOCK_HZ, SerialModel, compile_bridged

pytestmark = pytest.mark.slow

TINY = PRESETS["tiny"]
#: Seconds without a byte for a line whose board is simulated by a busy machine.
PATIENCE = 20.0


@pytest.fixture(scope="module")
def library():
    return compile_bridged(TINY, MEMORY_BYTES)


@pytest.fixture
def case():
    """Return a network, inputs and their outputs."""
    net = machine_networks.chain(np.random.default_rng(1), TINY, [30, 20])
    x = machine_networks.random_inputs(np.random.default_rng(2), net, 3)
    return Model(net, b""), x, golden.run(net, x)


def open_board(line):
    return Accelerator(SerialPort(SerialLink(line, "the board")))


@pytest.fixture
def board(library):
    with open_board(SimulatedLine(library)) as device:
        yield device
    assert device.port.buffers == 0 and device.port.retries == 0


class SimulatedLine:
    """A line to the compiled board, on which time passes while something is awaited."""

    #: Cycles that are simulated at once, and cycles without a byte after which a read ends.
    STEP, PATIENCE = 500, 20_000

    def __init__(self, library):
        self.model = SerialModel(library)
        self._came = b""

    @property
    def in_waiting(self):
        return len(self._came)

    def write(self, data):
        self.model.send(data)
        return len(data)

    def read(self, size=1):
        left = self.PATIENCE
        while not self._came and left > 0:
            left = left - self.STEP if not self.model.waiting else self.PATIENCE
            self._came += self.model.run(self.STEP)
        taken, self._came = self._came[:size], self._came[size:]
        return taken

    def close(self):
        self.model.close()


class Board:
    """The compiled board as what a pseudo-terminal talks to; time goes on all the while."""

    #: Cycles that pass between looks at the terminal.
    STEP = 2000

    def __init__(self, model):
        self.model = model

    def __call__(self, data):
        self.model.send(data)
        return self.model.run(self.STEP)


def test_a_network_runs_through_a_pseudo_terminal(library, case):
    needs.package("serial")
    model, x, expected = case
    with SerialModel(library) as simulated, PseudoTerminal(Board(simulated)) as terminal:
        with ws.open(f"serial:{terminal.path}", patience=PATIENCE) as device:
            assert device.machine == TINY and device.port.identity.clock_hz == CLOCK_HZ
            parts = []
            assert np.array_equal(device.run(model, x, raw=True, progress=parts.append), expected)
            assert parts == [len(x)] and device.profile()["items"] == len(x)
        # It was closed, and can be opened anew; another rate is named behind the port.
        with ws.open(f"serial:{terminal.path}@115200", patience=PATIENCE) as device:
            assert np.array_equal(device.run(model, x, raw=True), expected)


def test_a_port_is_opened_by_one_program_at_a_time(library):
    needs.package("serial")
    with SerialModel(library) as simulated, PseudoTerminal(Board(simulated)) as terminal:
        with ws.open(f"serial:{terminal.path}", patience=PATIENCE):
            with pytest.raises(TargetError, match=rf"^cannot open serial port {terminal.path}: .*lock"):
                ws.open(f"serial:{terminal.path}")


def test_a_terminal_that_nobody_answers_at_is_no_board():
    needs.package("serial")
    with PseudoTerminal(lambda data: b"") as terminal:
        with pytest.raises(TargetError, match=r"at 3000000 baud does not answer to IDENTIFY .*nothing came"):
            ws.open(f"serial:{terminal.path}", patience=0.01)


def test_a_board_that_falls_silent_ends_a_run_in_words(library, case):
    model, x, _ = case
    line = SimulatedLine(library)
    with open_board(line) as device:
        device.load(model)
        write, line.write = line.write, lambda data: len(data)
        with pytest.raises(
            DeviceError, match=r"^the board does not answer to WRITE_MEMORY of 0x\w+: it was asked"
        ):
            device.run(model, x)
        line.write = write
        assert np.array_equal(device.run(model, x, raw=True), case[2])


@pytest.mark.parametrize("fault", [{"lost": 1e-4}, {"damaged": 1e-4}], ids=["lost", "damaged"])
def test_bytes_that_are_lost_or_damaged_change_no_output(library, case, fault):
    model, x, expected = case
    line = BadLine(SimulatedLine(library), seed=7, **fault)
    with open_board(line) as device:
        # How many bytes there are depends on how often the driver looks: now and then four runs lose none.
        runs = 0
        while runs < 4 or device.port.retries == 0:
            jobs = device.counters()["jobs"]
            assert np.array_equal(device.run(model, x, raw=True), expected)
            # A request to start that is sent twice starts once.
            assert device.counters()["jobs"] == jobs + 1
            runs += 1
            assert runs < 100, "there is no fault on the line"


def test_batches_beyond_the_memory_are_split(board):
    net = machine_networks.chain(np.random.default_rng(3), TINY, [600, 9])
    model = Model(net, b"")
    image = board.load(model, batch=40)
    x = machine_networks.random_inputs(np.random.default_rng(1), net, 30)
    with board.buffer(MEMORY_BYTES - len(image.data) - 9000):  # for inputs of 14 items
        parts = []
        assert np.array_equal(board.run(model, x, raw=True, progress=parts.append), golden.run(net, x))
        assert max(parts) <= 14 and sum(parts) == len(x)
    board.unload(model)


def test_a_network_that_does_not_fit_is_refused_in_numbers(board):
    net = machine_networks.chain(np.random.default_rng(4), TINY, [700, 300])
    text = (
        r"^no memory for an image of (\d+) bytes: \1 bytes do not fit the board's memory: "
        rf"of its {MEMORY_BYTES} bytes, {MEMORY_BYTES} are free side by side; 0 loaded networks hold 0 bytes"
    )
    with pytest.raises(DeviceError, match=text):
        board.load(Model(net, b""))


def test_addresses_without_memory_are_reported(board):
    page = range(MEMORY_BASE, MEMORY_BASE + 4096)
    board.control.start(page.start + MEMORY_BYTES, page, page, 1)
    with pytest.raises(DeviceError, match="READ_RESPONSE") as error:
        board.control.wait(10.0)
    assert error.value.code == ErrorCode.READ_RESPONSE


def test_what_the_interrupt_line_says_comes_with_every_answer(board, case):
    model, x, _ = case
    board.run(model, x)
    assert board.control.interrupts_lost == 0
    _, flags = board.port._link.ask(Command.STATUS)
    assert flags == 0


def test_another_register_map_is_refused(library, monkeypatch):
    monkeypatch.setattr(control, "digest", lambda: 0x12345678)
    line = SimulatedLine(library)
    with pytest.raises(
        TargetError, match=r"^the register map of what answers is 0x\w{8}, this driver knows 0x1234"
    ):
        open_board(line)


@pytest.mark.long
def test_lenet_at_4_bits_runs_on_the_board_with_60_images():
    model, images = mnist_networks.mnist("int4")
    x = images[:60]
    with ws.open("numpy") as software:
        expected = software.run(model, x, raw=True)
    line = SimulatedLine(compile_bridged(PRESETS[ulx3s.PRESET], ulx3s.MEMORY_BYTES))
    with open_board(line) as device:
        parts = []
        assert np.array_equal(device.run(model, x, raw=True, progress=parts.append), expected)
        assert parts == [60]
        print(device.profile(ulx3s.CLOCK_HZ))


@pytest.mark.long
def test_selftest_passes(library):
    needs.package("serial")
    with SerialModel(library) as simulated, PseudoTerminal(Board(simulated)) as terminal:
        steps = list(selftest(f"serial:{terminal.path}", patience=PATIENCE))
    print(*steps, sep="\n")
    assert str(steps[-1]) == "result      PASS"
