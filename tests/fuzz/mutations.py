"""Files that no encoder writes, made from a few good ones: always the same from the same seed."""

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from weightstream.codec.contexts import ContextModel
from weightstream.codec.frequencies import Table
from weightstream.codec.keys import KeyCode, encode_keys
from weightstream.codec.matrix import CodedMatrix, Geometry
from weightstream.codec.palette import Palette, grouped_palette, window_palette
from weightstream.ir import file
from weightstream.ir.fields import FieldReader, FieldWriter
from weightstream.ir.network import Linear, Matrix, Network
from weightstream.ir.records import pack_records
from weightstream.spec.container import CRC_END, CRC_OFFSET, HEADER, STREAM_ALIGNMENT
from weightstream.spec.layout import Layout, Sharing

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
#: Numbers of whatever a field means: too small, too large, just within the limits, beyond 64 bits.
LIES = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    15,
    16,
    17,
    63,
    64,
    65,
    127,
    128,
    255,
    256,
    1000,
    4095,
    4096,
    1 << 15,
    65535,
    65536,
]
LIES += [(1 << n) + d for n in (18, 20, 21, 22, 24, 31, 32, 40, 52, 62, 63, 64, 69) for d in (-1, 0, 1)]
#: Fields that say how many bytes or words a section has, or would.
LENGTHS = {
    "records": "the length of row records",
    "side": "the length of side information",
    "keys": "the length of keys",
}


# ---- a file taken apart --------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A good file: its graph section, where numbers stand in it, and the sections behind it."""

    graph: bytes
    #: Of each number: what it is, and its bytes from where to where.
    numbers: list[tuple[str, int, int]]
    #: Kind (records, side, keys or lanes) and bytes of each section.
    sections: list[tuple[str, bytes]]


class _Places(FieldReader):
    """Note where numbers stand."""

    def __init__(self, data):
        super().__init__(data)
        self.graph = bytes(data)
        self.numbers = []
        _Places.latest = self

    def number(self, what, limit, least=0):
        start = self._at
        value = super().number(what, limit, least)
        self.numbers.append((what, start, self._at))
        return value


def take_apart(data: bytes) -> Sample:
    """Return the parts of a good file; `assemble` puts them together again."""
    with mock.patch.object(file, "FieldReader", _Places):
        network = file.read_network(data)
    sections = []
    for node in network.nodes:
        if isinstance(node, Linear):
            sections.append(("records", pack_records(node.activation)))
        if isinstance(node, Linear | Matrix):
            coded = node.coded
            sections += [("side", bytes(coded.side)), ("keys", bytes(coded.key_data))]
            sections.append(("lanes", b"".join(words.tobytes() for words in coded.lanes)))
    sample = Sample(_Places.latest.graph, _Places.latest.numbers, sections)
    assert assemble(sample.graph, sample.sections) == data
    return sample


def assemble(graph: bytes, sections: list[tuple[str, bytes]]) -> bytes:
    """Return a file with a header that fits."""
    body = bytearray(HEADER.size) + graph
    for kind, data in sections:
        if kind == "lanes" and data:
            body += bytes(-len(body) % STREAM_ALIGNMENT)
        body += data
    body[: HEADER.size] = HEADER.pack(file.MAGIC, file.VERSION, 0, len(body), 0, len(graph))
    return seal(bytes(body))


def seal(data: bytes) -> bytes:
    """Return a file with the CRC, and the length, that fit the rest."""
    data = data[:8] + struct.pack("<Q", len(data)) + data[16:]
    crc = zlib.crc32(data[CRC_END:], zlib.crc32(data[:CRC_OFFSET]))
    return data[:CRC_OFFSET] + struct.pack("<I", crc) + data[CRC_END:]


def good_files() -> dict[str, bytes]:
    """Return the frozen files by name."""
    return {path.stem: path.read_bytes() for path in sorted(VECTORS.glob("*.ws"))}


def good_samples() -> list[Sample]:
    """Return the frozen files, taken apart; networks more than once, for there is more to get wrong."""
    samples = [take_apart(data) for data in good_files().values()]
    return samples + 2 * [
        sample for sample in samples if any(kind == "records" for kind, _ in sample.sections)
    ]


