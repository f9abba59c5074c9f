"""What a machine does not run, and what it reports of corrupt images."""

import re
import struct
from dataclasses import replace

import numpy as np
import pytest

import make_vectors
from machine_networks import MACHINES, around, biased, check, code, program, requantise, single
from weightstream.codec.contexts import ContextModel
from weightstream.codec.keys import KeyCode
from weightstream.codec.matrix import Geometry, code_symbols
from weightstream.codec.palette import Palette
from weightstream.errors import FormatError, ImageError, InputError, MachineError, NetworkError
from weightstream.golden.machine import run_image
from weightstream.ir.network import Softmax, Tensor, Thresholds
from weightstream.model import from_bytes
from weightstream.runtime.fit import largest_batch
from weightstream.runtime.image import build_image
from weightstream.spec.image import (
    DESCRIPTOR_BYTES,
    HEADER_BYTES,
    LANE,
    OP_MATRIX,
    pack_descriptor,
)
from weightstream.spec.layout import Sharing
from weightstream.spec.machine import Machine
from weightstream.spec.registers import ErrorCode

ONE, TWO, THREE = MACHINES["one-lane"], MACHINES["two-groups"], MACHINES["three-groups"]
MULTIPLIERS, TABLES = MACHINES["multipliers"], MACHINES["tables"]


pytestmark = pytest.mark.usefixtures("numpy_backend")


def int4(rows=20, columns=20):
    return (np.arange(rows * columns).reshape(rows, columns) % 16 - 8).astype(np.int8)


# ---- what does not fit ---------------------------------------------------------------------------


def additive(machine, passes, group, **options):
    rng = np.random.default_rng(1)
    palette = Palette(rng.integers(-128, 128, (passes, 16, group)).astype(np.int8), 0)
    symbols = rng.integers(0, 16, (9, 6 * passes)).astype(np.uint8)
    geometry = Geometry(rows=9, channels=6 * group)
    return around(code_symbols(symbols, geometry, palette, layout=machine.layout, **options)[0])


