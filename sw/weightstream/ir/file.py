"""Write networks to bytes, and read them: the `.ws` file of docs/format.md.

Nothing in a file is executed. Reading takes the graph and the side information apart; streams stay where they
are in the file's bytes until a layer is decoded.
"""

import math
import zlib
from dataclasses import dataclass

import numpy as np

from ..codec.matrix import MAX_KERNEL, CodedMatrix, Geometry
from ..codec.side import read_side
from ..errors import FormatError, NetworkError, VersionError, WeightstreamError
from ..spec.container import (
    CRC_END,
    CRC_OFFSET,
    DTYPES,
    FLAG_FOUR_AXES,
    FLAG_FREE_ROWS,
    FLAG_TAPS_FIRST,
    FLAGS,
    HEADER,
    MAGIC,
    MAX_AXES,
    MAX_COLUMNS,
    MAX_LANE_WORDS,
    MAX_ROWS,
    OP_DENSE,
    OP_MATRIX,
    OP_SOFTMAX,
    STREAM_ALIGNMENT,
    VERSION,
    file_bytes_for,
    weight_limit,
)
from ..spec.layout import MAX_LANES, MAX_SLOTS, Layout, Sharing, StreamPlan
from .fields import FieldReader, FieldWriter
from .network import Linear, Matrix, Network, Softmax, Tensor
from .records import pack_records, read_record_head, unpack_records, write_record_head

_ANY = (1 << 63) - 1
#: Much more than networks have; each takes a hundred times the memory of its bytes in the file.
_MAX_NODES = 4096
_MAX_TENSORS = 2 * _MAX_NODES
#: Values of a tensor that can be counted and held at all.
_MAX_VALUES = (1 << 31) - 1


# ---- writing -------------------------------------------------------------------------------------


def write_network(network: Network) -> bytes:
    """Return a network, all of whose matrices are coded, as the bytes of a file.

    Raises
    ------
    NetworkError
        The format cannot hold the network: a name, number or shape is beyond its limits.
    """
    data = _write(network)
    try:
        read_network(data)
    except FormatError as error:
        raise NetworkError(f"the network cannot be written: {error}") from error
    return data


def _write(network: Network) -> bytes:
    graph = FieldWriter()
    blobs: list[tuple[list[bytes], CodedMatrix]] = []
    names = [tensor.name for tensor in network.tensors]
    graph.number(len(names))
    for tensor in network.tensors:
        _write_tensor(graph, tensor)
    for group in (network.inputs, network.outputs):
        graph.number(len(group))
        for name in group:
            graph.number(names.index(name))
    graph.number(len(network.nodes))
    weights = 0
    for node in network.nodes:
        sections = []
        if isinstance(node, Matrix):
            graph.number(OP_MATRIX)
            graph.name(node.name)
            coded = node.coded
        elif isinstance(node, Softmax):
            graph.number(OP_SOFTMAX)
            graph.name(node.name)
            graph.number(names.index(node.input))
            graph.number(names.index(node.output))
            continue
        else:
            graph.number(OP_DENSE)
            graph.name(node.name)
            graph.number(names.index(node.input))
            graph.number(names.index(node.output))
            if node.coded is None:
                raise ValueError(f"node {node.name!r} must be coded before it is written")
            coded = node.coded
            records = pack_records(node.activation)
            write_record_head(graph, node.activation)
            graph.number(len(records))
            sections.append(records)
        _write_matrix(graph, coded)
        blobs.append(([*sections, coded.side, coded.key_data], coded))
        weights += (coded.geometry.rows + 1) * (coded.geometry.columns + 1)
    return _assemble(bytes(graph.data), blobs, weights)


def _assemble(graph: bytes, blobs: list[tuple[list[bytes], CodedMatrix]], weights: int) -> bytes:
    body = bytearray(HEADER.size) + graph
    for sections, coded in blobs:
        for section in sections:
            body += section
        if any(len(words) for words in coded.lanes):
            body += bytes(-len(body) % STREAM_ALIGNMENT)
        for words in coded.lanes:
            body += words.astype("<u2").tobytes()
    body += bytes(max(0, file_bytes_for(weights) - len(body)))
    body[: HEADER.size] = HEADER.pack(MAGIC, VERSION, 0, len(body), 0, len(graph))
    crc = zlib.crc32(body[CRC_END:], zlib.crc32(body[:CRC_OFFSET]))
    body[: HEADER.size] = HEADER.pack(MAGIC, VERSION, 0, len(body), crc, len(graph))
    return bytes(body)


def _write_tensor(graph: FieldWriter, tensor: Tensor) -> None:
    graph.name(tensor.name)
    graph.number(DTYPES.index(tensor.dtype))
    graph.number(len(tensor.shape))
    for n in tensor.shape:
        graph.number(n)
    if tensor.dtype != "float32":
        graph.real(tensor.scale)
        graph.signed(tensor.zero_point)


