"""Sections 7 to 10 of docs/format.md: keys, streams, and weights."""

from itertools import product

from format_bits import Bits, must
from format_side import read_side


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