# ---- mutations of bytes --------------------------------------------------------------------------


def _edit(rng: random.Random, data: bytes, same_length: bool = False) -> bytes:
    """Change a few bytes somewhere."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        way = rng.randrange(3 if same_length else 6)
        if way < 2 and at < len(data):
            data[at] ^= 1 << rng.randrange(8) if way else rng.randrange(1, 256)
        elif way == 2:
            run = min(len(data) - at, rng.choice((1, 2, 4, 9, 40)))
            data[at : at + run] = bytes([rng.choice((0, 255, 128))]) * run
        elif way == 3:
            data[at:at] = rng.randbytes(rng.choice((1, 1, 2, 9)))
        elif way == 4:
            del data[at : at + rng.choice((1, 1, 2, 9, 1000))]
        elif way == 5:
            data[at:at] = b"\xff" * 9 + b"\x7f"
    return bytes(data)


def flip(rng: random.Random, samples: list[Sample]) -> bytes:
    """Damage a file on its way: the CRC tells."""
    sample = rng.choice(samples)
    return _edit(rng, assemble(sample.graph, sample.sections))


def cut(rng: random.Random, samples: list[Sample]) -> bytes:
    """Cut a file short, or put bytes behind it, with a header that fits."""
    sample = rng.choice(samples)
    data = assemble(sample.graph, sample.sections)
    if rng.randrange(4):
        return seal(data[: rng.randrange(HEADER.size, len(data))])
    return seal(data + rng.choice((bytes, rng.randbytes))(rng.randrange(1, 9)))


def noise(rng: random.Random, samples: list[Sample]) -> bytes:
    """Put random bytes behind a good header, or in its place."""
    body = rng.randbytes(rng.choice((0, 1, 5, 20, 100, 1000)))
    if not rng.randrange(8):
        return body
    graph = rng.choice((len(body), rng.randrange(len(body) + 1)))
    return seal(HEADER.pack(file.MAGIC, file.VERSION, 0, 0, 0, graph) + body)


def header(rng: random.Random, samples: list[Sample]) -> bytes:
    """Put lies into the header."""
    sample = rng.choice(samples)
    data = assemble(sample.graph, sample.sections)
    fields = [file.MAGIC, file.VERSION, 0, len(data), HEADER.unpack_from(data)[4], len(sample.graph)]
    which = rng.randrange(6)
    fields[which] = (
        rng.randbytes(4) if not which else rng.choice(LIES) % (1 << (16, 16, 16, 64, 32, 32)[which])
    )
    altered = HEADER.pack(*fields) + data[HEADER.size :]
    return seal(altered) if which in (1, 2, 5) else altered


# ---- mutations of parts --------------------------------------------------------------------------


def _lie(rng: random.Random, value: int) -> bytes:
    """Return another number in a number's place."""
    way = rng.randrange(12)
    if way == 0:
        return b"\xff" * rng.choice((8, 9, 10, 11)) + b"\x7f"
    writer = FieldWriter()
    if way < 6:
        value = max(0, value + rng.choice((-2, -1, 1, 2, value, 7 * value)))
    elif way < 11:
        value = rng.choice(LIES)
    writer.number(value)
    if way == 11:
        # The same number, longer.
        writer.data[-1] |= 0x80
        writer.data += b"\0"
    return bytes(writer.data)


def _value(data: bytes) -> int:
    return sum((byte & 0x7F) << 7 * i for i, byte in enumerate(data))


def fields(rng: random.Random, samples: list[Sample]) -> bytes:
    """Put lies into the numbers of the graph section."""
    sample = rng.choice(samples)
    graph = bytearray(sample.graph)
    chosen = rng.sample(sample.numbers, min(len(sample.numbers), rng.choice((1, 1, 1, 2, 3))))
    for _, start, end in sorted(chosen, key=lambda place: -place[1]):
        graph[start:end] = _lie(rng, _value(sample.graph[start:end]))
    return assemble(bytes(graph), sample.sections)


