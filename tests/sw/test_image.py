"""The image, and what the definition of the accelerator makes of it: the outputs of the network."""

from pathlib import Path

import numpy as np
import pytest

import make_vectors
from machine_networks import MACHINES, biased, chain, check, program, random_inputs, single
from weightstream.errors import InputError, MachineError
from weightstream.golden import network as golden
from weightstream.golden.machine import run_image
from weightstream.ir.canonical import code_network
from weightstream.ir.network import Network, Tensor
from weightstream.model import from_bytes, from_network
from weightstream.runtime.fit import largest_batch
from weightstream.runtime.image import build_image
from weightstream.spec.image import (
    ALIGNMENT,
    HEADER,
    HEADER_BYTES,
    OP_MATRIX,
    descriptor_table,
)
from weightstream.spec.layout import Sharing
from weightstream.spec.machine import PRESETS

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "image.md").read_text("utf-8")
ONE = MACHINES["one-lane"]


pytestmark = pytest.mark.usefixtures("numpy_backend")


# ---- images do what networks do ------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
def test_images_of_random_networks_compute_their_outputs(machine, seed):
    rng = np.random.default_rng([seed, machine.lanes])
    sizes = rng.integers(1, 70, int(rng.integers(2, 5)))
    network = chain(rng, machine, sizes.tolist())
    check(network, machine, random_inputs(rng, network, int(rng.integers(1, 12))))


SHARINGS = [
    ("tiny", (8, 1, 1, 1)),
    ("tiny", (2, 1, 4, 1)),
    ("one-lane", (1, 1, 16, 1)),
    ("one-lane", (4, 1, 2, 1)),
    ("two-groups", (1, 2, 1, 1)),
    ("two-groups", (4, 2, 4, 1)),
    ("two-groups", (1, 1, 2, 2)),
    ("two-groups", (8, 1, 2, 2)),
    ("three-groups", (1, 3, 1, 1)),
    ("three-groups", (2, 3, 2, 1)),
    ("three-groups", (1, 1, 1, 3)),
    ("three-groups", (4, 1, 2, 3)),
    ("multipliers", (2, 1, 2, 1)),
]


@pytest.mark.parametrize("machine, sharing", SHARINGS, ids=str)
def test_clones_and_parts_compute_the_same(machine, sharing):
    machine = MACHINES[machine]
    names = ("clone_slots", "clone_groups", "split_slots", "split_groups")
    sharing = Sharing(**dict(zip(names, sharing, strict=True)))
    rng = np.random.default_rng([9, sharing.parts, sharing.clone_slots])
    network = chain(rng, machine, [61, 45], sharing)
    positions = sharing.clone_slots * sharing.clone_groups * machine.columns
    image = check(network, machine, random_inputs(rng, network, min(positions + 1, 38)))
    (d,) = matrices(image.data)
    assert d["positions"] == positions


def test_batch_may_be_any_up_to_the_largest():
    rng = np.random.default_rng(3)
    machine = MACHINES["three-groups"]
    network = chain(rng, machine, [20, 30, 10], Sharing(clone_slots=2))
    image = build_image(network, machine)
    assert image.max_batch == (1 << 12) // (24 + 32)
    x = random_inputs(rng, network, image.max_batch)
    expected = golden.run(network, x)
    for batch in (1, 4, 5, image.max_batch):
        outputs = run_image(image.data, machine, image.pack_inputs(x[:batch]), batch)
        assert np.array_equal(image.unpack_outputs(outputs), expected[:batch])


@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("name", PRESETS)
def test_compressed_files_run_on_every_preset(name, batch):
    machine = PRESETS[name]
    network = make_vectors.network()
    model = from_bytes(from_network(code_network(network, machine, batch=batch)).to_bytes())
    rng = np.random.default_rng(batch)
    x = random_inputs(rng, model.network, batch)
    image = check(model.network, machine, x)
    assert (image.source.name, image.target.name) == ("x", "logits")
    relaid = from_network(code_network(network)).relayout(machine, batch=batch)
    outputs = run_image(build_image(relaid, machine).data, machine, image.pack_inputs(x), batch)
    assert np.array_equal(image.unpack_outputs(outputs), golden.run(relaid.network, x))


