"""A coded matrix, decoded: keys, then tile after tile of rows, then the weights that the symbols stand for.

Errors come in this order. Keys are read before the streams: class after class, each judged when it is
complete. At the end of a tile, an impossible row end of any stream; then a stream that does not end where it
should. Behind the last tile, words that are left over.
"""

# Ref: Basu and Varshney, "Universal and Succinct Source Coding of Deep Neural Networks", 2022
# Id: arXiv:1804.02800
# Differs: sorted order-preserving row codewords instead of a tree of counts; see docs/format.md

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...spec.coder import FREQUENCY_BITS, SYMBOLS
from ...spec.layout import StreamPlan
from .contexts import ContextMap
from .keys import RiceKeyDecoder
from .lane import LaneDecoder, Row

if TYPE_CHECKING:
    from ...codec.matrix import CodedMatrix


def decode_symbols(coded: CodedMatrix) -> np.ndarray:
    """Decode all symbols of a matrix.

    Returns
    -------
    ndarray of uint8, shape (rows, symbols)

    Raises
    ------
    FormatError
        Keys or streams are not what an encoder writes.
    """
    plan = coded.plan
    parts = plan.sharing.parts
    keys = _decode_keys(coded)
    contexts = ContextMap(coded.contexts)
    thresholds = [table_thresholds(table.frequencies().tolist()) for table in coded.tables]
    lanes = [LaneDecoder(words, plan.slots, contexts, thresholds) for words in coded.lanes]
    result = np.zeros((plan.rows, parts * plan.part_symbols), np.uint8)
    for tile in range(plan.tiles):
        here = _codewords_of_tile(plan, tile)
        following = _codewords_of_tile(plan, tile + 1)
        for lane, own in zip(lanes, here, strict=True):
            if tile == 0:
                lane.start_streams([codeword is not None for codeword in own])
            lane.start_rows([_row(coded, keys, codeword) for codeword in own])
        for j in range(plan.part_symbols):
            for lane, own in zip(lanes, here, strict=True):
                for codeword, symbol in zip(own, lane.decode(j), strict=True):
                    if codeword is not None and symbol is not None:
                        row, part = codeword
                        result[row, part * plan.part_symbols + j] = symbol
        _check_tile(lanes, here, following)
    for lane in lanes:
        lane.queue.finish()
    # The last part was padded to the length of the others.
    return result[:, : plan.symbols]


def decode_weights(coded: CodedMatrix) -> np.ndarray:
    """Decode all weights of a matrix: of each group the sum over the passes of what the symbols stand for.

    Returns
    -------
    ndarray of int8 (int16 if the sums of the palettes need it), shape (rows, columns)
        Rows and columns in coded order.

    Raises
    ------
    FormatError
        Keys or streams are not what an encoder writes.
    """
    symbols = decode_symbols(coded).tolist()
    palette = coded.palette
    values = palette.values.tolist()
    columns = coded.geometry.columns
    result = np.zeros((len(symbols), columns), palette.dtype)
    for row in range(len(symbols)):
        for column in range(columns):
            # The last group may reach beyond the last column: its other weights meet no input.
            group, i = divmod(column, palette.group)
            result[row, column] = sum(
                values[p][symbols[row][group * palette.passes + p]][i] for p in range(palette.passes)
            )
    return result


def table_thresholds(frequencies: Sequence[int]) -> list[int]:
    """Return ``cum[0..15]``: of each symbol, the sum of the frequencies of the symbols before it."""
    assert len(frequencies) == SYMBOLS and sum(frequencies) == 1 << FREQUENCY_BITS
    cum = [0]
    for frequency in frequencies[:-1]:
        cum.append(cum[-1] + frequency)
    assert cum == sorted(cum)
    # Symbol 15 has a frequency: so every threshold fits 14 bits, and no range becomes empty.
    assert cum[-1] < 1 << FREQUENCY_BITS
    return cum


def _decode_keys(coded: CodedMatrix) -> list[int]:
    """Return the key of each row; rows are sorted by class where there are keys."""
    decoder = RiceKeyDecoder(coded.key_data)
    keys: list[int] = []
    for code, rows in zip(coded.key_codes, coded.class_rows, strict=True):
        keys += decoder.decode(code, rows)
    decoder.finish()
    return keys


def _codewords_of_tile(plan: StreamPlan, tile: int) -> list[list[tuple[int, int] | None]]:
    """Return the codeword (row, part) that each slot of each lane decodes in a tile, or None."""
    here: list[list[tuple[int, int] | None]] = [[None] * plan.slots for _ in range(plan.lanes)]
    for row in range(tile * plan.tile_rows, min((tile + 1) * plan.tile_rows, plan.rows)):
        for part in range(plan.sharing.parts):
            lane, slot = divmod(plan.stream(row, part), plan.slots)
            here[lane][slot] = (row, part)
    return here


def _row(coded: CodedMatrix, keys: list[int], codeword: tuple[int, int] | None) -> Row | None:
    """Return what a slot is told about its codeword; the key is of the first part."""
    if codeword is None:
        return None
    row, part = codeword
    row_class = int(coded.row_class[row])
    if part:
        return Row(0, 0, row_class)
    return Row(keys[row], coded.key_codes[row_class].bits, row_class)


def _check_tile(lanes: list[LaneDecoder], here: list, following: list) -> None:
    """Check the row ends of a tile, then the ends of the streams that have no row in the next one."""
    for lane, own in zip(lanes, here, strict=True):
        for slot, codeword in zip(lane.slots, own, strict=True):
            if codeword is not None:
                slot.check_row_end()
    for lane, own, after in zip(lanes, here, following, strict=True):
        for slot, codeword, next_codeword in zip(lane.slots, own, after, strict=True):
            if codeword is not None and next_codeword is None:
                slot.check_stream_end()
