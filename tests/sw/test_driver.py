"""The driver on a port in Python: registers in a dictionary, jobs run by the golden machine."""

import asyncio
import logging
import threading

import numpy as np
import pytest

import machine_networks
import weightstream as ws
from weightstream.errors import DeviceError, InputError, TargetError
from weightstream.golden import network as golden
from weightstream.golden.machine import run_image
from weightstream.model import Model
from weightstream.runtime import control, selftest
from weightstream.runtime.driver import Accelerator
from weightstream.runtime.image import build_image
from weightstream.spec.image import HEADER
from weightstream.spec.machine import PRESETS
from weightstream.spec.registers import BY_NAME, ErrorCode, constants

TINY = PRESETS["tiny"]
START, IDLE, DONE = 1, 4, 1
BASE = 0x10000000


class FakeBuffer:
    """Memory with a cache: what is not flushed or invalidated does not arrive."""

    def __init__(self, port, address, size):
        self.port, self.address = port, address
        self.data = np.full(size, 0xC5, np.uint8)
        self.memory = np.full(size, 0x5C, np.uint8)
        self.dirty = True

    def flush(self):
        self.memory[:] = self.data
        self.dirty = False

    def invalidate(self):
        self.data[:] = self.memory

    def free(self):
        if self in self.port.held:
            self.port.held.remove(self)


class FakePort:
    """An accelerator of a dictionary; `job`: what a start does, `waits`: what waits return if not empty."""

    def __init__(self, machine=TINY):
        self.machine = machine
        self.held = []
        self.registers = {BY_NAME["ctrl"].address: IDLE}
        for (register, field), value in constants(machine).items():
            self.poke(register, self.peek(register) | value << BY_NAME[register].field(field).lsb)
        self.written = []
        self.waits = []
        self.waited = 0.0
        self.job = FakePort.finish
        self.on_wait = lambda: None
        self.failing = None
        self.next = BASE
        self.closed = False

    def peek(self, name):
        address = BY_NAME[name].address
        high = self.registers.get(address + 4, 0) if BY_NAME[name].words == 2 else 0
        return self.registers.get(address, 0) | high << 32

    def poke(self, name, value):
        address = BY_NAME[name].address
        self.registers[address] = value & 0xFFFFFFFF
        if BY_NAME[name].words == 2:
            self.registers[address + 4] = value >> 32

    def count(self, name, amount):
        self.poke(name, self.peek(name) + amount)

    def read32(self, address):
        return self.registers.get(address, 0)

    def write32(self, address, value):
        assert type(value) is int and 0 <= value < 1 << 32
        names = [name for name, register in BY_NAME.items() if register.address == address]
        self.written += names
        if names == ["ctrl"]:
            assert value == START and self.peek("ctrl") & IDLE
            self.job(self)
        elif names == ["isr"]:
            self.poke("isr", self.peek("isr") ^ value)
        elif names == ["reset"]:
            self.poke("error", 0)
            self.poke("ctrl", IDLE)
        else:
            self.registers[address] = value

    def allocate(self, size):
        if self.failing is not None:
            raise self.failing
        buffer = FakeBuffer(self, self.next, size)
        self.next += -(-size // 4096) * 4096
        self.held.append(buffer)
        return buffer

    @property
    def buffers(self):
        return len(self.held)

    def wait(self, seconds):
        assert seconds > 0
        self.on_wait()
        came = self.waits.pop(0) if self.waits else bool(self.peek("isr") & self.peek("ier"))
        self.waited += 0 if came else seconds
        return came

    def close(self):
        self.closed = True

    # ---- what jobs do ----

    def at(self, name):
        (found,) = (buffer for buffer in self.held if buffer.address == self.peek(name))
        return found

    def finish(self):
        """Run the job to its end."""
        image = self.at("image").memory.tobytes()
        assert HEADER.unpack_from(image)[2] == self.machine.digest
        inputs = self.at("input").memory[: self.peek("input_size")]
        size = self.peek("output_size")
        outputs = run_image(image, self.machine, inputs.tobytes(), self.peek("batch"), size)
        assert len(outputs) == size
        self.at("output").memory[: len(outputs)] = np.frombuffer(outputs, np.uint8)
        if self.at("output").dirty:  # the cache writes it back now
            self.at("output").flush()
        for name, amount in (("cycles", 1000), ("busy", 50), ("beats_read", 100), ("jobs", 1)):
            self.count(name, amount)
        self.end()

    def end(self):
        self.poke("ctrl", IDLE)
        self.poke("isr", DONE)

    def hang(self):
        self.poke("ctrl", 0)


def network(seed=1, sizes=(30, 20), machine=TINY):
    return machine_networks.chain(np.random.default_rng(seed), machine, list(sizes))


def file_model(layout=TINY.layout):
    """Return a model that can be written to a file, and inputs."""
    model = selftest._random_model(np.random.default_rng(1), "int4", "even", layout)
    return model, machine_networks.random_inputs(np.random.default_rng(2), model.network, 5)


@pytest.fixture
def port():
    return FakePort()


@pytest.fixture
def device(port):
    with Accelerator(port, timeout=0.5) as opened:
        yield opened
    assert port.closed and port.buffers == 0


@pytest.fixture
def model():
    return Model(network(), b"")


@pytest.fixture
def x(model):
    return machine_networks.random_inputs(np.random.default_rng(2), model.network, 5)


# ---- identity ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("register", "value", "message"),
    [
        ("identity", 0, r"the identity of what answers is 0x00000000, this driver knows 0x52545357: load"),
        ("map", 0x1234, r"the register map of what answers is 0x00001234, this driver knows 0x\w{8}: load"),
        ("machine", 0xABCD, r"the machine digest of what answers is 0x0000ABCD, but its registers shape 0x"),
        (
            "shape",
            0,
            r"the registers shape 0x00000000 and memory 0x\w{8} describe a machine that cannot be: ",
        ),
    ],
    ids=["identity", "map", "machine", "shape"],
)
def test_what_is_not_known_is_refused_and_not_written_to(port, register, value, message):
    port.poke(register, value)
    with pytest.raises(TargetError, match=f"^{message}.*overlay"):
        Accelerator(port)
    assert port.closed and not port.written