def graph(rng: random.Random, samples: list[Sample]) -> bytes:
    """Change bytes of the graph section."""
    sample = rng.choice(samples)
    return assemble(_edit(rng, sample.graph), sample.sections)


def sections(rng: random.Random, samples: list[Sample]) -> bytes:
    """Change bytes of the sections, which keep their lengths."""
    sample = rng.choice(samples)
    changed = list(sample.sections)
    for _ in range(rng.choice((1, 1, 2))):
        which = rng.randrange(len(changed))
        kind, data = changed[which]
        changed[which] = kind, _edit(rng, data, same_length=True)
    return assemble(sample.graph, changed)


def lengths(rng: random.Random, samples: list[Sample]) -> bytes:
    """Give a section more or less bytes, or those of another file, and say so in the graph section."""
    sample = rng.choice(samples)
    which = rng.choice([i for i, (kind, _) in enumerate(sample.sections) if kind in LENGTHS])
    kind, data = sample.sections[which]
    others = [other for s in samples for k, other in s.sections if k == kind]
    data = rng.choice((_edit(rng, data), rng.choice(others), rng.randbytes(rng.randrange(60)), data + b"\0"))
    changed = list(sample.sections)
    changed[which] = kind, data
    nth = sum(k == kind for k, _ in sample.sections[:which])
    _, start, end = [place for place in sample.numbers if place[0] == LENGTHS[kind]][nth]
    writer = FieldWriter()
    writer.number(len(data))
    return assemble(sample.graph[:start] + bytes(writer.data) + sample.graph[end:], changed)


# ---- side information that no search finds -------------------------------------------------------


def _wild_palette(rng: random.Random) -> Palette:
    kind = rng.randrange(3)
    if kind == 2:
        first = rng.choice((0, 0, 3, 15))
        values = np.zeros((rng.randint(1, 4), 16, rng.randint(1, 8)), np.int8)
        for index in np.ndindex(values.shape):
            if index[1] >= first:
                values[index] = rng.randint(-128, 127)
        return Palette(values, first)
    levels = np.array(sorted(rng.sample(range(-128, 128), rng.randint(1, 16))))
    if kind:
        return window_palette(levels)
    return grouped_palette(levels, rng.choice([g for g in range(1, 9) if len(levels) ** g <= 16]))


def _wild_classes(rng: random.Random, classes: int, length: int) -> np.ndarray:
    """Return a map in which the highest class occurs."""
    result = [rng.randrange(classes) for _ in range(length)]
    result[rng.randrange(length)] = classes - 1
    return np.array(result, np.uint8)


