"""Every error code: what sets it, what the driver says, and that the next job runs right."""

from collections import namedtuple

import numpy as np
import pytest

import machine_networks
from weightstream import Model
from weightstream.errors import DeviceError, ImageError
from weightstream.golden import network as golden
from weightstream.golden.machine import run_image
from weightstream.runtime.driver import Accelerator
from weightstream.runtime.sim_port import SimPort
from weightstream.spec.image import (
    CONFIG_ADDRESS_LSB,
    CONFIG_KEY_CLASS,
    CONFIG_KIND_LSB,
    DESCRIPTOR_BYTES,
    KEY_CLASS_FIELDS,
    LANE,
    OP_MATRIX,
    OP_STORE,
    pack_descriptor,
)
from weightstream.spec.machine import PRESETS
from weightstream.spec.registers import BY_NAME, ErrorCode
from weightstream_hw.sim.compiled import Fault

TINY = PRESETS["tiny"]
#: In a key class, behind the number of rows.
KEY_BITS_LSB = KEY_CLASS_FIELDS[0][1]
WATCHDOG = BY_NAME["watchdog"]
PATIENCE = WATCHDOG.fields[0].reset

#: A network on a device: inputs, right outputs, its image in the device's memory, how many bytes that has.
Case = namedtuple("Case", "device model x expected buffer size")


@pytest.fixture(scope="module")
def device():
    with Accelerator(SimPort(TINY)) as opened:
        yield opened


@pytest.fixture
def case(device):
    rng = np.random.default_rng(1)
    weights = rng.integers(-4, 5, (40, 30)).astype(np.int8)
    network = machine_networks.single(weights, TINY)
    x = machine_networks.random_inputs(rng, network, 2)
    model = Model(network, b"")
    image = device.load(model)
    yield Case(device, model, x, golden.run(network, x), device._loaded[id(model)][2], len(image.data))
    device.unload(model)


def places(image):
    """Return the first layer's descriptor, and where descriptor, lane table and configuration begin."""
    at, d = next((at, d) for at, d, _ in machine_networks.program(image.tobytes()) if d["op"] == OP_MATRIX)
    lanes = at + DESCRIPTOR_BYTES
    return d, at, lanes, lanes + LANE.size * d["stored_lanes"]


def store_behind_the_buffer(image):
    at, d = next((at, d) for at, d, _ in machine_networks.program(image.tobytes()) if d["op"] == OP_STORE)
    d["item_words"] += 1
    image[at : at + DESCRIPTOR_BYTES] = np.frombuffer(pack_descriptor(**d), np.uint8)


def other_version(image):
    image[4] ^= 1


def other_machine(image):
    image[8] ^= 1


def no_magic(image):
    image[0] ^= 1


def no_such_operation(image):
    image[places(image)[1]] |= 15


def no_such_configuration(image):
    words = image[places(image)[3] :]
    words[7] |= 15 << CONFIG_KIND_LSB - 56


def words_left(image):
    """Give the first lane 64 words more than its rows take."""
    _, _, lanes, _ = places(image)
    offset, words = LANE.unpack_from(image, lanes)
    image[lanes : lanes + LANE.size] = np.frombuffer(LANE.pack(offset, words + 64), np.uint8)


def no_row_end(image):
    """Make windows that no interval contains of all words of the first lane."""
    _, _, lanes, _ = places(image)
    offset, words = LANE.unpack_from(image, lanes)
    image[offset : offset + 2 * words] = 255


def keys_of_one_bit(image):
    """Let the keys of class 0 have one bit; with none, they would not be read."""
    d, _, _, start = places(image)
    words = image[start : start + 8 * d["config_words"]].view("<u8")
    class_0 = CONFIG_KEY_CLASS << CONFIG_KIND_LSB - CONFIG_ADDRESS_LSB
    (number,) = np.flatnonzero(words >> CONFIG_ADDRESS_LSB == class_0)
    words[number] = int(words[number]) & ~(15 << KEY_BITS_LSB) | 1 << KEY_BITS_LSB


CORRUPTIONS = {
    ErrorCode.MAGIC: no_magic,
    ErrorCode.VERSION: other_version,
    ErrorCode.DIGEST: other_machine,
    ErrorCode.DESCRIPTOR: no_such_operation,
    ErrorCode.CONFIGURATION: no_such_configuration,
    ErrorCode.STREAM_LENGTH: words_left,
    ErrorCode.STREAM_CORRUPT: no_row_end,
    ErrorCode.KEYS: keys_of_one_bit,
    ErrorCode.BUFFER: store_behind_the_buffer,
}


def everywhere(device):
    return 0, 1 << 63


def outputs(device):
    """Return where the outputs of the next job will be: inputs come first, a page, outputs behind them."""
    with device.buffer(4096) as probe:
        return probe.address + 4096, 4096


FAULTS = {
    ErrorCode.READ_RESPONSE: [(Fault.SLVERR, everywhere), (Fault.DECERR, everywhere)],
    ErrorCode.WRITE_RESPONSE: [(Fault.SLVERR, outputs), (Fault.DECERR, outputs)],
    ErrorCode.WATCHDOG: [(Fault.SILENT, everywhere)],
}


def check_failure(case, code):
    """Run a job that fails; the error has code and sentence."""
    with pytest.raises(DeviceError) as caught:
        case.device.run(case.model, case.x)
    assert caught.value.code == code
    assert code.name in str(caught.value) and code.sentence in str(caught.value)


def check_next_job(case):
    assert np.array_equal(case.device.run(case.model, case.x, raw=True), case.expected)


def test_every_code_has_a_test():
    assert CORRUPTIONS.keys() | FAULTS.keys() | {ErrorCode.NONE, ErrorCode.BATCH} == set(ErrorCode)


@pytest.mark.parametrize("code", CORRUPTIONS, ids=lambda code: code.name)
def test_a_corrupt_image_is_told_by_its_code(case, code):
    data = case.buffer.data
    intact = data.copy()
    CORRUPTIONS[code](data[: case.size])
    image = bytes(data[: case.size])
    check_failure(case, code)
    data[:] = intact
    check_next_job(case)

    raw = np.zeros((len(case.x), -(-case.x.shape[1] // 8) * 8), np.uint8)
    raw[:, : case.x.shape[1]] = case.x.view(np.uint8)
    with pytest.raises(ImageError) as caught:
        run_image(image, TINY, raw.tobytes(), len(case.x), len(case.x) * 40)
    assert caught.value.code == code


def test_a_job_without_items_is_told_by_its_code(case):
    """The driver starts none: this is what the gateware says to another one."""
    check_next_job(case)
    read = case.device.counters()["beats_read"]
    for name, value in (("batch", 0), ("ctrl", 1)):
        case.device.control.write(name, value)
    with pytest.raises(DeviceError, match=rf"BATCH \(13\) at 0x{case.buffer.address:x}: ") as caught:
        case.device.control.wait(1)
    assert caught.value.code == ErrorCode.BATCH
    assert case.device.counters()["beats_read"] == read
    check_next_job(case)


@pytest.mark.parametrize(
    "code,fault,where",
    [
        pytest.param(code, fault, where, id=f"{code.name}-{fault.name}")
        for code, faults in FAULTS.items()
        for fault, where in faults
    ],
)
def test_a_fault_of_memory_is_told_by_its_code(case, code, fault, where):
    port = case.device.port
    port.write32(WATCHDOG.address, 5000)
    port.add_fault(fault, *where(case.device))
    check_failure(case, code)
    port.clear_faults()
    port.write32(WATCHDOG.address, PATIENCE)
    check_next_job(case)
