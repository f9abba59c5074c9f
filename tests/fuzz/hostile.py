"""Small files that are as their format wants, and ask for all the memory and time that it allows."""

from collections.abc import Callable

import numpy as np

from weightstream.codec.contexts import ContextModel
from weightstream.codec.frequencies import Table
from weightstream.codec.keys import KeyCode
from weightstream.codec.matrix import CodedMatrix, Geometry
from weightstream.codec.palette import Palette
from weightstream.ir import file
from weightstream.ir.network import Linear, Matrix, Network, Requantise, Softmax, Tensor, Thresholds
from weightstream.spec.container import MAX_COLUMNS, MAX_ROWS
from weightstream.spec.layout import Layout, Sharing

MANY = Layout(64, 64)
#: All weights are 1, whatever the symbols are.
ONES = Palette(np.ones((1, 16, 1), np.int8), 0)
#: Sums of four passes, which need 16 bits; of single weights and of groups of 8.
PASSES = Palette(np.arange(-32, 32, dtype=np.int8).reshape(4, 16, 1) * np.int8(3), 0)
GROUPS = Palette(np.repeat(PASSES.values, 8, axis=2), 0)
SIXTEEN = np.arange(16, dtype=np.uint8)


def coded(rows: int, columns: int, palette: Palette = ONES, **changed) -> CodedMatrix:
    """Return a matrix without words: streams read as zeros, and decode to the first symbol."""
    contexts = changed.get("contexts", ContextModel())
    layout, sharing = changed.get("layout", MANY), changed.get("sharing", Sharing())
    parts = {
        "geometry": Geometry(rows=rows, channels=columns),
        "free_rows": "key_data" in changed,
        "palette": palette,
        "contexts": contexts,
        "fitted": [(Table(1, (1,) * 16), 0, 0)] * contexts.table_count,
        "row_class": np.zeros(rows, np.uint8),
        "key_codes": [KeyCode(0)] * contexts.row_classes,
        "key_data": b"",
        "layout": layout,
        "sharing": sharing,
        "lanes": [np.zeros(0, np.uint16)] * (layout.lanes // sharing.clone_groups),
    }
    return CodedMatrix(**(parts | changed))


def matrices(*group: CodedMatrix) -> bytes:
    """Return a file of matrices, whatever is in them."""
    nodes = tuple(Matrix(name=str(i), coded=one) for i, one in enumerate(group))
    return file._write(Network(tensors=(), nodes=nodes, inputs=(), outputs=()))


def layer(one: CodedMatrix, activation: Requantise | Thresholds | None = None) -> bytes:
    """Return a file of a network of one layer."""
    rows = one.geometry.rows
    constant = np.ones(rows, np.int32)
    activation = activation or Requantise(
        bias=constant,
        multiplier=constant,
        shift=constant.astype(np.uint8),
        zero_point=0,
        low=0,
        high=255,
    )
    x, y = Tensor(name="x", shape=(one.geometry.columns,)), Tensor(name="y", shape=(rows,))
    node = Linear(name="n", input="x", output="y", geometry=one.geometry, activation=activation, coded=one)
    return file._write(Network(tensors=(x, y), nodes=(node,), inputs=("x",), outputs=("y",)))


def thresholds(varied: bool) -> bytes:
    """Return a layer of many rows with as many thresholds as can be; equal ones take no bytes of the file."""
    values = np.zeros((MAX_ROWS // 2, 15), np.int32)
    values[::2] += varied
    return layer(coded(len(values), 1), Thresholds(values=values, base=0))


def row_classes(rows: int, columns: int) -> bytes:
    """Return rows whose classes are told one by one."""
    contexts = ContextModel(row_classes=16, tables=SIXTEEN.reshape(16, 1, 1, 1))
    return matrices(coded(rows, columns, contexts=contexts, row_class=np.resize(SIXTEEN, rows)))


def column_classes(columns: int, palette: Palette) -> bytes:
    """Return columns whose classes are told one by one."""
    passes = palette.passes
    groups = (np.arange(columns) * 7919 >> 3) % (16 // passes)
    classes = (groups[:, None] * passes + np.arange(passes)).reshape(-1)
    contexts = ContextModel(columns=classes.astype(np.uint8), tables=SIXTEEN.reshape(1, 16, 1, 1))
    return layer(coded(3, columns, palette, contexts=contexts, layout=Layout(64, 1)))


def keys(rice: int, data: bytes) -> bytes:
    """Return as many rows with keys as can be."""
    return matrices(coded(MAX_ROWS, 1, key_codes=[KeyCode(15, rice)], key_data=data))


def split(rows: int, columns: int) -> bytes:
    """Return rows in so many parts that each has a weight or two."""
    return layer(coded(rows, columns, sharing=Sharing(split_slots=64, split_groups=64)))


def chain(count: int) -> bytes:
    """Return a network of `count` operators, which have the shortest bytes."""
    shape = {"shape": (1,), "dtype": "float32"}
    tensors = tuple(Tensor(name=str(i), **shape) for i in range(count + 1))
    nodes = tuple(Softmax(name=str(i), input=str(i), output=str(i + 1)) for i in range(count))
    return file._write(Network(tensors=tensors, nodes=nodes, inputs=("0",), outputs=(str(count),)))


#: Outcome that is expected, and the file.
FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "equal-thresholds": ("decoded", lambda: thresholds(False)),
    "thresholds": ("decoded", lambda: thresholds(True)),
    "rows": ("decoded", lambda: layer(coded(MAX_ROWS // 2, 1))),
    "rows-of-passes": ("decoded", lambda: matrices(coded(MAX_ROWS, 2, PASSES))),
    "rows-of-groups": ("decoded", lambda: matrices(coded(MAX_ROWS, 1, GROUPS))),
    "columns-of-passes": ("decoded", lambda: layer(coded(3, MAX_COLUMNS - 1, PASSES, layout=Layout(64, 1)))),
    "columns-of-groups": ("decoded", lambda: layer(coded(3, MAX_COLUMNS - 1, GROUPS))),
    "square": ("decoded", lambda: matrices(coded(2000, 2000, PASSES))),
    "one-stream": ("decoded", lambda: matrices(coded(MAX_ROWS, 1, layout=Layout(1, 1)))),
    "no-rows": ("decoded", lambda: matrices(coded(0, MAX_COLUMNS, GROUPS))),
    "row-classes": ("decoded", lambda: row_classes(MAX_ROWS // 8, 0)),
    "column-classes": ("decoded", lambda: column_classes(MAX_COLUMNS // 2, PASSES)),
    "parts": ("decoded", lambda: split(400, 4096)),
    "parts-and-one": ("decoded", lambda: split(200, 4097)),
    "too-many-parts": ("refused", lambda: split(900, 4095)),
    "keys": ("corrupt", lambda: keys(15, bytes(2 * MAX_ROWS))),
    "short-keys": ("corrupt", lambda: keys(0, bytes(MAX_ROWS // 8))),
    "truncated-keys": ("corrupt", lambda: keys(15, bytes(2 * MAX_ROWS - 1))),
    "ones-for-keys": ("corrupt", lambda: keys(3, b"\xff" * (3 * MAX_ROWS))),
    "too-long-keys": ("refused", lambda: keys(3, bytes(3 * MAX_ROWS + (1 << 16) + 1))),
    "matrices": ("decoded", lambda: matrices(*[coded(0, 0, layout=Layout(64, 1))] * 4096)),
    "too-many-matrices": ("refused", lambda: matrices(*[coded(0, 0)] * 4097)),
    "operators": ("decoded", lambda: chain(4096)),
    "too-many-operators": ("refused", lambda: chain(4097)),
    "too-many-rows": ("refused", lambda: matrices(coded(MAX_ROWS + 1, 0))),
    "too-many-columns": ("refused", lambda: matrices(coded(0, MAX_COLUMNS + 1))),
}