def test_parameters_other_than_the_digest_are_refused(port):
    port.poke("shape", port.peek("shape") ^ 1 << 24)  # no thresholds
    with pytest.raises(TargetError, match=f"digest of what answers is 0x{TINY.digest:08X}, but"):
        Accelerator(port)


@pytest.mark.parametrize("name", PRESETS)
def test_the_machine_is_read_back(name):
    with Accelerator(FakePort(PRESETS[name])) as device:
        assert device.machine == PRESETS[name]


def test_a_job_that_someone_left_running_is_given_up(port):
    port.hang()
    Accelerator(port).close()
    assert port.written[0] == "reset"


# ---- running -------------------------------------------------------------------------------------


def test_outputs_are_golden_with_a_cache_in_between(device, model, x):
    for _ in range(2):
        assert np.array_equal(device.run(model, x, raw=True), golden.run(model.network, x))


def test_large_batches_are_split_and_progress_is_told(device, port):
    net = network(3, (200, 90))
    model = Model(net, b"")
    most = device.load(model).max_batch
    x = machine_networks.random_inputs(np.random.default_rng(1), net, 2 * most + 3)
    parts = []
    y = device.run(model, x, raw=True, progress=parts.append)
    assert parts == [most, most, 3]
    assert np.array_equal(y, golden.run(net, x))
    assert port.peek("jobs") == 3


def test_an_empty_batch_needs_no_job(device, port, model, x):
    assert device.run(model, x[:0]).shape == (0, 20)
    assert port.peek("jobs") == 0


@pytest.mark.parametrize("items", [-1, 0, 65_536])
def test_a_job_has_as_many_items_as_its_register_can_say(device, port, items):
    with pytest.raises(InputError, match=rf"^the items of a job must be in \[1, 65535\], not {items}$"):
        device.control.start(BASE, range(BASE, BASE + 8), range(BASE, BASE + 8), items)
    assert "ctrl" not in port.written and "batch" not in port.written


def test_the_accelerator_is_told_what_a_job_may_touch(device, port):
    """The last part of a batch is smaller than the buffers."""
    net = network(seed=3, sizes=(600, 9))
    most = device.load(Model(net, b"")).max_batch
    sizes = []

    def job(port):
        sizes.append((port.peek("input_size"), port.peek("output_size")))
        FakePort.finish(port)

    port.job = job
    device.run(Model(net, b""), machine_networks.random_inputs(np.random.default_rng(1), net, most + 3))
    assert sizes == [(600 * most, 16 * most), (600 * 3, 16 * 3)]


def test_wrong_inputs_take_no_memory(device, port, model, x):
    with pytest.raises(InputError):
        device.run(model, x[:, :3])
    assert port.buffers == 0


