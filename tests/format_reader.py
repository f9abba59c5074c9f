"""A reader of `.ws` files, written from docs/format.md alone: plain, slow, and independent of weightstream.

``read(data)`` returns what a file holds as dicts and lists. Here are sections 2 to 4 of the document: header,
graph, row records; in `format_side` and `format_streams` those behind.
"""

import math
import struct
import zlib
from types import SimpleNamespace

from format_bits import BadFile, Bits, OtherVersion, must
from format_streams import decode_matrix

INT32 = (-(2**31), 2**31 - 1)


def read(data):
    """Return tensors, inputs, outputs, nodes and matrices; a node's matrix is a number into the last."""
    must(len(data) >= 24 and data[:4] == b"WSTM", "not a weightstream file")
    version, zero, length, crc, graph_bytes = struct.unpack("<HHQII", data[4:24])
    if version != 1:
        raise OtherVersion(f"the file is of version {version}; this reader reads version 1")
    must(zero == 0 and length == len(data), "length or CRC is wrong")
    must(crc == zlib.crc32(data[:16] + data[20:]), "length or CRC is wrong")
    sections = Sections(data, 24)
    fields = Fields(sections.take(graph_bytes))
    tensors = [read_tensor(fields) for _ in range(fields.number(0, 8192))]
    last = len(tensors) - 1
    inputs, outputs = ([fields.number(0, last) for _ in range(fields.number(0, last + 1))] for _ in range(2))
    matrices = []
    nodes = [read_node(fields, last, matrices) for _ in range(fields.number(0, 4096))]
    must(fields.at == graph_bytes, "the graph section is too long")
    check_graph(tensors, inputs, outputs, nodes, matrices)
    weights = sum((m.rows + 1) * (m.columns + 1) for m in matrices)
    must(weights <= 2**22 + 512 * len(data), "too many weights for so small a file")
    for node in nodes:
        if node["op"] == "dense":
            read_records(node["activation"], sections.take(node.pop("records")))
        if node["op"] != "softmax":
            m = matrices[node["matrix"]]
            m.side, m.keys = sections.take(m.side), sections.take(m.keys)
            gap = sections.take(-sections.at % 8 if any(m.words) else 0)
            must(not any(gap), "the bytes in front of the lanes are not zero")
            m.words = [struct.unpack(f"<{n}H", sections.take(2 * n)) for n in m.words]
    padded = len(data) == -((2**22 - weights) // 512) and not any(data[sections.at :])
    must(sections.at == len(data) or padded, "bytes behind the last section")
    matrices = [decode_matrix(m) for m in matrices]
    return {"tensors": tensors, "inputs": inputs, "outputs": outputs, "nodes": nodes, "matrices": matrices}


class Sections:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, count):
        must(self.at + count <= len(self.data), "a section is longer than what it is in")
        self.at += count
        return self.data[self.at - count : self.at]


