"""Write the frozen files of tests/vectors; print their digests, and the tables of docs/format.md.

To be run after a change of the format, which takes a new version: ``python tests/make_vectors.py``. The
inputs are made of integers alone, so that they are the same on every machine.
"""

import hashlib
import struct
from pathlib import Path
from unittest import mock

import numpy as np

import format_reader
import format_side
import format_streams
from weightstream import Layout, encode_matrix
from weightstream.codec.matrix import Geometry, check_weights, code_matrix, code_symbols
from weightstream.codec.palette import Palette
from weightstream.ir.canonical import code_network
from weightstream.ir.file import write_network
from weightstream.ir.network import Linear, Matrix, Network, Requantise, Softmax, Tensor, Thresholds
from weightstream.spec.layout import Sharing

HERE = Path(__file__).resolve().parent
EXAMPLE = [[2, 0, -1, 0], [0, 0, 1, 0], [1, 2, 0, -1], [0, -1, 0, -2], [0, 1, 0, 0], [0, 0, -1, 1]]


def digest(matrices):
    """Return the SHA-256 of the weights of matrices, lists of rows, as int16."""
    rows = [row for weights in matrices for row in weights]
    return hashlib.sha256(b"".join(struct.pack(f"<{len(row)}h", *row) for row in rows)).hexdigest()


# ---- inputs --------------------------------------------------------------------------------------


def uniform(seed, *shape):
    """Return integers in [0, 2**16), from a linear congruential generator."""
    state, values = seed, []
    for _ in range(int(np.prod(shape))):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append(state >> 48)
    return np.array(values, np.int64).reshape(shape)


def bell(seed, *shape):
    """Return integers around 0 with a standard deviation of about 37800: sums of four uniform ones."""
    return uniform(seed, *shape, 4).sum(axis=-1) - 2 * 0xFFFF