def test_an_end_that_nobody_waited_for_is_not_taken_for_the_next_one(device, port, model, x):
    device.load(model)
    port.poke("isr", DONE)
    port.job = FakePort.hang
    with pytest.raises(DeviceError, match="not over after"):
        device.run(model, x)


def test_images_stay_until_unload(device, port, model, x):
    device.load(model)
    assert port.buffers == 1
    device.run(model, x)
    assert port.buffers == 1
    device.unload(model)
    device.unload(model)
    assert port.buffers == 0
    with device.loaded(model) as image:
        assert (image.machine, port.buffers) == (TINY, 1)
    assert port.buffers == 0


def test_paths_are_read_for_a_run_or_kept(device, port, tmp_path):
    model, x = file_model()
    path = tmp_path / "net.ws"
    model.save(path)
    expected = golden.run(model.network, x)
    assert np.array_equal(device.run(path, x, raw=True), expected)
    assert port.buffers == 0
    device.load(path)
    path.unlink()
    assert np.array_equal(device.run(str(path), x, raw=True), expected)
    assert port.buffers == 1
    device.unload(path)
    assert port.buffers == 0


def test_networks_that_nobody_loaded_make_room(device, port):
    kept = Model(network(0), b"")
    device.load(kept)
    for seed in range(8):
        net = network(seed)
        device.run(Model(net, b""), machine_networks.random_inputs(np.random.default_rng(1), net, 1))
    assert port.buffers == 5
    device.unload(kept)
    assert port.buffers == 4


def test_a_network_for_other_lanes_is_laid_out_anew_with_a_notice(device, caplog):
    model, x = file_model(ws.Layout(1, 16))
    with caplog.at_level(logging.INFO, "weightstream"):
        y = device.run(model, x, raw=True)
        device.run(model, x)
    assert np.array_equal(y, golden.run(model.network, x))
    (notice,) = caplog.messages
    assert "laid out for 1 x 16, this machine has 2 x 8" in notice
    assert notice.endswith("relayout --lanes 2 --slots 8")


# ---- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [c for c in ErrorCode if c] + [99], ids=lambda c: getattr(c, "name", str(c)))
def test_errors_of_the_hardware_are_told_in_words(device, port, model, x, code):
    def fail(port):
        port.poke("error", int(code))
        port.poke("error_at", port.peek("image") + 0x40)
        port.end()

    device.load(model)
    port.job = fail
    with pytest.raises(DeviceError) as caught:
        device.run(model, x)
    text = str(caught.value)
    assert caught.value.code == code
    assert (
        (code.name in text and code.sentence in text) if isinstance(code, ErrorCode) else "not know" in text
    )
    assert f"at 0x{port.held[0].address + 0x40:x} (image + 0x40)" in text
    assert "Registers: ctrl 0x4" in text and "Counters: cycles 0" in text
    assert port.buffers == 1 and port.written[-1] == "reset"
    port.job = FakePort.finish
    assert np.array_equal(device.run(model, x, raw=True), golden.run(model.network, x))


def _count(*names):
    return lambda port: [port.count(name, 1) for name in names]


@pytest.mark.parametrize(
    ("job", "on_wait", "words"),
    [
        (lambda port: None, None, "is idle: it did not take the job up"),
        (FakePort.hang, None, "nothing moves: does its memory answer"),
        (FakePort.hang, _count("cycles", "idle_queue"), r"only waits \(idle_queue go up\)"),
        (FakePort.hang, _count("cycles", "busy"), r"at work \(busy go up\): it may need a larger timeout"),
    ],
    ids=["not-taken", "stopped", "waiting", "working"],
)
def test_a_job_without_end_is_given_up_with_a_diagnosis(device, port, model, x, job, on_wait, words):
    device.load(model)
    port.job = job
    port.on_wait = (lambda: on_wait(port)) if on_wait else port.on_wait
    with pytest.raises(
        DeviceError, match=rf"^the job is not over after 0\.5 s\. .*{words}.*Registers: .*Count"
    ):
        device.run(model, x)
    assert 0.5 <= port.waited < 0.52
    assert port.buffers == 1 and port.written[-1] == "reset"
    port.job = FakePort.finish
    device.run(model, x)


def test_no_job_starts_while_memory_owes_answers(device, port, model, x, monkeypatch):
    device.load(model)
    port.poke("ctrl", 0)
    monkeypatch.setattr(port, "write32", lambda address, value: None)
    with pytest.raises(DeviceError, match=r"^no job can start: the accelerator does not become idle\. .*Reg"):
        device.run(model, x)
    assert port.buffers == 1