def _write_matrix(graph: FieldWriter, coded: CodedMatrix) -> None:
    geometry, sharing = coded.geometry, coded.sharing
    for n in (geometry.rows, geometry.channels, *geometry.kernel):
        graph.number(n)
    flags = geometry.taps_first * FLAG_TAPS_FIRST | geometry.four_axes * FLAG_FOUR_AXES
    graph.number(flags | coded.free_rows * FLAG_FREE_ROWS)
    for n in (coded.layout.lanes, coded.layout.slots):
        graph.number(n)
    for n in (sharing.clone_slots, sharing.clone_groups, sharing.split_slots, sharing.split_groups):
        graph.number(n)
    graph.number(len(coded.side))
    graph.number(len(coded.key_data))
    before = 0
    for words in coded.lanes:
        graph.signed(len(words) - before)
        before = len(words)


# ---- reading -------------------------------------------------------------------------------------


def read_network(data: bytes) -> Network:
    """Return the network that a file holds.

    Raises
    ------
    VersionError
        The file is of another version.
    FormatError
        It is no weightstream file, truncated, or corrupt.
    """
    graph, body = _open(data)
    budget = _Budget(data, body)
    tensors = tuple(_read_tensor(graph) for _ in range(graph.number("the number of tensors", _MAX_TENSORS)))
    inputs, outputs = (_read_names(graph, tensors) for _ in range(2))
    nodes = []
    for _ in range(graph.number("the number of nodes", _MAX_NODES)):
        op = graph.number("an operator", OP_SOFTMAX)
        name = graph.name()
        if op == OP_MATRIX:
            nodes.append(Matrix(name=name, coded=_read_matrix(graph, budget)))
            continue
        source, target = _read_known(graph, tensors), _read_known(graph, tensors)
        if op == OP_SOFTMAX:
            if target.dtype != "float32" or target.shape != source.shape:
                raise FormatError(
                    f"softmax {name!r} must write float32 of its input's shape: the file is corrupt"
                )
            nodes.append(Softmax(name=name, input=source.name, output=target.name))
            continue
        head = read_record_head(graph)
        records = budget.take(graph.number("the length of row records", len(data)))
        coded = _read_matrix(graph, budget)
        activation = unpack_records(head, records, coded.geometry.rows)
        if not target.low <= min(head.outputs) <= max(head.outputs) <= target.high:
            raise FormatError(f"node {name!r} has outputs beyond {target.dtype}: the file is corrupt")
        nodes.append(
            Linear(
                name=name,
                input=source.name,
                output=target.name,
                geometry=coded.geometry,
                activation=activation,
                coded=coded,
            )
        )
    graph.finish()
    budget.finish()
    try:
        return Network(tensors=tensors, nodes=tuple(nodes), inputs=inputs, outputs=outputs)
    except FormatError:
        raise
    except WeightstreamError as error:
        raise FormatError(f"the file holds an impossible network: {error}") from error


def _open(data: bytes) -> tuple[FieldReader, int]:
    """Check header and CRC; return the graph section, and where the data behind it begin."""
    if len(data) < HEADER.size:
        raise FormatError(f"a file of {len(data)} bytes is too short for a weightstream file")
    magic, version, zero, length, crc, graph_bytes = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise FormatError(f"not a weightstream file: it begins with {magic!r}, not {MAGIC!r}")
    if version != VERSION:
        raise VersionError(f"the file is of version {version}; this program reads version {VERSION}")
    if length != len(data):
        raise FormatError(
            f"the file has {len(data)} bytes; its header says {length}: it is truncated or corrupt"
        )
    view = memoryview(data)
    if zero or zlib.crc32(view[CRC_END:], zlib.crc32(view[:CRC_OFFSET])) != crc:
        raise FormatError("the file is corrupt: its CRC does not fit")
    if graph_bytes > len(data) - HEADER.size:
        raise FormatError(f"the graph section of {graph_bytes} bytes is longer than the file")
    return FieldReader(view[HEADER.size : HEADER.size + graph_bytes]), HEADER.size + graph_bytes


@dataclass
class _Budget:
    """Hand out the sections behind the graph in order, and keep count of the weights they claim to hold."""

    data: bytes
    at: int
    weights: int = 0

    def take(self, count: int) -> memoryview:
        if count > len(self.data) - self.at:
            raise FormatError(
                f"a section of {count} bytes is longer than the rest of the file: it is corrupt"
            )
        self.at += count
        return memoryview(self.data)[self.at - count : self.at]

    def lanes(self, counts: list[int]) -> list[np.ndarray]:
        """Return the words of lanes, where they lie in the file."""
        total = sum(counts)
        start = self.at + -self.at % STREAM_ALIGNMENT if total else self.at
        if start + 2 * total > len(self.data):
            raise FormatError(f"lanes of {total} words are longer than the rest of the file: it is corrupt")
        if any(self.data[self.at : start]):
            raise FormatError("the space in front of the lanes is not zero: the file is corrupt")
        self.at = start + 2 * total
        words = np.frombuffer(self.data, "<u2", total, start)
        return np.split(words, np.cumsum(counts)[:-1])

    def claim(self, rows: int, columns: int) -> None:
        self.weights += (rows + 1) * (columns + 1)
        if self.weights > weight_limit(len(self.data)):
            raise FormatError(
                f"a file of {len(self.data)} bytes cannot hold {self.weights} weights: it is corrupt"
            )

    def finish(self) -> None:
        rest = len(self.data) - self.at
        if rest and (any(self.data[self.at :]) or len(self.data) != file_bytes_for(self.weights)):
            raise FormatError(f"{rest} bytes behind the last section: the file is corrupt")


