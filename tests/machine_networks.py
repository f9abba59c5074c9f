"""Networks of coded layers for tests of accelerators: random palettes, contexts, sharings, activations."""

import numpy as np

from coded_matrices import given_contexts
from weightstream.codec.contexts import ContextModel
from weightstream.codec.matrix import Geometry, code_matrix, code_symbols
from weightstream.codec.palette import Palette
from weightstream.golden import network as golden
from weightstream.golden.machine import run_image
from weightstream.ir.network import Linear, Network, Requantise, Tensor, Thresholds
from weightstream.runtime.image import build_image
from weightstream.spec.image import DESCRIPTOR_BYTES, HEADER, LANE, unpack_descriptor
from weightstream.spec.layout import Sharing
from weightstream.spec.machine import PRESETS, Machine

#: So small that chunks, tiles and passes end early.
SMALL = {"pool_bytes": 1 << 12, "patch_words": 64, "column_classes": 64}
MACHINES = {
    "tiny": PRESETS["tiny"],
    "one-lane": Machine(lanes=1, slots=16, columns=1, **SMALL),
    "two-groups": Machine(lanes=16, slots=16, columns=3, **SMALL),
    "three-groups": Machine(lanes=24, slots=8, columns=2, **SMALL),
    "multipliers": Machine(lanes=8, slots=8, columns=2, group=0, passes=2, **SMALL),
    "tables": Machine(lanes=8, slots=8, columns=4, multipliers=False, **SMALL),
}


def tensor(rng, name, size):
    return Tensor(name=name, shape=(size,), dtype=str(rng.choice(["int8", "uint8"])))


def code(weights, model=None, row_class=None, **options):
    """Return a coded matrix with a context model; by default with the one that the compressor finds."""
    geometry = Geometry(rows=weights.shape[0], channels=weights.shape[1])
    with given_contexts(model, row_class):
        return code_matrix(weights, geometry, **options)[0]


def random_coded(rng, rows, columns, machine, sharing=None):
    """Return random weights with random contexts, of a palette that the machine runs."""
    kinds = [
        k for k in ("int4", "int8", "ternary", "binary", "additive") if k != "int8" or machine.passes > 1
    ]
    if not machine.multipliers or machine.group:
        kind = str(rng.choice(kinds))
    else:
        kind = str(rng.choice(kinds[:2]))
    if sharing is not None and sharing != Sharing():
        kind = str(rng.choice(kinds[:2]))
    rows_class, columns_class = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    previous, back = (int(rng.choice([1, 3, 16])) for _ in range(2))
    shape = (rows_class, columns_class, previous, back)
    model = ContextModel(
        row_classes=rows_class,
        columns=rng.permutation(np.arange(columns_class + int(rng.integers(4))) % columns_class).astype(
            np.uint8
        ),
        previous=rng.permutation(np.arange(16) % previous).astype(np.uint8),
        back=rng.permutation(np.arange(16) % back).astype(np.uint8),
        distance=int(rng.integers(1, 17)),
        tables=rng.integers(0, 64, shape).astype(np.uint8),
    )
    row_class = rng.integers(0, rows_class, rows).astype(np.uint8)
    options = {"layout": machine.layout, "sharing": sharing, "free_rows": bool(rng.integers(2))}
    if kind == "additive":
        passes, group = int(rng.integers(1, machine.passes + 1)), int(rng.choice([1, 2, 4]))
        palette = Palette(rng.integers(-128, 128, (passes, 16, group)).astype(np.int8), 0)
        count = palette.row_symbols(columns)
        symbols = rng.integers(0, 16, (rows, count)).astype(np.uint8)
        geometry = Geometry(rows=rows, channels=columns)
        with given_contexts(model, row_class):
            return code_symbols(symbols, geometry, palette, **options)[0]
    weights = {
        "int4": np.clip(rng.normal(0, 2, (rows, columns)), -8, 7),
        "int8": np.clip(rng.normal(0, 30, (rows, columns)), -128, 127),
        "ternary": rng.integers(-1, 2, (rows, columns)),
        "binary": 2 * rng.integers(0, 2, (rows, columns)) - 1,
    }[kind].astype(np.int8)
    return code(weights, model, row_class, **options)