def test_an_interrupt_that_never_comes_is_made_good_and_told_once(device, port, model, x, caplog):
    port.waits = [False] * 4
    for _ in range(2):
        assert np.array_equal(device.run(model, x, raw=True), golden.run(model.network, x))
    (warning,) = caplog.messages
    assert "interrupt did not come" in warning
    assert device.control.interrupts_lost == 2


def test_an_interrupt_that_comes_late_is_waited_for(device, port, model, x, caplog):
    port.job = FakePort.hang
    looks = []

    def on_wait():
        looks.append(port.peek("isr"))
        if len(looks) == 4:
            FakePort.finish(port)

    port.on_wait = on_wait
    assert np.array_equal(device.run(model, x, raw=True), golden.run(model.network, x))
    assert len(looks) == 4 and not caplog.messages


def test_an_interrupt_of_something_else_does_not_end_the_job(device, port, model, x):
    port.job = FakePort.hang
    port.waits = [True, True, True, False]
    port.on_wait = lambda: port.waits or FakePort.finish(port)
    assert np.array_equal(device.run(model, x, raw=True), golden.run(model.network, x))


@pytest.mark.parametrize("before", [0, 1, 2], ids=["image", "input", "output"])
@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CMA is full"), OSError("no"), DeviceError("full")], ids=repr
)
def test_memory_that_is_used_up_leaves_no_buffer(device, port, model, x, before, error):
    allocate = port.allocate
    left = [before]

    def failing(size):
        if not left[0]:
            raise error
        left[0] -= 1
        return allocate(size)

    port.allocate = failing
    with pytest.raises(
        DeviceError, match=r"^no memory for an? \w+ of \d+ bytes: .*; [01] loaded networks hold"
    ):
        device.run(model, x)
    assert port.buffers == min(before, 1)
    port.allocate = allocate
    assert np.array_equal(device.run(model, x, raw=True), golden.run(model.network, x))


@pytest.mark.parametrize("address", [(1 << 32) - 64, 1 << 33, BASE + 8], ids=["end", "above", "odd"])
def test_memory_out_of_reach_is_refused(device, port, model, x, address):
    port.next = address
    with pytest.raises(
        DeviceError, match=rf"an image of \d+ bytes lies at 0x{address:x}: the accelerator reach"
    ):
        device.run(model, x)
    assert port.buffers == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("link lost")], ids=repr)
def test_whatever_ends_a_job_the_accelerator_is_reset_before_its_memory_goes(device, port, model, x, error):
    device.load(model)
    port.job = FakePort.hang
    order = []

    def interrupt():
        raise error

    port.on_wait = interrupt
    write = port.write32
    port.write32 = lambda address, value: (order.append((address, port.buffers)), write(address, value))
    with pytest.raises(type(error)):
        device.run(model, x)
    assert order[-1] == (BY_NAME["reset"].address, 3)
    assert port.buffers == 1


def test_an_error_of_the_progress_callback_leaves_no_buffer(device, port, model, x):
    device.load(model)
    with pytest.raises(ZeroDivisionError):
        device.run(model, x, progress=lambda items: items / 0)
    assert port.buffers == 1


def test_an_image_that_cannot_be_written_leaves_no_buffer(device, port, model, monkeypatch):
    def flush(self):
        raise OSError("link lost")

    monkeypatch.setattr(FakeBuffer, "flush", flush)
    with pytest.raises(OSError, match="link lost"):
        device.load(model)
    assert port.buffers == 0


def test_closing_gives_all_back_though_the_port_is_broken(port, model):
    def broken(address):
        raise OSError("link lost")

    device = Accelerator(port)
    device.load(model)
    port.read32 = broken
    device.close()
    device.close()
    assert port.closed and port.buffers == 0


def test_closing_leaves_an_accelerator_that_is_idle_and_does_not_interrupt(port):
    with Accelerator(port):
        assert port.peek("gie") == port.peek("ier") == 1
        port.hang()
    assert port.peek("ctrl") == IDLE and port.peek("gie") == 0


