"""Impossible operations and garbage on the RTL: nothing hangs, nothing is written beside the outputs."""

import numpy as np
import pytest

import machine_networks
from weightstream import Model
from weightstream.errors import DeviceError
from weightstream.golden import network as golden
from weightstream.runtime.driver import Accelerator
from weightstream.runtime.sim_port import BASE, SimPort
from weightstream.spec.image import DESCRIPTOR_BYTES, OP_LOAD, OP_MATRIX, OP_STORE, pack_descriptor
from weightstream.spec.machine import PRESETS
from weightstream.spec.registers import ErrorCode

TINY = PRESETS["tiny"]
#: Bytes of memory from its start on that no job may change, but for its outputs: more than a store can reach.
GUARDED = 8 << 20


class Loaded:
    """A small network on a device, whose image may be spoilt for a job."""

    def __init__(self, device, seed=1, batch=2):
        rng = np.random.default_rng(seed)
        self.network = machine_networks.single(rng.integers(-4, 5, (40, 30)).astype(np.int8), TINY)
        self.x = machine_networks.random_inputs(rng, self.network, batch)
        self.expected = golden.run(self.network, self.x)
        self.device, self.model = device, Model(self.network, b"")
        self.image = device.load(self.model)
        buffer = device._loaded[id(self.model)].buffer
        self.address, self.data = buffer.address, buffer.data
        self._good = self.data.copy()

    def spoil(self, at, new):
        """Change bytes of the image."""
        self.data[at : at + len(new)] = np.frombuffer(new, np.uint8)

    def spoil_fields(self, op, values):
        """Change fields of the first operation of a kind; return the address of its descriptor."""
        at, d, _ = next(entry for entry in machine_networks.program(self.image.data) if entry[1]["op"] == op)
        self.spoil(at, pack_descriptor(**d | values))
        return self.address + at

    def heal(self):
        """Make the image what it was."""
        self.data[:] = self._good

    def code(self):
        """Run the job; return its error code, and check that it wrote nothing but its outputs."""
        memory, control = self.device.port.memory, self.device.control
        before = memory[:GUARDED].copy()
        caught = ErrorCode.NONE
        try:
            self.device.run(self.model, self.x)
        except DeviceError as error:
            caught = error.code
        inputs, outputs = (control.read64(name) - BASE for name in ("input", "output"))
        packed = np.frombuffer(self.image.pack_inputs(self.x), np.uint8)
        size = control.read("output_size")
        before[inputs : inputs + len(packed)] = packed
        before[outputs : outputs + size] = memory[outputs : outputs + size]
        assert np.array_equal(before, memory[:GUARDED])
        return caught

    def check(self):
        """Check that the intact image runs right."""
        self.heal()
        assert np.array_equal(self.device.run(self.model, self.x, raw=True), self.expected)


@pytest.fixture(scope="module")
def device():
    with Accelerator(SimPort(TINY)) as opened:
        yield opened


@pytest.fixture
def loaded(device):
    own = Loaded(device)
    yield own
    device.unload(own.model)


@pytest.mark.parametrize(
    "op,changes,code",
    [
        (OP_MATRIX, {"op": 15}, ErrorCode.DESCRIPTOR),
        (OP_MATRIX, {"row_lanes": 0}, ErrorCode.DESCRIPTOR),
        (OP_MATRIX, {"tiles": 1}, ErrorCode.DESCRIPTOR),
        (OP_MATRIX, {"key_mode": 3}, ErrorCode.DESCRIPTOR),
        (OP_STORE, {"input_base": 4}, ErrorCode.DESCRIPTOR),
        (OP_LOAD, {"item_words": 5}, ErrorCode.BUFFER),
        (OP_LOAD, {"item_words": (1 << 18) - 1}, ErrorCode.BUFFER),
        (OP_STORE, {"item_words": 6}, ErrorCode.BUFFER),
        (OP_STORE, {"item_words": (1 << 18) - 1}, ErrorCode.BUFFER),
    ],
    ids=lambda value: ",".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else None,
)
def test_an_operation_that_cannot_be_has_a_code_and_its_address(device, loaded, op, changes, code):
    address = loaded.spoil_fields(op, changes)
    with pytest.raises(DeviceError) as caught:
        device.run(loaded.model, loaded.x)
    where = f"at 0x{address:x} (image + 0x{address - loaded.address:x})"
    assert caught.value.code == code and where in str(caught.value)
    # Once more, for what it writes.
    assert loaded.code() == code
    loaded.check()


def test_a_store_behind_its_buffer_leaves_the_outputs_alone(device, loaded):
    loaded.spoil_fields(OP_STORE, {"item_words": 6})
    written = device.counters()["beats_written"]
    assert loaded.code() == ErrorCode.BUFFER
    assert device.counters()["beats_written"] == written
    # As many as there is room for may go.
    loaded.spoil_fields(OP_STORE, {"item_words": 4})
    assert loaded.code() == ErrorCode.NONE
    assert device.counters()["beats_written"] == written + 2 * 4
    loaded.check()


# ---- anything ------------------------------------------------------------------------------------


def spoil_bytes(own, rng):
    """Change up to three bytes anywhere behind version and digest."""
    for _ in range(int(rng.integers(1, 4))):
        own.spoil(int(rng.integers(12, len(own.image.data))), rng.bytes(1))


def spoil_descriptor(own, rng):
    """Change a bit of a descriptor, which few of the changes above hit."""
    starts = [at for at, _, _ in machine_networks.program(own.image.data)]
    at = int(rng.choice(starts)) + int(rng.integers(DESCRIPTOR_BYTES))
    own.spoil(at, bytes([int(own.data[at]) ^ 1 << int(rng.integers(8))]))


def fuzz(device, seed, images, spoil):
    """Run spoilt images; each must end, with a code or with outputs, and the intact one then runs right."""
    rng = np.random.default_rng(seed)
    own = Loaded(device, seed)
    device.control.write("watchdog", 3000)
    codes = set()
    for _ in range(images):
        spoil(own, rng)
        codes.add(own.code())
        own.check()
    device.control.write("watchdog", 1 << 24)
    device.unload(own.model)
    assert codes <= set(ErrorCode) and codes > {ErrorCode.NONE}
    return codes


def test_corrupted_images_never_hang(device):
    assert len(fuzz(device, 4, 40, spoil_bytes)) > 2


def test_corrupted_descriptors_never_hang(device):
    assert ErrorCode.DESCRIPTOR in fuzz(device, 5, 40, spoil_descriptor)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_thousands_of_corrupted_images(device, seed):
    fuzz(device, seed, 150, spoil_bytes)
    fuzz(device, seed, 50, spoil_descriptor)