def requantise(rng, rows, rounding, low, high):
    return Requantise(
        bias=rng.integers(-3000, 3000, rows).astype(np.int32),
        multiplier=rng.integers(1 << 22, 1 << 24, rows).astype(np.int32),
        shift=rng.integers(24, 34, rows).astype(np.uint8),
        zero_point=int(rng.integers(low, high + 1)),
        low=low,
        high=high,
        rounding=rounding,
    )


def random_layer(rng, name, source, target, machine, sharing=None):
    rows = target.size
    if rng.random() < 0.7:
        rounding = str(rng.choice(["up", "even", "float32"]))
        activation = requantise(rng, rows, rounding, target.low, target.high)
    else:
        steps = np.sort(rng.integers(-2000, 2000, (rows, int(rng.integers(16)))), axis=1).astype(np.int32)
        activation = Thresholds(values=steps, base=20, step=int(rng.choice([-1, 1])))
    return Linear(
        name=name,
        input=source.name,
        output=target.name,
        geometry=Geometry(rows=rows, channels=source.size),
        activation=activation,
        coded=random_coded(rng, rows, source.size, machine, sharing),
    )


def chain(rng, machine, sizes, sharing=None):
    """Return a network of dense layers between tensors of these sizes."""
    tensors = [tensor(rng, f"t{i}", size) for i, size in enumerate(sizes)]
    nodes = [
        random_layer(rng, f"layer{i}", *tensors[i : i + 2], machine, sharing) for i in range(len(sizes) - 1)
    ]
    return Network(tensors=tuple(tensors), nodes=tuple(nodes), inputs=("t0",), outputs=(tensors[-1].name,))


def random_inputs(rng, network, batch):
    source = network.tensor(network.inputs[0])
    return rng.integers(source.low, source.high + 1, (batch, *source.shape)).astype(source.dtype)


def single(weights, machine, sharing=None, activation=None, **options):
    """Return a network of one layer."""
    coded = code(weights, layout=machine.layout, sharing=sharing, **options)
    return around(coded, activation)


def around(coded, activation=None):
    """Return a network of one layer around a coded matrix."""
    rows, columns = coded.geometry.rows, coded.geometry.columns
    x, y = Tensor(name="x", shape=(columns,)), Tensor(name="y", shape=(rows,))
    if activation is None:
        activation = requantise(np.random.default_rng(0), rows, "even", 0, 255)
    node = Linear(
        name="fc", input="x", output="y", geometry=coded.geometry, activation=activation, coded=coded
    )
    return Network(tensors=(x, y), nodes=(node,), inputs=("x",), outputs=("y",))


def biased(bias):
    """Return the activation of one row."""
    one = np.ones(1, np.int32)
    return Requantise(
        bias=bias * one, multiplier=one, shift=one.astype(np.uint8), zero_point=0, low=0, high=255
    )


def check(network, machine, x, max_batch=None):
    """Hold the execution of a network's image to the network; return the image."""
    image = build_image(network, machine, max_batch)
    outputs = run_image(image.data, machine, image.pack_inputs(x), len(x))
    assert np.array_equal(image.unpack_outputs(outputs), golden.run(network, x))
    return image


def program(image):
    """Yield offset, descriptor and lane table of each operation."""
    *_, at, words, operations = HEADER.unpack_from(image)
    end = at + 8 * words
    for _ in range(operations):
        d = unpack_descriptor(image[at : at + DESCRIPTOR_BYTES])
        lanes = at + DESCRIPTOR_BYTES
        table = [LANE.unpack_from(image, lanes + LANE.size * i) for i in range(d["stored_lanes"])]
        yield at, d, table
        at = lanes + LANE.size * len(table) + 8 * d["config_words"]
    assert at == end