@pytest.mark.parametrize(
    "use",
    [
        lambda d, m, x: d.run(m, x),
        lambda d, m, x: d.run_async(m, x),
        lambda d, m, x: d.load(m),
        lambda d, m, x: d.counters(),
        lambda d, m, x: d.profile(),
        lambda d, m, x: d.buffer(10).__enter__(),
    ],
    ids=["run", "async", "load", "counters", "profile", "buffer"],
)
def test_a_closed_device_says_so(port, model, x, use):
    device = Accelerator(port)
    device.close()
    with pytest.raises(DeviceError, match=r"^the device is closed: open it again$"):
        use(device, model, x)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_must_be_positive(port, timeout):
    with pytest.raises(ValueError, match="^timeout must be positive, not"):
        Accelerator(port, timeout=timeout)


# ---- in the background ---------------------------------------------------------------------------


@pytest.fixture
def gate(port):
    """Jobs end when this is set; the second event says that one waits."""
    opened, waits = threading.Event(), threading.Event()

    def job(port):
        waits.set()
        assert opened.wait(20)
        FakePort.finish(port)

    port.job = job
    yield opened, waits
    opened.set()


def test_a_background_job_returns_what_a_run_returns(device, port, model, x, gate):
    opened, waits = gate
    parts = []
    job = device.run_async(model, x, raw=True, progress=parts.append)
    assert waits.wait(20) and not job.done()
    with pytest.raises(TimeoutError, match=r"^the job is not over after 0\.01 s: 0 of 5 items are done$"):
        job.result(0.01)
    later = device.run_async(model, x[:2], raw=True)
    opened.set()
    assert np.array_equal(job.result(20), golden.run(model.network, x))
    assert np.array_equal(later.result(20), golden.run(model.network, x[:2]))
    assert (parts, job.done_items, job.done()) == ([5], 5, True)


def test_jobs_of_several_threads_run_one_after_the_other(device, port, model, x, gate):
    opened, waits = gate
    job = device.run_async(model, x)
    assert waits.wait(20)
    threading.Timer(0.05, opened.set).start()
    device.run(model, x)  # the fake port allows no start while it is not idle
    assert job.done()


def test_a_background_job_raises_what_a_run_raises(device, model, x):
    with pytest.raises(InputError, match="must be of shape"):
        device.run_async(model, x[:, :3]).result(20)


def test_a_background_job_can_be_given_up(device, port, gate):
    net = network(3, (200, 90))
    model = Model(net, b"")
    most = device.load(model).max_batch
    x = machine_networks.random_inputs(np.random.default_rng(1), net, most + 3)
    job, waiting = device.run_async(model, x), device.run_async(model, x)
    assert gate[1].wait(20)
    job.cancel()
    waiting.cancel()
    gate[0].set()
    with pytest.raises(DeviceError, match=rf"^the job was given up: {most} of {most + 3} items are done$"):
        job.result(20)
    with pytest.raises(DeviceError, match="given up: 0 of"):
        waiting.result(20)
    assert port.buffers == 1


def test_closing_waits_for_the_job_under_way_and_gives_the_others_up(port, model, x, gate):
    device = Accelerator(port)
    job, other = device.run_async(model, x), device.run_async(model, x)
    assert gate[1].wait(20)
    threading.Timer(0.05, gate[0].set).start()
    device.close()
    assert job.done() and other.done()
    with pytest.raises(DeviceError, match="given up: 0 of 5"):
        other.result(0)
    assert port.buffers == 0 and port.closed


def test_a_background_job_can_be_awaited(device, model, x):
    async def main():
        return await device.run_async(model, x, raw=True)

    assert np.array_equal(asyncio.run(main()), golden.run(model.network, x))


# ---- figures -------------------------------------------------------------------------------------


def test_profile_derives_figures_from_the_counters(port, model, x):
    port.count("cycles", 777)  # before the device was opened
    with Accelerator(port) as device:
        device.run(model, x)
        device.run(model, x)
        profile = device.profile(clock_hz=50e6)
        assert device.profile()["images_per_second"] == device.profile()["items"] == 0
        assert (profile["cycles"], profile["jobs"], profile["items"]) == (2000, 2, 10)
        assert profile["bytes_read"] == 200 * TINY.bus_bytes
        assert profile["symbols_per_clock"] == 100 * 16 / 2000
        assert profile["stalled"] == 0
        assert profile["clocks_per_image"] == 200
        assert profile["images_per_second"] == 50e6 / 200
        assert profile["bytes_per_second"] == 50e6 * 1600 / 2000
        assert profile["bits_per_weight"] == 8 * len(build_image(model, TINY).data) / 600
        with pytest.raises(ValueError, match="^clock_hz must be positive"):
            device.profile(0)


# ---- the device in software ----------------------------------------------------------------------