def _wild_contexts(rng: random.Random, groups: int, passes: int) -> ContextModel:
    if not rng.randrange(4):
        return ContextModel()
    bits = [rng.choice((0, 0, 1, 2, 4)), 4, rng.choice((0, 0, 1, 2, 4)), rng.choice((0, 0, 1, 2, 4))]
    if sum(bits) > 12:
        bits[rng.choice((0, 2, 3))] = 0
    rows, _, previous, back = (rng.randint((1 << b >> 1) + 1, 1 << b) if b else 1 for b in bits)
    period = rng.choice((1, groups, rng.randint(1, max(groups, 1))))
    columns = rng.randint(1, 16 // passes) if period > 1 else 1
    column_map = _wild_classes(rng, columns, period) if columns > 1 else np.zeros(1, np.uint8)
    maps = [_wild_classes(rng, n, 16) for n in (previous, back)]
    tables: list[int] = []
    for _ in range(rows * columns * passes * previous * back):
        tables.append(rng.randrange(min(64, max(tables, default=-1) + 2)))
    if not any(tables):
        return ContextModel()
    return ContextModel(
        row_classes=rows,
        columns=(column_map[:, None] * passes + np.arange(passes)).reshape(-1).astype(np.uint8),
        previous=maps[0],
        back=maps[1],
        distance=rng.randint(1, 16) if back > 1 else 1,
        tables=np.array(tables, np.uint8).reshape(rows, columns * passes, previous, back),
    )


def _wild_table(rng: random.Random, first: int) -> Table:
    precision = rng.randint(1, 8)
    top = 1 << precision
    levels = [0] * first + [rng.choice((0, 0, 1, top, rng.randint(0, top))) for _ in range(16 - first)]
    if not any(levels):
        levels[rng.randint(first, 15)] = 1
    return Table(precision, tuple(levels))


def _divisor(rng: random.Random, n: int) -> int:
    return rng.choice([d for d in range(1, n + 1) if n % d == 0])


def wild(rng: random.Random, samples: list[Sample]) -> bytes:
    """Code any side information in front of any keys and words."""
    palette = _wild_palette(rng)
    kernel = rng.choice(((1, 1), (1, 1), (3, 1), (2, 2)))
    geometry = Geometry(
        rows=rng.choice((0, 1, 2, rng.randint(3, 40))),
        channels=rng.choice((0, 1, 2, rng.randint(3, 60))),
        kernel=kernel,
        taps_first=bool(rng.randrange(2)),
        four_axes=bool(rng.randrange(2)),
    )
    layout = Layout(rng.choice((1, 1, 2, 4, 6)), rng.choice((1, 1, 3, 8, 12, 33)))
    clone_slots, clone_groups = _divisor(rng, layout.slots), _divisor(rng, layout.lanes)
    sharing = Sharing(
        clone_slots=clone_slots,
        clone_groups=clone_groups,
        split_slots=_divisor(rng, layout.slots // clone_slots),
        split_groups=_divisor(rng, layout.lanes // clone_groups),
    )
    groups = -(-palette.row_symbols(geometry.columns) // (palette.passes * sharing.parts))
    contexts = _wild_contexts(rng, groups, palette.passes)
    free_rows = bool(rng.randrange(2))
    row_class = np.array([rng.randrange(contexts.row_classes) for _ in range(geometry.rows)], np.uint8)
    if free_rows:
        row_class.sort()
    class_rows = np.bincount(row_class, minlength=contexts.row_classes).tolist()
    key_codes, key_data = [KeyCode(0)] * contexts.row_classes, b""
    if free_rows:
        bits = [rng.choice((0, 1, rng.randint(1, 15))) for _ in class_rows]
        keys = [
            sorted(rng.randrange(1 << k) for _ in range(n)) for k, n in zip(bits, class_rows, strict=True)
        ]
        key_codes, key_data = encode_keys(np.array(sum(keys, []), np.uint16), bits, class_rows)
        if not rng.randrange(4):
            key_codes = [KeyCode(k, rng.randrange(16), rng.randrange(2)) if k else KeyCode(0) for k in bits]
            key_data = rng.randbytes(rng.randrange(3 * geometry.rows + 2))
    lanes = layout.lanes // clone_groups
    size = rng.choice((0, 1, 4, geometry.rows, geometry.rows * geometry.columns // 8))
    words = np.frombuffer(rng.randbytes(2 * lanes * size), np.uint16) * rng.choice((0, 1, 1))
    coded = CodedMatrix(
        geometry=geometry,
        free_rows=free_rows,
        palette=palette,
        contexts=contexts,
        fitted=[(_wild_table(rng, palette.first), rng.randrange(2), 0) for _ in range(contexts.table_count)],
        row_class=row_class,
        key_codes=key_codes,
        key_data=key_data,
        layout=layout,
        sharing=sharing,
        lanes=np.split(words, lanes),
    )
    return file._write(Network(tensors=(), nodes=(Matrix(name="", coded=coded),), inputs=(), outputs=()))


# ---- all of them ---------------------------------------------------------------------------------

#: Each with how often it is chosen.
MUTATIONS: dict[Callable[[random.Random, list[Sample]], bytes], int] = {
    flip: 2,
    cut: 2,
    noise: 1,
    header: 1,
    fields: 8,
    graph: 5,
    sections: 12,
    lengths: 5,
    wild: 10,
}


def mutated(seed: int, number: int, samples: list[Sample]) -> tuple[str, bytes]:
    """Return file `number` of a seed, and the name of what was done to it."""
    rng = random.Random(f"{seed}/{number}")
    (mutation,) = rng.choices(list(MUTATIONS), list(MUTATIONS.values()))
    return mutation.__name__, mutation(rng, samples)
