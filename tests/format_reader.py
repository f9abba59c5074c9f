"""A reader of `.ws` files, written from docs/format.md alone: plain, slow, and independent of weightstream.

``read(data)`` returns what a file holds as dicts and lists. Section numbers are those of the document.
"""

import math
import struct
import zlib


class BadFile(ValueError):
    """The file is not what docs/format.md describes."""


class OtherVersion(BadFile):
    """The file is of another version."""


def must(condition, what):
    """Refuse the file unless a condition holds."""
    if not condition:
        raise BadFile(what)


def ceil_div(a, b):
    """Return ceil(a / b)."""
    return -(-a // b)


# ---- 2, 3: header and graph ----------------------------------------------------------------------


class Fields:
    """Take the fields of section 1 from the graph section."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        """Return bytes."""
        must(self.at + count <= len(self.data), "the graph section is too short")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, low=0, high=math.inf):
        """Return a number within limits."""
        value = 0
        for i in range(10):
            byte = self.take(1)[0]
            value += (byte & 127) << 7 * i
            if byte < 128:
                must(low <= value <= high, f"{value} is not in {low}..{high}")
                return value
        raise BadFile("a number has more than 10 bytes")

    def signed(self, low, high):
        """Return a signed number within limits."""
        raw = self.number()
        value = raw // 2 if raw % 2 == 0 else -(raw // 2) - 1
        must(low <= value <= high, f"{value} is not in {low}..{high}")
        return value

    def name(self):
        """Return a name."""
        try:
            return self.take(self.number(0, 255)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadFile("a name is not UTF-8") from error


def read(data):
    """Return tensors, inputs, outputs, nodes, and decoded matrices.

    A node with a matrix has ``node["matrix"]``, its number in ``result["matrices"]``; a matrix has ``weights``, a list
    of rows in natural column order.
    """
    must(len(data) >= 24 and data[:4] == b"WSTM", "not a weightstream file")
    version, zero, length, crc, graph_bytes = struct.unpack("<HHQII", data[4:24])
    if version != 1:
        raise OtherVersion(f"the file is of version {version}; this reader reads version 1")
    must(zero == 0 and length == len(data) and zlib.crc32(data[:16] + data[20:]) == crc, "header or CRC is wrong")
    must(graph_bytes <= len(data) - 24, "the graph section is longer than the file")
    fields = Fields(data[24 : 24 + graph_bytes])
    tensors = [read_tensor(fields) for _ in range(fields.number(0, len(data)))]
    must(len({t["name"] for t in tensors}) == len(tensors), "two tensors have the same name")
    last = len(tensors) - 1
    inputs = [fields.number(0, last) for _ in range(fields.number(0, len(tensors)))]
    outputs = [fields.number(0, last) for _ in range(fields.number(0, len(tensors)))]
    nodes = [read_node(fields, last) for _ in range(fields.number(0, len(data)))]
    must(fields.at == graph_bytes, "the graph section is too long")
    check_graph(tensors, inputs, outputs, nodes)
    coded = [node["matrix"] for node in nodes if "matrix" in node]
    weights = sum((m["rows"] + 1) * (m["columns"] + 1) for m in coded)
    must(weights <= 2**22 + 512 * len(data), "too many weights for so small a file")
    at = cut_sections(data, 24 + graph_bytes, nodes)
    padded = len(data) == ceil_div(weights - 2**22, 512)
    must(at == len(data) or padded and not any(data[at:]), "bytes behind the last section")
    for node in nodes:
        if "matrix" in node:
            if node["op"] == "dense":
                read_records(node["activation"], node["records"], node["matrix"]["rows"])
            decode_matrix(node["matrix"])
            node["matrix"] = coded.index(node["matrix"])
    return {"tensors": tensors, "inputs": inputs, "outputs": outputs, "nodes": nodes, "matrices": coded}


def read_tensor(fields):
    """Return a tensor."""
    tensor = {"name": fields.name(), "dtype": ("int8", "uint8", "float32")[fields.number(0, 2)]}
    tensor["shape"] = [fields.number(1, 2**20) for _ in range(fields.number(1, 8))]
    if tensor["dtype"] != "float32":
        (tensor["scale"],) = struct.unpack("<f", fields.take(4))
        tensor["zero_point"] = fields.signed(*((-128, 127) if tensor["dtype"] == "int8" else (0, 255)))
        must(0 < tensor["scale"] < math.inf, "a scale is not positive and finite")
    return tensor


def read_node(fields, last):
    """Return an operator."""
    op = ("matrix", "dense", "softmax")[fields.number(0, 2)]
    node = {"op": op, "name": fields.name()}
    if op != "matrix":
        node["input"], node["output"] = fields.number(0, last), fields.number(0, last)
    if op == "dense":
        node["activation"] = read_activation(fields)
        node["records"] = fields.number()
    if op != "softmax":
        node["matrix"] = read_matrix(fields)
    return node


def read_activation(fields):
    """Return what all rows share."""
    int32 = (-(2**31), 2**31 - 1)
    if fields.number(0, 1) == 0:
        a = {"kind": "requantise", "limits": [int32, (1, 2**24 - 1), (0, 47)]}
        a["zero_point"], a["low"], a["high"] = (fields.signed(-512, 512) for _ in range(3))
        must(a["low"] <= a["high"], "low is above high")
        a["half_even"] = fields.signed(0, 1)
        a["fields"] = [read_record_field(fields, *limits) for limits in a["limits"]]
    else:
        a = {"kind": "thresholds", "base": fields.signed(-512, 512), "step": fields.signed(-1, 1)}
        count = fields.number(0, 15)
        a["limits"] = [int32] * count
        a["fields"] = [read_record_field(fields, *int32)] * count if count else []
    return a


def read_record_field(fields, low, high):
    """Return base and width."""
    base = fields.signed(low, high)
    return base, fields.number(0, (high - base).bit_length())


def read_matrix(fields):
    """Return the description of a matrix."""
    m = {"rows": fields.number(0, 2**20), "channels": fields.number(0, 2**20)}
    m["kernel"] = fields.number(1, 255), fields.number(1, 255)
    m["columns"] = m["channels"] * m["kernel"][0] * m["kernel"][1]
    must(m["columns"] <= 2**20, "too many columns")
    flags = fields.number(0, 7)
    m["taps_first"], m["free_rows"], m["four_axes"] = (bool(flags >> i & 1) for i in range(3))
    m["lanes"], m["slots"] = fields.number(1, 64), fields.number(1, 64)
    clone_slots, clone_groups, m["split_slots"], m["split_groups"] = (fields.number(1, 64) for _ in range(4))
    must(m["lanes"] % (clone_groups * m["split_groups"]) == 0, "groups do not divide the lanes")
    must(m["slots"] % (clone_slots * m["split_slots"]) == 0, "clones and parts do not divide the slots")
    m["stored_lanes"], m["stored_slots"] = m["lanes"] // clone_groups, m["slots"] // clone_slots
    m["parts"] = m["split_slots"] * m["split_groups"]
    m["side"], m["keys"] = fields.number(), fields.number()
    words = 0
    m["words"] = [words := words + fields.signed(-words, math.inf) for _ in range(m["stored_lanes"])]
    return m


def check_graph(tensors, inputs, outputs, nodes):
    """Check that nodes can run in their order, and sizes."""
    known = set(inputs)
    for node in nodes:
        if node["op"] == "matrix":
            continue
        must(node["input"] in known and node["output"] not in known, f"node {node['name']!r} is out of order")
        known.add(node["output"])
        if node["op"] == "dense":
            source, target, m = tensors[node["input"]], tensors[node["output"]], node["matrix"]
            must("float32" not in (source["dtype"], target["dtype"]), "a dense node has float tensors")
            fit = math.prod(source["shape"]) == m["columns"] and math.prod(target["shape"]) == m["rows"]
            must(fit, "a matrix does not fit its tensors")
            a = node["activation"]
            reach = [a["low"], a["high"]] if "low" in a else [a["base"], a["base"] + a["step"] * len(a["fields"])]
            least = -128 if target["dtype"] == "int8" else 0
            must(all(least <= y <= least + 255 for y in reach), "an activation exceeds its tensor")
    must(set(outputs) <= known, "an output is not computed")


def cut_sections(data, at, nodes):
    """Replace the lengths of sections by their bytes and words; return where the last one ends."""

    def take(count):
        nonlocal at
        must(at + count <= len(data), "a section is longer than the file")
        at += count
        return data[at - count : at]

    for node in (node for node in nodes if "matrix" in node):
        if node["op"] == "dense":
            node["records"] = take(node["records"])
        m = node["matrix"]
        m["side"], m["keys"] = take(m["side"]), take(m["keys"])
        if any(m["words"]):
            must(not any(take(-at % 8)), "the bytes in front of the lanes are not zero")
        m["words"] = [struct.unpack(f"<{n}H", take(2 * n)) for n in m["words"]]
    return at


# ---- 4: row records ------------------------------------------------------------------------------


class Bits:
    """Take bits from a section."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        """Return a bit field."""
        value = 0
        for _ in range(count):
            must(self.at < 8 * len(self.data), "a section is too short")
            value = 2 * value + (self.data[self.at // 8] >> 7 - self.at % 8 & 1)
            self.at += 1
        return value


def read_records(activation, data, rows):
    """Add the rows' values to an activation."""
    width = sum(width for _, width in activation["fields"])
    must(len(data) == ceil_div(rows * width, 8), "row records have another length")
    bits = Bits(data)
    activation["rows"] = [[base + bits.take(width) for base, width in activation["fields"]] for _ in range(rows)]
    for row in activation["rows"]:
        fit = all(low <= v <= high for v, (low, high) in zip(row, activation.pop("limits", []), strict=False))
        must(fit, "a row record is out of range")
        must(activation["kind"] == "requantise" or row == sorted(row), "thresholds fall")
    del activation["fields"]


# ---- 5: the adaptive binary coder ----------------------------------------------------------------


class SideReader:
    """Decisions, and what is made of them. A context is a tuple: its name, then its indices."""

    def __init__(self, data):
        self.data, self.at, self.counts = data, 4, {}
        self.range, self.code = 2**32 - 1, int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def decide(self, *context):
        """Return a bit."""
        pair = self.counts.setdefault(context, [0, 0])
        bit = self.split(self.range * (2 * pair[0] + 1) // (2 * (pair[0] + pair[1]) + 2))
        pair[bit] += 1
        if pair[bit] == 255:
            pair[:] = [(n + 1) // 2 for n in pair]
        return bit

    def fair(self):
        """Return a bit as likely 0 as 1."""
        return self.split(self.range // 2)

    def split(self, bound):
        """Return the bit that the code's side of the bound means."""
        bit = int(self.code >= bound)
        if bit:
            self.code -= bound
            self.range -= bound
        else:
            self.range = bound
        while self.range < 2**24:
            byte = self.data[self.at] if self.at < len(self.data) else 0
            self.at += 1
            self.code = (self.code * 256 + byte) % 2**32
            self.range *= 256
        return bit

    def choice(self, context, count):
        """Return one of 0 .. count - 1."""
        depth, node = (count - 1).bit_length(), 1
        for _ in range(depth):
            node = 2 * node + self.decide(*context, node)
        must(node - 2**depth < count, f"{context} has no such choice")
        return node - 2**depth

    def number(self, context):
        """Return a number."""
        size = 1
        while self.decide(*context, "more", size):
            size += 1
            must(size <= 32, "a number is too large")
        value = 1 if size == 1 else 2 + self.decide(*context, "top", size)
        for _ in range(size - 2):
            value = 2 * value + self.fair()
        return value - 1

    def signed(self, context):
        """Return a number with a sign."""
        magnitude = self.number((*context, "magnitude"))
        return -magnitude if magnitude and self.decide(*context, "sign") else magnitude

    def raw(self, count):
        """Return fair bits."""
        value = 0
        for _ in range(count):
            value = 2 * value + self.fair()
        return value


# ---- 6: side information -------------------------------------------------------------------------


def read_side(m):
    """Add palette, context model, row classes, key parameters and tables to a matrix."""
    side = SideReader(m["side"])
    read_palette(side, m)
    m["groups"] = ceil_div(ceil_div(m["columns"], m["group"]), m["parts"])
    tables = read_contexts(side, m)
    rows, classes = m["rows"], m["row_classes"]
    if classes == 1:
        m["row_class"] = [0] * rows
    elif m["free_rows"]:
        counts = [side.number(("rows",)) for _ in range(classes - 1)]
        must(sum(counts) <= rows, "classes have too many rows")
        m["row_class"] = [i for i, n in enumerate([*counts, rows - sum(counts)]) for _ in range(n)]
    else:
        m["row_class"] = ids = []
        for _ in range(rows):
            ids.append(side.choice(("row", ids[-1] if ids else "none"), classes))
    m["key_codes"] = [read_key_code(side) if m["free_rows"] else (0, 0, 0) for _ in range(classes)]
    read_tables(side, m, tables)
    must(side.at >= len(side.data), "the side information is too long")


def read_palette(side, m):
    """Read C as m["palette"]."""
    kind = side.choice(("palette",), 3)
    if kind == 2:
        passes = 1 + side.choice(("passes",), 4)
        m["group"], m["first"] = 1 + side.choice(("group",), 8), side.raw(4)
        c = [[[0] * m["group"] for _ in range(16)] for _ in range(passes)]
        for one_pass in c:
            for symbol in range(m["first"], 16):
                one_pass[symbol] = [(side.raw(8) + 128) % 256 - 128 for _ in range(m["group"])]
    else:
        m["group"] = 1 + side.choice(("group",), 8) if kind == 0 else 1
        count = 1 + side.choice(("levels",), 16)
        used = count ** m["group"]
        must(used <= 16, "a palette has too many symbols")
        level = [side.raw(8) - 128]
        for _ in range(count - 1):
            level.append(level[-1] + 1 + side.number(("gap",)))
        must(level[-1] <= 127, "a level is above 127")
        if kind == 0:
            m["first"] = 16 - used
            places = [count**i for i in reversed(range(m["group"]))]
            c = [[[0] * m["group"]] * (16 - used) + [[level[x // p % count] for p in places] for x in range(used)]]
        else:
            m["first"] = 0
            c = [[[v] for v in [level[0]] * (16 - count) + level], [[s] for s in range(16)]]
    m["palette"], m["passes"] = c, len(c)


def read_contexts(side, m):
    """Read the context model; return the number of tables."""
    tables = 1 + side.choice(("tables",), 64)
    m["row_classes"], m["column"], m["distance"] = 1, [0], 1
    m["previous"] = m["back"] = [0] * 16
    if tables == 1:
        m["table"] = {}
        return 1
    m["row_classes"] = 1 + side.choice(("row classes",), 16)
    columns = 1 + side.choice(("column classes",), 16)
    must(columns * m["passes"] <= 16, "too many column classes")
    if columns > 1:
        period = 1 + side.number(("column period",))
        must(period <= max(m["groups"], 1), "the column period is too long")
        stride, same, m["column"] = side.number(("column stride",)), 1, []
        for i in range(period):
            if 0 < stride <= i:
                same = side.decide("column same", same)
            if 0 < stride <= i and same:
                m["column"].append(m["column"][i - stride])
            else:
                m["column"].append(side.choice(("column",), columns))
    must(max(m["column"]) == columns - 1, "a column class does not occur")
    m["previous"] = read_neighbours(side)
    m["back"] = read_neighbours(side)
    m["distance"] = 1 + side.choice(("distance",), 16) if any(m["back"]) else 1
    sizes = (m["row_classes"], columns * m["passes"], 1 + max(m["previous"]), 1 + max(m["back"]))
    must(sum((n - 1).bit_length() for n in sizes) <= 12, "contexts have too many bits")
    m["table"] = read_context_map(side, sizes, tables)
    return tables


def read_neighbours(side):
    """Return the classes of 16 symbols."""
    classes = 1 + side.choice(("neighbour classes",), 16)
    result = []
    for symbol in range(16):
        if classes == 1:
            result.append(0)
        elif symbol and side.decide("same class"):
            result.append(result[-1])
        else:
            result.append(side.choice(("class",), classes))
    must(max(result) == classes - 1, "a neighbour class does not occur")
    return result


def read_context_map(side, sizes, tables):
    """Return the table of each context."""
    rows, columns, previous, back = map(range, sizes)
    table, new = {}, 0
    for place in ((r, p, a, b) for r in rows for p in columns for a in previous for b in back):
        near = []
        for axis in (3, 2, 1, 0):
            if place[axis]:
                beside = table[(*place[:axis], place[axis] - 1, *place[axis + 1 :])]
                near += [beside] * (beside not in near)
        for rank, candidate in enumerate(near):
            if side.decide("near", len(near), rank):
                table[place] = candidate
                break
        else:
            if new < tables and side.decide("new"):
                table[place] = new
                new += 1
            else:
                must(new, "the context map begins with no table")
                table[place] = side.choice(("old",), new)
    must(new == tables, "a table is not used")
    return table


def read_key_code(side):
    """Return k, rice and lift of a row class."""
    k = side.choice(("key bits",), 16)
    return (k, side.choice(("rice",), 16), side.decide("lift")) if k else (0, 0, 0)


def read_tables(side, m, count):
    """Read tables; m["cum"] are their thresholds."""
    first, read = m["first"], []
    m["cum"] = []
    for i in range(count):
        e, mode = 1 + side.choice(("precision",), 8), side.choice(("prediction",), 3)
        if mode == 2:
            j = i - 1 - side.number(("back",))
            must(j >= 0, "a table refers too far back")
            other_e, other = read[j]
        q = [0] * 16
        for s in range(first, 16):
            mirrored = first + 15 - s
            predicted = q[s - 1] if s > first else 0
            if mode == 1 and mirrored < s:
                predicted = q[mirrored]
            elif mode == 2:
                d = other_e - e
                predicted = other[s] * 2**-d if d <= 0 else (other[s] + 2**d // 2) // 2**d
            q[s] = predicted + side.signed(("level", mode, min(predicted, 2)))
            must(0 <= q[s] <= 2**e, "an impossible level")
        must(any(q), "an empty table")
        read.append((e, q))
        m["cum"].append(thresholds(q))


def thresholds(q):
    """Return cum[0 .. 16] from levels."""
    total = sum(x * x for x in q)
    f = [max(1, (x * x * 2**15 + total) // (2 * total)) if x else 0 for x in q]
    f[15] = max(1, f[15])
    f[f.index(max(f))] += 2**14 - sum(f)
    return [sum(f[:s]) for s in range(17)]


# ---- 7 to 10: keys, streams, weights -------------------------------------------------------------


def read_keys(m):
    """Return (key, k) of each row."""
    bits, result = Bits(m["keys"]), []
    for number, (k, rice, lift) in enumerate(m["key_codes"]):
        key = 0
        for _ in range(m["row_class"].count(number)):
            if k:
                ones = 0
                while bits.take(1):
                    ones += 1
                key += ones * 2**rice + bits.take(rice) - lift
                must(0 <= key < 2**k, "a key has too many bits")
            result.append((key, k))
    must(8 * len(m["keys"]) - bits.at < 8, "the keys are too long")
    if not m["free_rows"]:
        result = [(0, 0)] * m["rows"]
    return result


class Slot:
    """One stream."""

    def __init__(self, m):
        self.m, self.buffer, self.held, self.V, self.begun = m, 0, 0, 0, False

    def put(self, word):
        """Put a word at the end of the buffer."""
        self.buffer, self.held = self.buffer << 16 | word, self.held + 16

    def take(self, count):
        """Take bits from the front of the buffer."""
        self.held -= count
        value, self.buffer = self.buffer >> self.held, self.buffer & (1 << self.held) - 1
        return value

    def start(self, row_class, key, k):
        """Begin a codeword."""
        if self.begun:
            self.buffer, self.held = self.V << self.held | self.buffer, self.held + 15
        self.begun = True
        self.V, self.R = key << 15 - k | self.take(15 - k), 2**15
        self.row_class, self.symbols = row_class, []

    def decode(self):
        """Decode the symbol at the next position."""
        m, symbols, j = self.m, self.symbols, len(self.symbols)
        position = m["column"][j // m["passes"] % len(m["column"])] * m["passes"] + j % m["passes"]
        previous = m["previous"][symbols[j - 1]] if j >= 1 else 0
        back = m["back"][symbols[j - m["distance"]]] if j >= m["distance"] else 0
        cum = m["cum"][m["table"].get((self.row_class, position, previous, back), 0)]
        s = 15
        while self.R * cum[s] >> 14 > self.V:
            s -= 1
        lo, hi = self.R * cum[s] >> 14, self.R * cum[s + 1] >> 14
        n = 16 - (hi - lo).bit_length()
        self.R = (hi - lo) << n
        self.V = (self.V - lo) << n | self.take(n)
        symbols.append(s)


def decode_matrix(m):
    """Decode a matrix; leave its shape and its weights in m."""
    read_side(m)
    keys = read_keys(m)
    parts, group, passes = m["parts"], m["group"], m["passes"]
    row_lanes = m["stored_lanes"] // m["split_groups"]
    tile_rows = row_lanes * m["stored_slots"] // m["split_slots"]
    tiles = ceil_div(m["rows"], tile_rows)
    where = {}  # (lane, tile) -> slot -> (row, part)
    for row in range(m["rows"]):
        tile, u = divmod(row, tile_rows)
        for part in range(parts):
            lane = part // m["split_slots"] * row_lanes + u % row_lanes
            slot = u // row_lanes * m["split_slots"] + part % m["split_slots"]
            where.setdefault((lane, tile), {})[slot] = (row, part)
    codewords = {}
    for lane, words in enumerate(m["words"]):
        decode_lane(m, words, [where.get((lane, tile), {}) for tile in range(tiles)], keys, codewords)
    weights = []
    for row in range(m["rows"]):
        symbols = [s for part in range(parts) for s in codewords[row, part]]
        coded = []
        for at in range(0, len(symbols), passes):
            for i in range(group):
                coded.append(sum(m["palette"][p][symbols[at + p]][i] for p in range(passes)))
        weights.append([coded[x] for x in column_order(m)])
    kept = ("rows", "columns", "channels", "kernel", "taps_first", "free_rows", "four_axes", "lanes", "slots")
    result = {name: m[name] for name in kept} | {"tables": len(m["cum"]), "parts": parts, "weights": weights}
    m.clear()
    m.update(result)


def decode_lane(m, words, tiles, keys, codewords):
    """Decode all codewords of a lane; each of `tiles` says which codeword each slot has in it."""
    taken = 0
    slots = [Slot(m) for _ in range(m["stored_slots"])]

    def give(slot):
        nonlocal taken
        slot.put(words[taken] if taken < len(words) else 0)
        taken += 1

    for _ in range(2):
        for number in sorted(tiles[0] if tiles else ()):
            give(slots[number])
    for tile, here in enumerate(tiles):
        active = [slots[number] for number in sorted(here)]
        for number, (row, part) in here.items():
            key, k = keys[row] if part == 0 else (0, 0)
            slots[number].start(m["row_class"][row], key, k)
        for _ in range(m["groups"] * m["passes"]):
            for slot in active:
                slot.decode()
                if slot.held <= 16:
                    give(slot)
        for number, codeword in here.items():
            slot = slots[number]
            codewords[codeword] = slot.symbols
            must(slot.V < 2**15 and slot.held <= 32, "an impossible end of a row")
            goes_on = tile + 1 < len(tiles) and number in tiles[tile + 1]
            must(goes_on or slot.buffer == 0, "a stream does not end with its last row")
    must(taken >= len(words), "a lane is longer than its rows")


def column_order(m):
    """Return the coded column of each column in natural order."""
    height, width = m["kernel"]
    if not m["taps_first"]:
        return range(m["columns"])
    taps, channels = height * width, m["channels"]
    return [tap * channels + channel for channel in range(channels) for tap in range(taps)]