def test_numpy_offers_the_same(tmp_path):
    model, x = file_model()
    path = tmp_path / "net.ws"
    model.save(path)
    expected = golden.run(model.network, x)
    with ws.open("numpy") as device:
        parts = []
        long = np.repeat(x, 500, axis=0)
        y = device.run_async(path, long, raw=True, progress=parts.append).result(60)
        assert np.array_equal(y[::500], expected) and parts == [1024, 1024, 452]
        with device.loaded(path):
            path.unlink()
            assert np.array_equal(device.run(path, x, raw=True), expected)
        with pytest.raises(ws.WeightstreamError, match="cannot read"):
            device.run(path, x)
        profile = device.profile()
        assert (profile["jobs"], profile["items"]) == (2, 2505)
        assert profile["images_per_second"] == 2505 / profile["seconds"]
        assert device.profile()["images_per_second"] == 0
    with pytest.raises(DeviceError, match="closed"):
        device.run(model, x)


# ---- self-test -----------------------------------------------------------------------------------


def report(monkeypatch, port):
    monkeypatch.setattr(selftest, "open_device", lambda target: Accelerator(port, timeout=0.3))
    return {step.name: step for step in selftest.selftest("fake")}


def test_selftest_passes_on_a_machine_that_computes_right(monkeypatch, port):
    steps = report(monkeypatch, port)
    assert all(step.passed for step in steps.values()), [str(s) for s in steps.values() if not s.passed]
    assert steps["result"].text == "PASS"
    assert {"identity", "machine", "memory", "copy", "int4", "binary", "relayout", "counters"} <= steps.keys()
    assert f"machine 0x{TINY.digest:08X}" in steps["identity"].text
    assert port.buffers == 0 and port.closed


def test_selftest_refuses_networks_that_the_machine_is_not_made_for(monkeypatch):
    steps = report(monkeypatch, FakePort(machine_networks.MACHINES["multipliers"]))
    assert "not for this machine" in steps["ternary"].text and steps["result"].text == "PASS"


def _break_outputs(port):
    FakePort.finish(port)
    port.at("output").memory[0] ^= 1


def _break_jobs(port):
    port.poke("error", ErrorCode.WATCHDOG)
    port.end()


@pytest.mark.parametrize(
    ("job", "text"),
    [(_break_outputs, "outputs are not those of the golden model"), (_break_jobs, "failed with WATCHDOG")],
    ids=["outputs", "errors"],
)
def test_selftest_reports_what_is_wrong_and_goes_on(monkeypatch, port, job, text):
    port.job = job
    steps = report(monkeypatch, port)
    assert text in str(steps["int8"]) and "FAIL: " in str(steps["int8"])
    assert not steps["result"].passed and {"copy", "int8", "relayout"} <= set(
        steps["result"].text.split(", ")
    )
    assert steps["memory"].passed and port.buffers == 0


def test_selftest_finds_bad_memory_and_a_missing_interrupt(monkeypatch, port):
    def invalidate(self):
        self.data[:] = self.memory & 0x7F

    monkeypatch.setattr(FakeBuffer, "invalidate", invalidate)
    monkeypatch.setattr(control, "_LOOK", 1e-3)
    port.waits = [False] * 1000
    steps = report(monkeypatch, port)
    assert "262144 bytes do not keep addresses, the first at 0x10000" in steps["memory"].text
    assert "jobs ended without it" in steps["interrupt"].text
    assert not steps["memory"].passed and not steps["interrupt"].passed


def test_selftest_reports_a_refused_overlay(monkeypatch, port):
    port.poke("machine", 1)
    steps = report(monkeypatch, port)
    assert "machine digest of what answers is 0x00000001" in steps["open"].text
    assert not steps["result"].passed


@pytest.mark.parametrize("broken", [False, True], ids=["good", "broken"])
def test_selftest_is_a_command_with_an_exit_code(monkeypatch, port, broken):
    testing = pytest.importorskip("typer.testing")
    from weightstream.cli.app import app

    if broken:
        port.job = _break_jobs
    monkeypatch.setattr(selftest, "open_device", lambda target: Accelerator(port))
    result = testing.CliRunner().invoke(app, ["selftest", "--on", "fake"])
    assert result.exit_code == int(broken)
    assert result.stdout.splitlines()[-1] == f"result      {'FAIL: ' if broken else 'PASS'}" or broken
    assert "note: " in result.stderr and "laid out anew" in result.stderr
    # The notes end with the command.
    assert not logging.getLogger("weightstream").handlers
