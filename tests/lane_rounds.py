"""What lanes are told to decode a coded matrix, and the symbols that must come out."""

from dataclasses import dataclass, field

import numpy as np

from weightstream.codec.keys import decode_keys
from weightstream.golden.decode.contexts import class_bits
from weightstream.golden.decode.matrix import decode_symbols, table_thresholds
from weightstream_hw.control.round import RoundKind


@dataclass
class Round:
    """A round, and the symbols that are expected of it: ``symbols[lane][slot]``, None where there is none."""

    fields: dict
    edge: int = 0
    symbols: list | None = None
    needs_keys: int = 0


@dataclass
class Pass:
    """A matrix, decoded once."""

    coded: object
    rounds: list = field(default_factory=list)
    #: Of each tile, each lane, each slot group: key, k, field.
    keys: list = field(default_factory=list)


def row_field(model, row_class):
    return row_class << 4 - class_bits(model.row_classes)


def plan_pass(coded, tiles=None, symbols=None):
    """Return the rounds and keys of one pass.

    Parameters
    ----------
    tiles : int, optional
        Only so many tiles, and the start of the one behind.
    symbols : ndarray, optional
        Symbols of the matrix; by default what the golden decoder finds.
    """
    plan, model, sharing = coded.plan, coded.contexts, coded.sharing
    symbols = decode_symbols(coded) if symbols is None else symbols
    keys = decode_keys(coded.key_data, coded.key_codes, coded.class_rows)
    column_shift = class_bits(model.classes[2]) + class_bits(model.classes[3])
    columns = [int(c) << column_shift for c in model.column_classes(plan.part_symbols)]

    def about(j):
        """Return what a round tells about the position that is decoded behind it."""
        if j == plan.part_symbols:
            return {}
        return {
            "next_field": columns[j],
            "next_column": j % 16,
            "next_previous": j >= 1,
            "next_back": j >= model.distance,
        }

    result = Pass(coded)

    def add(kind, needs_keys=0, expected=None, **fields):
        fields |= {"kind": kind, "full": full, "bank": tile % 2}
        result.rounds.append(Round(fields, edge, expected, needs_keys))

    for tile in range(plan.tiles):
        streams = _streams(plan, sharing, tile)
        rows = min(plan.tile_rows, plan.rows - tile * plan.tile_rows)
        full, rest = divmod(rows, plan.row_lanes)
        edge = sum(1 << lane for lane in range(plan.layout.lanes) if lane % plan.row_lanes < rest)
        together = sharing.clone_slots * sharing.split_slots
        # What is not used is garbage.
        result.keys.append([[(0x7FFF, 15, 15)] * (plan.layout.slots // together) for _ in streams])
        for own, lane in zip(result.keys[-1], streams, strict=True):
            for slot, codeword in enumerate(lane):
                if codeword is not None:
                    row_class = int(coded.row_class[codeword[0]])
                    bits = coded.key_codes[row_class].bits
                    own[slot // together] = int(keys[codeword[0]]), bits, row_field(model, row_class)
        if tile == 0:
            add(RoundKind.CLEAR, prime=1)
            add(RoundKind.FILL)
            add(RoundKind.FILL)
        add(RoundKind.START, tile + 1, first=tile == 0, capture=tile > 0, **about(0))
        if tile == tiles:
            break
        for j in range(plan.part_symbols):
            expected = [[_symbol(symbols, plan, codeword, j) for codeword in lane] for lane in streams]
            marks = {"column": j % 16, "palette": j % 3, "parity": j % 2}
            add(RoundKind.SYMBOL, 0, expected, **marks, **about(j + 1))
    return result


def _streams(plan, sharing, tile):
    """Return (row, part) for each lane and slot, None where there is no row."""
    streams = [[None] * plan.layout.slots for _ in range(plan.layout.lanes)]
    for row in range(tile * plan.tile_rows, min((tile + 1) * plan.tile_rows, plan.rows)):
        for part in range(sharing.parts):
            stored_lane, stored_slot = divmod(plan.stream(row, part), plan.slots)
            for lane in range(stored_lane, plan.layout.lanes, plan.lanes):
                for clone in range(sharing.clone_slots):
                    streams[lane][stored_slot * sharing.clone_slots + clone] = row, part
    return streams


def _symbol(symbols, plan, codeword, j):
    """Return a symbol, None if it is not known: behind the end of a row there is padding."""
    if codeword is None:
        return None
    row, part = codeword
    j += part * plan.part_symbols
    return int(symbols[row, j]) if j < symbols.shape[1] else None


def configuration(coded):
    """Return the writes that configure a layer."""
    model = coded.contexts
    rows, columns, previous, back = model.classes
    back_bits, previous_bits = class_bits(back), class_bits(previous)
    for number, table in enumerate(coded.tables):
        cum = table_thresholds(table.frequencies().tolist())

        def three(values):
            return sum(value << 14 * i for i, value in enumerate(values))

        yield {"coarse": 1, "address": number, "data": three(cum[4::4])}
        for quarter in range(4):
            yield {
                "fine": 1,
                "address": 4 * number + quarter,
                "data": three(cum[4 * quarter + 1 : 4 * quarter + 4]),
            }
    for symbol in range(16):
        fields = int(model.previous[symbol]) << back_bits | int(model.back[symbol]) << 8
        yield {"neighbour": 1, "address": 16 + symbol, "data": fields}
        yield {"neighbour": 1, "address": symbol, "data": int(model.back[symbol]) << 8}
    for r, c, p, b in np.ndindex(model.classes):
        address = row_field(model, r) << 8
        address |= c << back_bits + previous_bits | p << back_bits | b
        yield {"context": 1, "address": address, "data": int(model.tables[r, c, p, b])}


def segment(words):
    """Return words as they are sent: data, whether it is the marker behind them, whether that comes next."""
    return [(int(word), 0, i == len(words) - 1) for i, word in enumerate(words)] + [(0, 1, 0)]