def test_network_without_layers_is_copied():
    x = Tensor(name="x", shape=(3, 5), dtype="int8")
    network = Network(tensors=(x,), nodes=(), inputs=("x",), outputs=("x",))
    machine = MACHINES["tiny"]
    check(network, machine, random_inputs(np.random.default_rng(0), network, 7))
    assert largest_batch(network, machine) == machine.pool_bytes // 16


def test_largest_sums_are_taken_from_the_weights():
    # By the largest weight alone the sums would not fit; they do.
    weights = np.zeros((1, 300), np.int8)
    weights[:, :3] = -128
    network = single(weights, ONE, activation=biased(-(1 << 31) + 3 * 128 * 255))
    check(network, ONE, np.full((1, 300), 255, np.uint8))
    with pytest.raises(MachineError, match="its sums go from -2147483649 to 0, 32 bits hold -2147483648 to"):
        build_image(single(weights, ONE, activation=biased(-(1 << 31) + 3 * 128 * 255 - 1)), ONE)


# ---- the bytes -----------------------------------------------------------------------------------


def matrices(image):
    return [d for _, d, _ in program(image) if d["op"] == OP_MATRIX]


def test_sections_are_aligned_and_do_not_overlap():
    rng = np.random.default_rng(5)
    machine = MACHINES["two-groups"]
    image = build_image(chain(rng, machine, [33, 50, 21]), machine)
    *_, size, offset, words, _ = HEADER.unpack_from(image.data)
    assert size == len(image.data) and size % ALIGNMENT == 0
    sections = [(0, HEADER_BYTES), (offset, 8 * words)]
    for _, d, table in program(image.data):
        if d["op"] == OP_MATRIX:
            sections += [(d[f"{name}_offset"], 8 * d[f"{name}_words"]) for name in ("records", "keys")]
            sections.append((table[0][0], sum(2 * count for _, count in table)))
    end = 0
    for start, count in sorted(sections):
        assert start % ALIGNMENT == 0 and end <= start
        end = start + count
    assert end <= size


def test_tensors_of_a_layer_do_not_overlap():
    rng = np.random.default_rng(6)
    machine = MACHINES["three-groups"]
    image = build_image(chain(rng, machine, [9, 60, 17, 40]), machine, 30)
    read = (0, 30 * 16)
    for d in matrices(image.data):
        source = (d["input_base"], d["input_base"] + 30 * d["input_pitch"])
        target = (d["output_base"], d["output_base"] + 30 * d["output_pitch"])
        assert source == read
        assert source[1] <= target[0] or target[1] <= source[0]
        assert max(*source, *target) <= machine.pool_bytes
        read = target


def test_streams_and_keys_are_those_of_the_file():
    rng = np.random.default_rng(8)
    machine = MACHINES["tiny"]
    weights = np.clip(rng.normal(0, 2, (80, 40)), -8, 7).astype(np.int8)
    network = single(weights, machine)
    coded = network.nodes[0].coded
    assert coded.key_data
    image = build_image(network, machine).data
    ((_, d, table),) = [p for p in program(image) if p[1]["op"] == OP_MATRIX]
    assert image[d["keys_offset"] :].startswith(coded.key_data)
    for (offset, words), lane in zip(table, coded.lanes, strict=True):
        assert np.array_equal(np.frombuffer(image, "<u2", words, offset), lane)


def test_outputs_and_inputs_are_padded_to_words():
    rng = np.random.default_rng(2)
    machine = MACHINES["tiny"]
    network = chain(rng, machine, [9, 17])
    image = build_image(network, machine, 4)
    assert (image.input_pitch, image.output_pitch) == (16, 24)
    x = random_inputs(rng, network, 3)
    packed = np.frombuffer(image.pack_inputs(x), x.dtype).reshape(3, 16)
    assert np.array_equal(packed[:, :9], x) and not packed[:, 9:].any()
    with pytest.raises(InputError, match=r"'t0' must be of shape \(batch, 9\), not \(3, 8\)"):
        image.pack_inputs(x[:, :8])
    with pytest.raises(InputError, match="must be .*, not float64"):
        image.pack_inputs(x.astype(float))
    with pytest.raises(InputError, match="at most 4 items, not 5"):
        image.pack_inputs(np.zeros((5, 9), x.dtype))


def test_document_holds_the_fields_of_a_descriptor():
    assert descriptor_table() in DOCUMENT
