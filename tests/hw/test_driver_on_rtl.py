"""The driver on simulated RTL: many jobs, faults, the command line."""

import numpy as np
import pytest

import machine_networks
import needs
import weightstream as ws
from bench_driver import resident
from weightstream.errors import DeviceError
from weightstream.golden import network as golden
from weightstream.model import Model, from_network
from weightstream.runtime.driver import Accelerator
from weightstream.runtime.selftest import selftest
from weightstream.runtime.sim_port import MEMORY_BYTES, SimPort
from weightstream.spec.machine import PRESETS
from weightstream.spec.registers import ErrorCode
from weightstream_hw.sim.compiled import Fault

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def device():
    with Accelerator(SimPort(TINY)) as opened:
        yield opened
    assert opened.port.buffers == 0


@pytest.fixture
def case():
    """Return a network, inputs and their outputs."""
    net = machine_networks.chain(np.random.default_rng(1), TINY, [30, 20])
    x = machine_networks.random_inputs(np.random.default_rng(2), net, 3)
    return Model(net, b""), x, golden.run(net, x)


def test_a_device_shows_what_it_is_and_has_counted(device, case):
    model, x, _ = case
    with device.loaded(model):
        device.run(model, x)
        text = str(device)
    assert f"machine {' ' * 5}" in text and str(TINY) in text
    assert f"0x{TINY.digest:08X}" in text
    assert f"network, loaded  {model!r}" in text
    assert f"{device.counters()['jobs']}  Jobs that ended." in text
    assert "Clocks in which a job was under way." in device._repr_html_()
    assert repr(device) == f"<accelerator: {TINY}>"


def run_many(device, case, jobs):
    """Run jobs, a third of them in the background and some that fail; memory must stay as it is."""
    model, x, expected = case
    device.load(model)
    buffers, before = device.port.buffers, 0
    for number in range(jobs):
        if number == jobs // 10:
            before = resident()
        if number % 20 == 19:
            device.port.add_fault(Fault.SLVERR)
            with pytest.raises(DeviceError, match="READ_RESPONSE"):
                device.run(model, x)
            device.port.clear_faults()
        elif number % 3 == 2:
            assert np.array_equal(device.run_async(model, x, raw=True).result(60), expected)
        else:
            assert np.array_equal(device.run(model, x, raw=True), expected)
        assert device.port.buffers == buffers
    after = resident()
    print(f"{jobs} jobs: {before >> 10} KiB in memory before, {after >> 10} KiB after")
    device.unload(model)
    # Less than any buffer of a job a time: the rest is the allocator's.
    assert after - before < (1 << 20) + 1024 * jobs
    assert device.control.interrupts_lost == 0


def test_consecutive_jobs_leave_no_buffer_and_no_growth(device, case):
    run_many(device, case, 60)


@pytest.mark.long
def test_a_thousand_jobs_leave_no_buffer_and_no_growth(device, case):
    run_many(device, case, 1000)


def test_batches_beyond_the_pool_are_split(device):
    net = machine_networks.chain(np.random.default_rng(3), TINY, [600, 9])
    model = Model(net, b"")
    most = device.load(model).max_batch
    x = machine_networks.random_inputs(np.random.default_rng(1), net, most + 2)
    parts = []
    jobs = device.counters()["jobs"]
    assert np.array_equal(device.run(model, x, raw=True, progress=parts.append), golden.run(net, x))
    assert parts == [most, 2] and device.counters()["jobs"] == jobs + 2
    device.unload(model)


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.DEAF], ids=str)
def test_memory_that_never_answers_is_diagnosed(case, fault):
    model, x, expected = case
    with Accelerator(SimPort(TINY), timeout=1e-3) as device:
        device.load(model)
        buffers = device.port.buffers
        device.port.add_fault(fault)
        with pytest.raises(
            DeviceError, match=r"^the job is not over after 0\.001 s\. .*nothing moves: does its m"
        ):
            device.run(model, x)
        # The bursts under way are still owed: a second job says so.
        if fault == Fault.SILENT:
            with pytest.raises(DeviceError, match="^no job can start: the accelerator does not become idle"):
                device.run(model, x)
        assert device.port.buffers == buffers
        device.port.clear_faults()
        assert np.array_equal(device.run(model, x, raw=True), expected)


def test_an_error_names_the_buffer_and_the_counters(device, case):
    model, x, _ = case
    image = device.load(model)
    start = device._loaded[id(model)].buffer.address
    at = len(image.data) // 2 // 64 * 64
    device.port.add_fault(Fault.DECERR, start + at, 64)
    with pytest.raises(
        DeviceError, match=rf"at 0x{start + at:x} \(image \+ 0x{at:x}\): Memory answered a read"
    ) as e:
        device.run(model, x)
    device.port.clear_faults()
    device.unload(model)
    assert e.value.code == ErrorCode.READ_RESPONSE
    assert "Registers: ctrl 0x" in str(e.value) and "beats_read" in str(e.value)


def test_outputs_that_cannot_be_written_have_their_own_code(device, case):
    model, x, expected = case
    device.load(model)
    with device.buffer(4096) as probe:
        source = probe.address
    device.port.add_fault(Fault.SLVERR, source + 4096, 4096)  # inputs come first, outputs behind them
    with pytest.raises(DeviceError, match=r"WRITE_RESPONSE \(2\) at 0x\w+ \(output \+ 0x0\)"):
        device.run(model, x)
    device.port.clear_faults()
    assert np.array_equal(device.run(model, x, raw=True), expected)
    device.unload(model)


def test_memory_that_is_used_up_is_refused_in_numbers(device, case):
    model, x, expected = case
    with device.buffer(MEMORY_BYTES - 8192) as large:
        buffers = device.port.buffers
        with pytest.raises(
            DeviceError, match=rf"no memory for .* bytes: .* left of {MEMORY_BYTES}: free other buffers"
        ):
            device.run(model, x)
        device.unload(model)
        assert device.port.buffers == buffers
    assert large not in device.port._taken
    assert np.array_equal(device.run(model, x, raw=True), expected)
    device.unload(model)


def test_a_closed_simulation_says_so(case):
    device = ws.open("sim:tiny")
    device.close()
    device.close()
    with pytest.raises(DeviceError, match="closed"):
        device.run(*case[:2])
    with pytest.raises(DeviceError, match="closed"):
        device.port.read32(0)


def test_selftest_passes():
    steps = list(selftest("sim:tiny"))
    print(*steps, sep="\n")
    assert all(step.passed for step in steps)
    assert str(steps[-1]) == "result      PASS"
    assert [step.name for step in steps].count("int4") == 2


def test_run_on_the_simulated_accelerator_shows_a_note(tmp_path):
    testing = needs.package("typer.testing")
    from weightstream.cli.app import app

    weights = np.random.default_rng(1).integers(-4, 5, (20, 30)).astype(np.int8)
    model = from_network(machine_networks.single(weights, machine_networks.MACHINES["one-lane"]))
    model.save(tmp_path / "net.ws")
    x = np.random.default_rng(2).integers(0, 256, (3, 30)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    arguments = ["run", f"{tmp_path}/net.ws", f"{tmp_path}/x.npy", "--on", "sim:tiny", "--raw"]
    result = testing.CliRunner().invoke(app, [*arguments, "-o", f"{tmp_path}/y.npy"])
    assert result.exit_code == 0
    assert "note: " in result.stderr and "laid out anew" in result.stderr
    assert np.array_equal(np.load(tmp_path / "y.npy"), golden.run(model.network, x))
