"""Jobs return what the golden model returns; networks are loaded, kept, and make room."""

import logging

import numpy as np
import pytest

import machine_networks
import weightstream as ws
from fake_port import BASE, DONE, TINY, FakePort, file_model, network
from weightstream.errors import DeviceError, InputError
from weightstream.golden import network as golden
from weightstream.model import Model
from weightstream.runtime.driver import Accelerator
from weightstream.runtime.image import build_image


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