def _read_tensor(graph: FieldReader) -> Tensor:
    name = graph.name()
    dtype = DTYPES[graph.number("a type", len(DTYPES) - 1)]
    axes = graph.number("the number of axes", MAX_AXES, 1)
    shape = tuple(graph.number("an axis", MAX_COLUMNS, 1) for _ in range(axes))
    if math.prod(shape) > _MAX_VALUES:
        raise FormatError(f"tensor {name!r} has the shape {shape}, which is too large: the file is corrupt")
    try:
        if dtype == "float32":
            return Tensor(name=name, shape=shape, dtype=dtype)
        scale = graph.real()
        zero_point = graph.signed("a zero point", -128, 255)
        return Tensor(name=name, shape=shape, dtype=dtype, scale=scale, zero_point=zero_point)
    except FormatError:
        raise
    except WeightstreamError as error:
        raise FormatError(f"the file holds an impossible tensor: {error}") from error


def _read_known(graph: FieldReader, tensors: tuple[Tensor, ...]) -> Tensor:
    if not tensors:
        raise FormatError("the file has an operator but no tensors: it is corrupt")
    return tensors[graph.number("a tensor", len(tensors) - 1)]


def _read_names(graph: FieldReader, tensors: tuple[Tensor, ...]) -> tuple[str, ...]:
    return tuple(
        _read_known(graph, tensors).name for _ in range(graph.number("a number of tensors", len(tensors)))
    )


def _read_lane_lengths(graph: FieldReader, lanes: int) -> list[int]:
    result = [0]
    for _ in range(lanes):
        result.append(result[-1] + graph.signed("the words of a lane", -result[-1], MAX_LANE_WORDS))
    return result[1:]


def _read_matrix(graph: FieldReader, budget: _Budget) -> CodedMatrix:
    rows = graph.number("rows", MAX_ROWS)
    channels = graph.number("channels", MAX_COLUMNS)
    kernel = (
        graph.number("a kernel's height", MAX_KERNEL, 1),
        graph.number("a kernel's width", MAX_KERNEL, 1),
    )
    flags = graph.number("flags", FLAGS)
    geometry = Geometry(
        rows=rows,
        channels=channels,
        kernel=kernel,
        taps_first=bool(flags & FLAG_TAPS_FIRST),
        four_axes=bool(flags & FLAG_FOUR_AXES),
    )
    if geometry.columns > MAX_COLUMNS:
        raise FormatError(
            f"a matrix of {geometry.columns} columns has more than {MAX_COLUMNS}: the file is corrupt"
        )
    budget.claim(rows, geometry.columns)
    free_rows = bool(flags & FLAG_FREE_ROWS)
    layout = Layout(graph.number("lanes", MAX_LANES, 1), graph.number("slots", MAX_SLOTS, 1))
    sharing = Sharing(
        clone_slots=graph.number("clone slots", MAX_SLOTS, 1),
        clone_groups=graph.number("clone groups", MAX_LANES, 1),
        split_slots=graph.number("split slots", MAX_SLOTS, 1),
        split_groups=graph.number("split groups", MAX_LANES, 1),
    )
    try:
        lanes = StreamPlan(rows, 0, layout, sharing).lanes
    except WeightstreamError as error:
        raise FormatError(f"the file holds an impossible layout: {error}") from error
    side = budget.take(graph.number("the length of side information", _ANY))
    # A Rice code has up to 16 bits, and ones, which in a class are less than 2**15 and one a row.
    keys = bytes(budget.take(graph.number("the length of keys", 3 * rows + (1 << 16))))
    words = budget.lanes(_read_lane_lengths(graph, lanes))
    taps = kernel[0] * kernel[1]
    read = read_side(side, rows, geometry.columns, sharing.parts, taps, free_rows)
    return CodedMatrix(
        geometry=geometry,
        free_rows=free_rows,
        palette=read.palette,
        contexts=read.contexts,
        fitted=read.fitted,
        row_class=read.row_class,
        key_codes=read.key_codes,
        key_data=keys,
        layout=layout,
        sharing=sharing,
        lanes=words,
        stored_side=bytes(side),
    )