def weights_of(values, scale, low, high):
    """Return values / scale, rounded and clipped, int8."""
    return np.clip((2 * values + scale) // (2 * scale), low, high).astype(np.int8)


def structured(seed, rows, columns, period):
    """Return int4 weights whose spread differs from row to row, and almost periodically between columns."""
    wide = np.resize(1 + 5 * (np.arange(period) % 3 == 0), columns)
    wide[uniform(seed, 3) % columns] = 6
    strong = 1 + 2 * (uniform(seed + 1, rows, 1) % 2)
    return weights_of(bell(seed + 2, rows, columns) * wide * strong, 65536, -8, 7)


def smooth_kernels(seed, rows, channels):
    """Return int4 weights (rows, channels, 3, 3) in which neighbouring taps are alike."""
    taps = bell(seed, rows, channels, 3, 3)
    return weights_of(taps.cumsum(axis=2).cumsum(axis=3), 50000, -8, 7)


def ternary(seed, rows, columns):
    """Return weights of -1, 0, 1, sparse in half of the columns."""
    values = uniform(seed, rows, columns) % 12
    limit = np.where(np.arange(columns) % 2, 3, 1)
    return ((values < limit) - 1 * (values >= 12 - limit)).astype(np.int8)


def dense(seed, name, source, target, activation, scale=30000, low=-7):
    """Return a dense layer."""
    weights = weights_of(bell(seed, target.size, source.size), scale, low, -low)
    geometry = Geometry(rows=target.size, channels=source.size)
    return Linear(
        name=name,
        input=source.name,
        output=target.name,
        geometry=geometry,
        activation=activation,
        weights=weights,
    )


def requantise(seed, rows, shift, **constants):
    """Return an activation with a bias, a multiplier and a shift for each row."""
    return Requantise(
        bias=(bell(seed, rows) >> 36 - shift).astype(np.int32),
        multiplier=(1 << 23 | uniform(seed + 1, rows) << 6).astype(np.int32),
        shift=(shift + uniform(seed + 2, rows) % 3).astype(np.uint8),
        **constants,
    )


def network():
    """Return a network that is not coded yet: two free layers, one with names, and a softmax."""
    x = Tensor(name="x", shape=(1, 8, 10), scale=0.0625)
    a = Tensor(name="a", shape=(12,), scale=0.125)
    b = Tensor(name="b", shape=(16,), dtype="int8", scale=0.5)
    c = Tensor(name="logits", shape=(10,), dtype="int8", scale=0.25, zero_point=-3)
    p = Tensor(name="probabilities", shape=(10,), dtype="float32")
    steps = np.sort(bell(7, 16, 3) // 128, axis=1).astype(np.int32)
    nodes = (
        dense(1, "first", x, a, requantise(2, 12, 28, zero_point=0, low=0, high=255)),
        dense(5, "steps", a, b, Thresholds(values=steps, base=1, step=-1), 60000, -1),
        dense(9, "last", b, c, requantise(10, 10, 22, zero_point=-3, low=-128, high=127, rounding="up")),
        Softmax(name="softmax", input="logits", output="probabilities"),
    )
    return Network(tensors=(x, a, b, c, p), nodes=nodes, inputs=("x",), outputs=("probabilities",))


# ---- files ---------------------------------------------------------------------------------------


def matrix_file(coded):
    """Return the file of one coded matrix."""
    return write_network(Network(tensors=(), nodes=(Matrix(name="", coded=coded),), inputs=(), outputs=()))


def lanes_and_parts():
    """Return a file with rows cut into four parts, in groups of lanes and in slots."""
    weights = structured(60, 20, 44, 44)
    sharing = Sharing(split_slots=2, split_groups=2)
    return matrix_file(code_matrix(weights, check_weights(weights), layout=Layout(4, 8), sharing=sharing)[0])


def additive():
    """Return a file with a palette of two passes of groups of three, cloned streams, and the taps first."""
    palette = Palette(weights_of(bell(70, 2, 16, 3), 2000, -128, 127), 0)
    symbols = (bell(71, 18, 24) // 16384 + 8).clip(0, 15).astype(np.uint8)
    geometry = Geometry(rows=18, channels=7, kernel=(1, 5), taps_first=True, four_axes=True)
    sharing = Sharing(clone_slots=2, clone_groups=2)
    return matrix_file(code_symbols(symbols, geometry, palette, layout=Layout(4, 4), sharing=sharing)[0])


#: What is in tests/vectors: each name with what makes its bytes.
VECTORS = {
    "binary_quads": lambda: encode_matrix(np.where(uniform(10, 24, 42) % 3, 1, -1))[0],
    "ternary_pairs": lambda: encode_matrix(ternary(20, 150, 9))[0],
    "int4_contexts": lambda: encode_matrix(structured(30, 48, 40, 7), layout=Layout(2, 4))[0],
    "int8": lambda: encode_matrix(weights_of(bell(40, 16, 24), 1200, -128, 127))[0],
    "convolution": lambda: encode_matrix(smooth_kernels(50, 16, 6))[0],
    "named_rows": lambda: encode_matrix(structured(55, 60, 40, 5), free_rows=False)[0],
    "lanes_and_parts": lanes_and_parts,
    "additive": additive,
    "network": lambda: write_network(code_network(network(), Layout(8, 4))),
}


# ---- the worked example --------------------------------------------------------------------------


class _Side(format_side.SideReader):
    """Note each value of the side information, with its decisions."""

    notes: list[str]
    decisions = None

    def split(self, bound):
        bit = super().split(bound)
        self.decisions += str(bit)
        return bit

    def _note(self, method, label, *arguments):
        if self.decisions is not None:
            return getattr(super(), method)(*arguments)
        self.decisions = ""
        value = getattr(super(), method)(*arguments)
        self.notes.append(f"{label:<16}{self.decisions:<10}{value:>4}")
        self.decisions = None
        return value

    def raw(self, count):
        return self._note("raw", f"raw({count})", count)

    def choice(self, context, count):
        return self._note("choice", context, context, count)

    def number(self, context):
        return self._note("number", context, context)

    def signed(self, context):
        return self._note("signed", "{}[{}][{}]".format(*context), context)

    def decide(self, *context):
        return self._note("decide", context[0], *context)


class _Slot(format_streams.Slot):
    """Note how each symbol is found."""

    notes: list[str]

    def start(self, row_class, key, k):
        super().start(row_class, key, k)
        self.notes.append(f"row with key {key}")

    def decode(self):
        V, R, held = self.V, self.R, self.held
        super().decode()
        s, cum = self.symbols[-1], self.m.cum[0]
        lo, hi, weight = R * cum[s] >> 14, R * cum[s + 1] >> 14, self.m.palette[0][s][0]
        columns = (
            f"{V:6}",
            f"{R:6}",
            f"{held:4}",
            f"{s:4}",
            f"{lo:6}",
            f"{hi:6}",
            f"{16 - (hi - lo).bit_length():3}",
        )
        self.notes.append("".join(columns) + f"{weight:5}")


def example():
    """Return the file of the worked example, and the lines of its two tables."""
    data, _ = encode_matrix(np.array(EXAMPLE))
    _Side.notes, _Slot.notes = [], []
    with (
        mock.patch.object(format_side, "SideReader", _Side),
        mock.patch.object(format_streams, "Slot", _Slot),
    ):
        format_reader.read(data)
    return data, _Side.notes, _Slot.notes


def main():
    """Write the files; print the tables of the example."""
    for name, make in VECTORS.items():
        data = make()
        (HERE / "vectors" / f"{name}.ws").write_bytes(data)
        weights = [m["weights"] for m in format_reader.read(data)["matrices"]]
        print(f'    "{name}": "{digest(weights)}",  # {len(data)} bytes')
    data, side, symbols = example()
    print(data.hex(" "), *side, *symbols, sep="\n")


if __name__ == "__main__":
    main()