class Fields(Sections):
    def number(self, low=0, high=math.inf):
        value = 0
        for i in range(10):
            byte = self.take(1)[0]
            value += (byte & 127) << 7 * i
            if byte < 128:
                must(byte or not i, "a number is longer than it needs to be")
                must(low <= value <= high, f"{value} is not in {low}..{high}")
                return value
        raise BadFile("a number has more than 10 bytes")

    def signed(self, low, high):
        raw = self.number()
        value = -(raw // 2) - 1 if raw % 2 else raw // 2
        must(low <= value <= high, f"{value} is not in {low}..{high}")
        return value

    def name(self):
        try:
            return self.take(self.number(0, 255)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadFile("a name is not UTF-8") from error


def read_tensor(fields):
    tensor = {"name": fields.name(), "dtype": ("int8", "uint8", "float32")[fields.number(0, 2)]}
    tensor["shape"] = [fields.number(1, 2**20) for _ in range(fields.number(1, 8))]
    must(math.prod(tensor["shape"]) < 2**31, "a tensor is too large")
    if tensor["dtype"] != "float32":
        (tensor["scale"],) = struct.unpack("<f", fields.take(4))
        must(0 < tensor["scale"] < math.inf, "a scale is not positive and finite")
        tensor["zero_point"] = fields.signed(*((-128, 127) if tensor["dtype"] == "int8" else (0, 255)))
    return tensor


def read_node(fields, last, matrices):
    node = {"op": ("matrix", "dense", "softmax")[fields.number(0, 2)], "name": fields.name()}
    if node["op"] != "matrix":
        node["input"], node["output"] = fields.number(0, last), fields.number(0, last)
    if node["op"] == "dense":
        node["activation"] = read_activation(fields)
        node["records"] = fields.number()
    if node["op"] != "softmax":
        node["matrix"] = len(matrices)
        matrices.append(read_matrix(fields))
    return node


def read_activation(fields):
    if fields.number(0, 1) == 0:
        a = {"kind": "requantise"}
        a["zero_point"], a["low"], a["high"] = (fields.signed(-512, 512) for _ in range(3))
        must(a["low"] <= a["high"], "low is above high")
        a["rounding"] = ("up", "even", "float32")[fields.signed(0, 2)]
        a["fields"] = [record_field(fields, *limits) for limits in (INT32, (1, 2**24 - 1), (0, 47))]
    else:
        a = {"kind": "thresholds", "base": fields.signed(-512, 512), "step": fields.signed(-1, 1)}
        count = fields.number(0, 15)
        a["fields"] = [record_field(fields, *INT32)] * count if count else []
    return a


def record_field(fields, low, high):
    base = fields.signed(low, high)
    return base, fields.number(0, (high - base).bit_length()), high


def read_records(activation, data):
    fields, rows = activation.pop("fields"), activation["rows"]
    width = sum(width for _, width, _ in fields)
    must(len(data) == -(-rows * width // 8), "row records have another length")
    bits = Bits(data)
    activation["rows"] = [[base + bits.take(width) for base, width, _ in fields] for _ in range(rows)]
    for row in activation["rows"]:
        must(all(v <= field[2] for v, field in zip(row, fields, strict=True)), "a row record is out of range")
        must(activation["kind"] == "requantise" or row == sorted(row), "thresholds fall")


def read_matrix(fields):
    m = SimpleNamespace(rows=fields.number(0, 2**20), channels=fields.number(0, 2**20))
    m.kernel = fields.number(1, 65535), fields.number(1, 65535)
    m.columns = m.channels * m.kernel[0] * m.kernel[1]
    must(m.columns <= 2**20, "too many columns")
    flags = fields.number(0, 7)
    m.taps_first, m.free_rows, m.four_axes = (bool(flags >> i & 1) for i in range(3))
    lanes, slots = m.layout = fields.number(1, 64), fields.number(1, 64)
    clone_slots, clone_groups, m.split_slots, split_groups = (fields.number(1, 64) for _ in range(4))
    must(lanes % (clone_groups * split_groups) == 0, "groups do not divide the lanes")
    must(slots % (clone_slots * m.split_slots) == 0, "clones and parts do not divide the slots")
    m.parts, m.row_lanes = m.split_slots * split_groups, lanes // clone_groups // split_groups
    m.slots, m.side, m.keys = slots // clone_slots, fields.number(), fields.number(0, 3 * m.rows + 2**16)
    length, m.words = 0, []
    for _ in range(lanes // clone_groups):
        length += fields.signed(-length, math.inf)
        m.words.append(length)
    return m


def check_graph(tensors, inputs, outputs, nodes, matrices):
    for named in (tensors, nodes):
        must(len({one["name"] for one in named}) == len(named), "two have the same name")
    known = set(inputs)
    for node in (node for node in nodes if node["op"] != "matrix"):
        must(node["input"] in known and node["output"] not in known, f"node {node['name']!r} is out of order")
        known.add(node["output"])
        source, target = tensors[node["input"]], tensors[node["output"]]
        if node["op"] == "softmax":
            must(
                target["dtype"] == "float32" and target["shape"] == source["shape"],
                "softmax writes no float32",
            )
        else:
            must("float32" not in (source["dtype"], target["dtype"]), "a dense node has float tensors")
            a, m = node["activation"], matrices[node["matrix"]]
            must(math.prod(source["shape"]) == m.columns, "a matrix does not fit its input")
            must(math.prod(target["shape"]) == m.rows, "a matrix does not fit its output")
            least = -128 if target["dtype"] == "int8" else 0
            first = a["low"] if "low" in a else a["base"]
            last = a["high"] if "low" in a else a["base"] + a["step"] * len(a["fields"])
            must(least <= min(first, last) and max(first, last) <= least + 255, "an output exceeds its type")
            a["rows"] = m.rows
    must(set(outputs) <= known, "an output is not computed")
