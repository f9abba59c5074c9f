"""Whole networks on the compiled RTL, bit for bit those of the golden model."""

import numpy as np
import pytest

import machine_networks
import mnist_networks
from weightstream import Model
from weightstream.golden import network as golden
from weightstream.runtime.driver import Accelerator
from weightstream.runtime.sim_port import SimPort
from weightstream.spec.cycles import choose_sharing, layer_cycles
from weightstream.spec.layout import Sharing
from weightstream.spec.machine import PRESETS

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def device():
    with Accelerator(SimPort(TINY)) as opened:
        yield opened


def run(device, network, x):
    """Run a network and return its raw outputs."""
    model = Model(network, b"")
    y = device.run(model, x, raw=True)
    device.unload(model)
    return y


def check_random(device, rng, sharing=None):
    """Run a random network of one to three layers; its outputs must be the golden ones."""
    sizes = [int(rng.integers(1, 60)) for _ in range(int(rng.integers(2, 5)))]
    if sharing is not None:
        sizes = [size + 16 for size in sizes]
    network = machine_networks.chain(rng, device.machine, sizes, sharing)
    x = machine_networks.random_inputs(rng, network, int(rng.integers(1, 8)))
    assert np.array_equal(run(device, network, x), golden.run(network, x))


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_equal_golden(device, seed):
    check_random(device, np.random.default_rng(seed))


@pytest.mark.parametrize(
    "sharing", [{"clone_slots": 4}, {"split_slots": 8}, {"clone_slots": 2, "split_slots": 2}], ids=str
)
def test_shared_streams_equal_golden(device, sharing):
    check_random(device, np.random.default_rng(5), Sharing(**sharing))


@pytest.mark.parametrize("shape", [(1, 200), (200, 1), (1, 1), (600, 3), (3, 900)], ids=str)
def test_tall_and_wide_layers_equal_golden(device, shape):
    rng = np.random.default_rng(sum(shape))
    network = machine_networks.chain(rng, TINY, [shape[1], shape[0]])
    x = machine_networks.random_inputs(rng, network, 3)
    assert np.array_equal(run(device, network, x), golden.run(network, x))


@pytest.mark.parametrize("pause,latency,bandwidth", [(0.3, 1, 16.0), (0.7, 100, 4.0)], ids=["short", "long"])
def test_slow_memory_changes_nothing(pause, latency, bandwidth):
    port = SimPort(TINY, pause=pause, latency=latency, bandwidth=bandwidth, seed=3)
    with Accelerator(port) as slow:
        for seed in range(4):
            check_random(slow, np.random.default_rng(seed))


@pytest.mark.parametrize(
    "rows,columns,batch", [(512, 128, 2), (100, 300, 1), (10, 200, 8), (256, 16, 2), (64, 784, 5)], ids=str
)
def test_a_layer_takes_the_clocks_that_the_compressor_counts(device, rows, columns, batch):
    rng = np.random.default_rng(rows)
    weights = rng.integers(-4, 5, (rows, columns)).astype(np.int8)
    sharing = choose_sharing(rows, columns, TINY.layout, positions=batch, columns=TINY.columns)
    network = machine_networks.single(weights, TINY, sharing=sharing)
    plan = network.nodes[0].coded.plan
    expected = layer_cycles(plan, batch, TINY.columns, 1, TINY.patch_words)
    device.profile()
    run(device, network, machine_networks.random_inputs(rng, network, batch))
    moved = batch * (-(-rows // 8) - (-columns // 8))
    cycles = device.profile()["cycles"] - moved
    # Beside the layer: its program is read and its tables are loaded, outputs wait for the memory.
    assert 0.9 * expected < cycles < 1.02 * expected + 600


@pytest.mark.parametrize("name", mnist_networks.NETWORKS)
def test_mnist_networks_on_100_images(device, name):
    model, x = mnist_networks.mnist(name, layout=TINY, batch=50)
    from weightstream.runtime.numpy_device import NumpyDevice

    expected = NumpyDevice().run(model, x[:100], raw=True)
    device.profile()
    assert np.array_equal(device.run(model, x[:100], raw=True), expected)
    profile = device.profile()
    # All but a few clocks decode symbols.
    assert profile["busy"] * TINY.slots > 0.95 * profile["cycles"]
    device.unload(model)


@pytest.mark.long
@pytest.mark.parametrize("name", machine_networks.MACHINES)
def test_many_random_networks(name):
    machine = machine_networks.MACHINES[name]
    with Accelerator(SimPort(machine)) as device:
        for seed in range(60):
            check_random(device, np.random.default_rng(1000 + seed))


@pytest.mark.long
@pytest.mark.parametrize(
    "sharing",
    [
        None,
        Sharing(clone_slots=2, clone_groups=4, split_slots=4),
        Sharing(clone_slots=2, split_groups=8),
    ],
    ids=["alone", "clones", "parts"],
)
def test_the_largest_preset_equals_golden(sharing):
    # Compiling it takes minutes.
    with Accelerator(SimPort(PRESETS["kv260"])) as device:
        check_random(device, np.random.default_rng(7), sharing)
        rng = np.random.default_rng(8)
        network = machine_networks.chain(rng, device.machine, [300, 700, 40], sharing)
        x = machine_networks.random_inputs(rng, network, 33)
        assert np.array_equal(run(device, network, x), golden.run(network, x))
