"""Sections 5 and 6 of docs/format.md: the adaptive binary coder, and side information."""

from itertools import product

from format_bits import must

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
