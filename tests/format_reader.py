"""A reader of `.ws` files, written from docs/format.md alone: plain, slow, and independent of weightstream.

``read(data)`` returns what a file holds as dicts and lists. Section numbers are those of the document.
"""

import math
import struct
import zlib
from itertools import product
from types import SimpleNamespace

INT32 = (-(2**31), 2**31 - 1)


class BadFile(ValueError):
    """The file is not what docs/format.md describes."""


class OtherVersion(BadFile):
    """The file is of another version."""


def must(condition, what):
    if not condition:
        raise BadFile(what)


# ---- 2 to 4: header, graph, row records ----------------------------------------------------------


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


class Bits:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        value = 0
        for _ in range(count):
            must(self.at < 8 * len(self.data), "a section of bits is too short")
            value = value << 1 | self.data[self.at // 8] >> 7 - self.at % 8 & 1
            self.at += 1
        return value


# ---- 5: the adaptive binary coder ----------------------------------------------------------------


class SideReader:
    def __init__(self, data):
        self.data, self.at, self.counts = data, 4, {}
        self.range, self.code = 2**32 - 1, int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def decide(self, *context):
        pair = self.counts.setdefault(context, [0, 0])
        bit = self.split(self.range * (2 * pair[0] + 1) // (2 * (pair[0] + pair[1]) + 2))
        pair[bit] += 1
        if pair[bit] == 255:
            pair[:] = [(n + 1) // 2 for n in pair]
        return bit

    def split(self, bound):
        bit = int(self.code >= bound)
        self.code -= bound * bit
        self.range = self.range - bound if bit else bound
        while self.range < 2**24:
            byte = self.data[self.at] if self.at < len(self.data) else 0
            self.at += 1
            self.code, self.range = (self.code * 256 + byte) % 2**32, self.range * 256
        return bit

    def raw(self, count):
        value = 0
        for _ in range(count):
            value = 2 * value + self.split(self.range // 2)
        return value

    def choice(self, context, count):
        depth, node = (count - 1).bit_length(), 1
        for _ in range(depth):
            node = 2 * node + self.decide(context, node)
        must(node - 2**depth < count, f"{context} has no such choice")
        return node - 2**depth

    def number(self, context):
        size = 1
        while self.decide(context, "more", size):
            size += 1
            must(size <= 32, "a number is too large")
        if size == 1:
            return 0
        top = 2 + self.decide(context, "top", size)
        return (top << size - 2) + self.raw(size - 2) - 1

    def signed(self, context):
        magnitude = self.number((context, "magnitude"))
        return -magnitude if magnitude and self.decide(context, "sign") else magnitude


# ---- 6: side information -------------------------------------------------------------------------


def read_side(m):
    side = SideReader(m.side)
    read_palette(side, m)
    groups = -(-m.columns // m.group)
    must(m.parts <= max(groups, 1), "there are more parts than groups")
    m.groups = -(-groups // m.parts)
    tables = read_contexts(side, m)
    m.row_class = ids = []
    if m.free_rows:
        counts = [side.number("rows") for _ in range(m.row_classes - 1)]
        must(sum(counts) <= m.rows, "the row classes have too many rows")
        ids += [i for i, n in enumerate([*counts, m.rows - sum(counts)]) for _ in range(n)]
    while len(ids) < m.rows:
        ids.append(side.choice(("row", ids[-1] if ids else "none"), m.row_classes))
    m.key_codes = [(0, 0, 0)] * m.row_classes
    for i in range(m.row_classes if m.free_rows else 0):
        k = side.choice("key bits", 16)
        if k:
            m.key_codes[i] = k, side.choice("rice", 16), side.decide("lift")
    read_tables(side, m, tables)
    must(side.at >= len(side.data), "the side information is too long")


def read_palette(side, m):
    kind = side.choice("palette", 3)
    m.group, m.first = 1, 0
    if kind == 2:
        passes, m.group, m.first = 1 + side.choice("passes", 4), 1 + side.choice("group", 8), side.raw(4)
        m.palette = [[[0] * m.group for _ in range(16)] for _ in range(passes)]
        for symbols in m.palette:
            for weights in symbols[m.first :]:
                weights[:] = [(side.raw(8) + 128) % 256 - 128 for _ in weights]
        return
    if kind == 0:
        m.group = 1 + side.choice("group", 8)
    count = 1 + side.choice("levels", 16)
    must(count**m.group <= 16, "a palette has too many symbols")
    level = [side.raw(8) - 128]
    while len(level) < count:
        level.append(level[-1] + 1 + side.number("gap"))
    must(level[-1] <= 127, "a level is above 127")
    if kind == 0:
        m.first = 16 - count**m.group
        m.palette = [[[0] * m.group] * m.first + [list(group) for group in product(level, repeat=m.group)]]
    else:
        m.palette = [[[v] for v in level[:1] * (16 - count) + level], [[s] for s in range(16)]]


def read_contexts(side, m):
    passes, tables = len(m.palette), 1 + side.choice("tables", 64)
    m.row_classes, m.column, m.previous, m.back, m.distance = 1, [0], [0] * 16, [0] * 16, 1
    m.table, new = {}, 0  # what is not in m.table is table 0
    if tables == 1:
        return 1
    m.row_classes, columns = 1 + side.choice("row classes", 16), 1 + side.choice("column classes", 16)
    must(columns * passes <= 16, "too many column classes")
    if columns > 1:
        period = 1 + side.number("column period")
        must(period <= max(m.groups, 1), "the column period is too long")
        stride, same, m.column = side.number("column stride"), 1, []
        for i in range(period):
            if 0 < stride <= i:
                same = side.decide("column same", same)
            copied = same and 0 < stride <= i
            m.column.append(m.column[i - stride] if copied else side.choice("column", columns))
    must(max(m.column) == columns - 1, "a column class does not occur")
    m.previous, m.back = read_neighbours(side), read_neighbours(side)
    m.distance = 1 + side.choice("distance", 16) if any(m.back) else 1
    sizes = (m.row_classes, columns * passes, 1 + max(m.previous), 1 + max(m.back))
    must(sum((n - 1).bit_length() for n in sizes) <= 12, "contexts have too many bits")
    for place in product(*map(range, sizes)):
        near = []
        for axis in (3, 2, 1, 0):
            beside = (*place[:axis], place[axis] - 1, *place[axis + 1 :])
            if place[axis] and m.table[beside] not in near:
                near.append(m.table[beside])
        for rank, candidate in enumerate(near):
            if side.decide("near", len(near), rank):
                m.table[place] = candidate
                break
        else:
            fresh = new < tables and side.decide("new")
            must(fresh or new, "the context map begins with no table")
            m.table[place] = new if fresh else side.choice("old", new)
            new += fresh
    must(new == tables, "a table is not used")
    return tables


def read_neighbours(side):
    classes, result = 1 + side.choice("neighbour classes", 16), []
    for symbol in range(16):
        same = symbol and classes > 1 and side.decide("same class")
        result.append(result[-1] if same else side.choice("class", classes))
    must(max(result) == classes - 1, "a neighbour class does not occur")
    return result


def read_tables(side, m, count):
    read, m.cum = [], []
    for i in range(count):
        e, mode, other = 1 + side.choice("precision", 8), side.choice("prediction", 3), (1, [0] * 16)
        if mode == 2:
            j = i - 1 - side.number("back")
            must(j >= 0, "a table refers too far back")
            other = read[j]
        q, d = [0] * 16, other[0] - e
        for s in range(m.first, 16):
            mirrored, predicted = m.first + 15 - s, q[s - 1] if s > m.first else 0
            if mode == 1 and mirrored < s:
                predicted = q[mirrored]
            if mode == 2:
                predicted = other[1][s] * 2**-d if d <= 0 else (other[1][s] + 2**d // 2) // 2**d
            q[s] = predicted + side.signed(("level", mode, min(predicted, 2)))
            must(0 <= q[s] <= 2**e, "an impossible level")
        must(any(q), "an empty table")
        read.append((e, q))
        total = sum(x * x for x in q)
        f = [max(1, (x * x * 2**15 + total) // (2 * total)) if x else 0 for x in q]
        f[15] = max(1, f[15])
        f[f.index(max(f))] += 2**14 - sum(f)
        m.cum.append([sum(f[:s]) for s in range(17)])


# ---- 7 to 10: keys, streams, weights -------------------------------------------------------------


def read_keys(m):
    bits, keys = Bits(m.keys), []
    for number, (k, rice, lift) in enumerate(m.key_codes):
        key = 0
        for _ in range(m.row_class.count(number)):
            while k and bits.take(1):
                key += 2**rice
            key += bits.take(rice) - lift
            must(0 <= key < 2**k, "a key has too many bits")
            keys.append((key, k))
    must(8 * len(m.keys) - bits.at < 8, "the keys are too long")
    return keys


class Slot:
    def __init__(self, m):
        self.m, self.buffer, self.held, self.V, self.begun = m, 0, 0, 0, False

    def put(self, word):
        self.buffer, self.held = self.buffer << 16 | word, self.held + 16

    def take(self, count):
        self.held -= count
        value, self.buffer = self.buffer >> self.held, self.buffer & (1 << self.held) - 1
        return value

    def start(self, row_class, key, k):
        if self.begun:
            self.buffer, self.held = self.V << self.held | self.buffer, self.held + 15
        self.V, self.R, self.begun = key << 15 - k | self.take(15 - k), 2**15, True
        self.row_class, self.symbols = row_class, []

    def decode(self):
        m, symbols, j, passes = self.m, self.symbols, len(self.symbols), len(self.m.palette)
        position = m.column[j // passes % len(m.column)] * passes + j % passes
        previous = m.previous[symbols[j - 1]] if j >= 1 else 0
        back = m.back[symbols[j - m.distance]] if j >= m.distance else 0
        cum = m.cum[m.table.get((self.row_class, position, previous, back), 0)]
        s = 15
        while self.R * cum[s] >> 14 > self.V:
            s -= 1
        lo, hi = self.R * cum[s] >> 14, self.R * cum[s + 1] >> 14
        n = 16 - (hi - lo).bit_length()
        self.R, self.V = (hi - lo) << n, (self.V - lo) << n | self.take(n)
        symbols.append(s)


def decode_matrix(m):
    read_side(m)
    keys, passes, taps = read_keys(m), range(len(m.palette)), m.kernel[0] * m.kernel[1]
    tile_rows = m.row_lanes * m.slots // m.split_slots
    lanes = [[{} for _ in range(-(-m.rows // tile_rows))] for _ in m.words]
    for row, part in product(range(m.rows), range(m.parts)):
        tile, u = divmod(row, tile_rows)
        lane = part // m.split_slots * m.row_lanes + u % m.row_lanes
        lanes[lane][tile][u // m.row_lanes * m.split_slots + part % m.split_slots] = row, part
    codewords = {}
    for words, tiles in zip(m.words, lanes, strict=True):
        decode_lane(m, words, tiles, keys, codewords)
    weights, order = [], range(m.columns)
    if m.taps_first and m.rows:
        order = [tap * m.channels + c for c in range(m.channels) for tap in range(taps)]
    for row in range(m.rows):
        symbols = [s for part in range(m.parts) for s in codewords[row, part]]
        groups = [symbols[at : at + len(passes)] for at in range(0, len(symbols), len(passes))]
        coded = [sum(m.palette[p][group[p]][i] for p in passes) for group in groups for i in range(m.group)]
        weights.append([coded[x] for x in order])
    kept = ("rows", "columns", "kernel", "four_axes", "taps_first", "free_rows", "layout", "parts")
    return {name: getattr(m, name) for name in kept} | {"tables": len(m.cum), "weights": weights}


def decode_lane(m, words, tiles, keys, codewords):
    slots, queue = [Slot(m) for _ in range(m.slots)], iter(words)
    for _ in range(2):
        for number in sorted(tiles[0] if tiles else ()):
            slots[number].put(next(queue, 0))
    for tile, here in enumerate(tiles):
        following = tiles[tile + 1] if tile + 1 < len(tiles) else ()
        for number, (row, part) in here.items():
            slots[number].start(m.row_class[row], *(keys[row] if part == 0 else (0, 0)))
        active = [slots[number] for number in sorted(here)]
        for _ in range(m.groups * len(m.palette)):
            for slot in active:
                slot.decode()
                if slot.held <= 16:
                    slot.put(next(queue, 0))
        for number, codeword in here.items():
            slot = slots[number]
            codewords[codeword] = slot.symbols
            must(slot.V < 2**15 and slot.held <= 32, "an impossible end of a row")
            must(number in following or slot.buffer == 0, "a stream does not end with its last row")
    must(next(queue, None) is None, "a lane is longer than its rows")