def varied_columns(period):
    """Return a layer whose column classes repeat after so many columns."""
    columns = (np.arange(period) * 7 // 3 % 2).astype(np.uint8)
    columns[:2] = 0, 1
    model = ContextModel(columns=columns, tables=np.arange(2).reshape(1, 2, 1, 1))
    weights = int4(4, 2 * period)
    return code(weights, model, np.zeros(4, np.uint8), layout=MACHINES["one-lane"].layout)


STEPS = Thresholds(values=np.zeros((20, 1), np.int32), base=0)
FLOAT = requantise(np.random.default_rng(0), 20, "float32", 0, 255)
REFUSED = {
    "layout": (
        lambda: single(int4(), TWO),
        ONE,
        r"laid out for 16 x 16 streams \(lanes x slots\), the machine has 1 x 16: relayout the model",
    ),
    "group": (lambda: additive(ONE, 1, 3), ONE, "a symbol stands for 3 weights, machines take 1, 2 or 4"),
    "large-group": (lambda: additive(ONE, 1, 8), ONE, "a symbol stands for 8 weights, machines take"),
    "tables": (
        lambda: additive(ONE, 1, 4),
        replace(ONE, group=2),
        "a symbol stands for 4 weights, its product tables take 2",
    ),
    "no-tables": (
        lambda: additive(MULTIPLIERS, 1, 2),
        MULTIPLIERS,
        "a symbol stands for 2 weights, but there are no product tables",
    ),
    "passes": (
        lambda: additive(MULTIPLIERS, 3, 1),
        MULTIPLIERS,
        "a group of weights takes 3 symbols, the machine adds up 2",
    ),
    "clones-of-tables": (
        lambda: single(int4(), TABLES, Sharing(clone_slots=2)),
        TABLES,
        "product tables share no streams, but it has 2 clones and 1 parts in slots",
    ),
    "parts-of-groups": (
        lambda: additive(ONE, 1, 2, sharing=Sharing(split_slots=2)),
        ONE,
        "product tables share no streams, but it has 1 clones and 2 parts in slots",
    ),
    "some-groups": (
        lambda: single(int4(), Machine(lanes=32), Sharing(split_groups=2)),
        Machine(lanes=32),
        "parts in 2 groups of lanes, the machine adds up 1 or 4",
    ),
    "lanes-within-a-group": (
        lambda: single(int4(), THREE, Sharing(clone_groups=2)),
        THREE,
        "2 clones and 1 parts in groups of lanes, the machine has 3 groups",
    ),
    "thresholds": (
        lambda: single(int4(), ONE, activation=STEPS),
        replace(ONE, thresholds=False),
        "outputs count thresholds, the machine requantises only",
    ),
    "float32": (
        lambda: single(int4(), ONE, activation=FLOAT),
        replace(ONE, float_rounding=False),
        "rounded as float32 does, the machine rounds integers only",
    ),
    "columns": (
        lambda: around(varied_columns(65)),
        ONE,
        "classes of its columns repeat after 65 groups of weights, the map holds 64",
    ),
    "sums": (
        lambda: single(np.full((1, 10), 127, np.int8), ONE, activation=biased((1 << 31) - 1000)),
        ONE,
        "its sums go from 0 to 2147806498, 32 bits hold -2147483648 to 2147483647",
    ),
    "pool": (
        lambda: single(int4(1, 4090), ONE),
        ONE,
        "batch of 1 does not fit .* 'x' and 'y' take 4104 bytes, the activation memory has 4096; 0 items",
    ),
}


@pytest.mark.parametrize("network, machine, message", REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused_with_need_and_limit(network, machine, message):
    with pytest.raises(MachineError, match=message):
        build_image(network(), machine)


def test_batches_that_do_not_fit_are_refused():
    network = single(int4(), ONE)
    assert largest_batch(network, ONE) == 85
    assert build_image(network, ONE, 85).max_batch == 85
    with pytest.raises(MachineError, match="a batch of 86 .* take 4128 bytes, .* has 4096; 85 items fit"):
        build_image(network, ONE, 86)
    with pytest.raises(InputError, match="at least 1 item, not 0"):
        build_image(network, ONE, 0)


def test_only_chains_of_layers_run():
    network = single(int4(), ONE)
    (node,) = network.nodes
    again = replace(node, name="again", output="z")
    tensors = (*network.tensors, Tensor(name="z", shape=(20,)))
    branch = replace(network, tensors=tensors, nodes=(node, again))
    with pytest.raises(MachineError, match="'again' reads 'x', behind 'y': a machine runs chains"):
        build_image(branch, ONE)
    behind = replace(network, tensors=tensors, nodes=(node, replace(again, input="y")))
    with pytest.raises(MachineError, match="'again' reads 'y'"):
        build_image(behind, ONE)
    elsewhere = replace(network, nodes=(), outputs=("x",), tensors=tensors)
    assert build_image(elsewhere, ONE).target.name == "x"
    with pytest.raises(NetworkError, match="has one input, not 0"):
        build_image(from_bytes(make_vectors.VECTORS["int8"]()), ONE)
    plain = replace(node, coded=None, weights=int4())
    with pytest.raises(NetworkError, match="'fc' is not coded"):
        build_image(replace(network, nodes=(plain,)), ONE)


def test_softmax_is_left_to_the_host():
    network = single(int4(), ONE)
    tensors = (*network.tensors, Tensor(name="p", shape=(20,), dtype="float32"))
    nodes = (*network.nodes, Softmax(name="softmax", input="y", output="p"))
    network = replace(network, tensors=tensors, nodes=nodes, outputs=("p",))
    assert check(network, ONE, np.full((2, 20), 7, np.uint8)).target.name == "y"


# ---- what an accelerator reports -----------------------------------------------------------------


def changed(image, at, value):
    return image[:at] + struct.pack("<I", value) + image[at + 4 :]


def with_fields(image, **values):
    """Return an image whose matrix has other fields."""
    at, d, _ = next(p for p in program(image) if p[1]["op"] == OP_MATRIX)
    return image[:at] + pack_descriptor(**d | values) + image[at + DESCRIPTOR_BYTES :]


def with_kind(image, kind):
    """Return an image whose first configuration word is of another kind."""
    at, _, table = next(p for p in program(image) if p[1]["op"] == OP_MATRIX)
    at += DESCRIPTOR_BYTES + LANE.size * len(table)
    (word,) = struct.unpack_from("<Q", image, at)
    word = word & (1 << 60) - 1 | kind << 60
    return image[:at] + struct.pack("<Q", word) + image[at + 8 :]


def broken(how):
    """Return an image of a layer with keys, of 5 tiles, with something wrong."""
    machine = MACHINES["tiny"]
    rng = np.random.default_rng(8)
    coded = code(np.clip(rng.normal(0, 2, (80, 40)), -8, 7).astype(np.int8), layout=machine.layout)
    if how == "keys":
        coded = replace(coded, key_data=b"\xff" * len(coded.key_data))
    elif how == "length":
        coded = replace(coded, lanes=[np.append(lane, lane) for lane in coded.lanes])
    elif how == "noise":
        coded = replace(coded, lanes=[rng.permutation(lane) for lane in coded.lanes])
    elif how == "long-keys":
        coded = code(np.zeros((80, 2), np.int8), layout=machine.layout, free_rows=False)
        coded = replace(coded, key_codes=[KeyCode(15)], key_data=bytes(80))
    return build_image(around(coded), machine, 1).data


ERRORS = {
    "magic": (lambda: changed(broken(""), 0, 1), ErrorCode.MAGIC, "these bytes are no image"),
    "version": (lambda: changed(broken(""), 4, 9), ErrorCode.VERSION, "of version 9, not 1"),
    "digest": (lambda: changed(broken(""), 8, 7), ErrorCode.DIGEST, "made for machine 00000007, not"),
    "operation": (lambda: changed(broken(""), HEADER_BYTES, 9), ErrorCode.DESCRIPTOR, "no operation 9"),
    "tensor": (
        lambda: changed(broken(""), HEADER_BYTES + 4 * 16, 1),
        ErrorCode.DESCRIPTOR,
        "a tensor does not",
    ),
    "empty": (lambda: with_fields(broken(""), tiles=0), ErrorCode.DESCRIPTOR, "does not fit the machine"),
    "beyond": (lambda: with_fields(broken(""), row_groups=2), ErrorCode.DESCRIPTOR, "does not fit"),
    "configuration": (
        lambda: with_kind(broken(""), 9),
        ErrorCode.CONFIGURATION,
        "no configuration word of kind 9",
    ),
    "keys": (lambda: broken("keys"), ErrorCode.KEYS, "keys"),
    "few-keys": (
        lambda: with_fields(
            broken(""),
            **{"rows": 81, "tiles": 6, "last_full": 0, "last_edge": 1, "records_words": 81},
            **{"output_base": MACHINES["tiny"].pool_bytes - 88, "output_pitch": 88},
        ),
        ErrorCode.KEYS,
        "there are keys for 80 of 81 rows",
    ),
    "few-classes": (
        lambda: with_fields(broken(""), key_mode=2, keys_words=4),
        ErrorCode.KEYS,
        "there are keys for 64 of 80 rows",
    ),
    "length": (lambda: broken("length"), ErrorCode.STREAM_LENGTH, "longer than its rows"),
    "noise": (lambda: broken("noise"), ErrorCode.STREAM_CORRUPT, "impossible row end"),
    "long-keys": (lambda: broken("long-keys"), ErrorCode.STREAM_CORRUPT, "impossible row end"),
    "no-end": (lambda: changed(broken(""), 20, 16), ErrorCode.WATCHDOG, "the program has no end"),
    "truncated": (lambda: broken("")[:-64], ErrorCode.READ_RESPONSE, "the image ends at"),
    "no-header": (lambda: b"", ErrorCode.READ_RESPONSE, "the image ends at 0, before 64"),
}


@pytest.mark.parametrize("image, code, message", ERRORS.values(), ids=ERRORS.keys())
def test_errors_have_the_codes_of_the_accelerator(image, code, message):
    with pytest.raises(ImageError, match=re.escape(message)) as caught:
        run_image(image(), MACHINES["tiny"], bytes(40), 1)
    assert caught.value.code == code
    assert isinstance(caught.value, FormatError)


def test_loads_and_stores_stay_within_their_buffers():
    image, tiny = broken(""), MACHINES["tiny"]
    expected = run_image(image, tiny, bytes(40), 1)
    assert len(expected) == 80
    assert run_image(image, tiny, bytes(48), 1, 88) == expected
    assert run_image(image, tiny, bytes(40), 1, 80) == expected
    for arguments, message in (
        ((bytes(39), 1, 80), "a load takes 40 bytes, its buffer has 39"),
        ((bytes(40), 1, 79), "a store takes 80 bytes, its buffer has 79"),
    ):
        with pytest.raises(ImageError, match=message) as caught:
            run_image(image, tiny, *arguments)
        assert caught.value.code == ErrorCode.BUFFER
    with pytest.raises(ImageError, match="at least 1 item") as caught:
        run_image(image, tiny, b"", 0)
    assert caught.value.code == ErrorCode.BATCH


def test_items_that_do_not_fit_the_activation_memory_are_refused():
    image = broken("")
    with pytest.raises(MachineError, match="820 items of 40 bytes at address 0 do not fit"):
        run_image(image, MACHINES["tiny"], bytes(820 * 40), 820)
