"""Which operations a machine refuses: one list of conditions, for the golden machine and for the gateware.

Fields of the descriptor are attributes: integers there, signals here. So conditions use only operators that
both have: no ``and``, ``or``, ``not``, no ``min``; a condition is true where it is 1.
"""

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any

from .coder import MAX_DISTANCE
from .image import KEYS_CLASSES, OP_LOAD, OP_MATRIX, OP_STORE, ROUNDINGS, THRESHOLD_RECORD
from .machine import POOL_WORD, Machine

_POOL_WORD_LOG2 = POOL_WORD.bit_length() - 1
#: 64-bit words of a threshold record, as a power of two; a requantising record is one word.
_THRESHOLD_WORDS_LOG2 = (THRESHOLD_RECORD.size // 8).bit_length() - 1


def refusals(d: Any, machine: Machine, full_rows: Any) -> dict[int, tuple]:
    """Return why a machine refuses an operation, by the kinds of operations; others it always refuses.

    Parameters
    ----------
    d : object
        The descriptor, its fields as attributes.
    machine : Machine
        What there is.
    full_rows : int or signal
        ``rows - (tiles - 1) * tile_rows - last_edge``: rows of the last tile's full slot groups. The gateware
        multiplies bit by bit.

    Returns
    -------
    dict of tuple
        Conditions of loads, stores and matrices; the operation is refused if one of them is true.
    """
    source, target = _beyond_pool(d.input_base, machine), _beyond_pool(d.output_base, machine)
    matrix = (*_rows(d, machine, full_rows), *_columns(d, machine), *_outputs(d, machine))
    return {OP_LOAD: target, OP_STORE: source, OP_MATRIX: (*source, *target, *matrix)}


def _some(conditions: Iterable) -> Any:
    return reduce(or_, conditions)


def _split_word(address: Any) -> Any:
    return (address & (POOL_WORD - 1)) != 0


def _beyond_pool(base: Any, machine: Machine) -> tuple:
    return (base >= machine.pool_bytes, _split_word(base))


def _rows(d: Any, machine: Machine, full_rows: Any) -> tuple:
    """Return what is wrong with where rows stand: groups of lanes, tiles, slots, clones and parts."""
    groups, columns = machine.groups, machine.columns
    shared = d.clone_log2 + d.split_log2
    # None if clones and parts are more than the slots: then the last tile has no place for a row.
    slot_groups = machine.slots >> shared
    divisors = [count for count in range(1, groups + 1) if groups % count == 0]
    # Groups of lanes that hold no rows of their own are clones, unless they hold parts.
    copies = [((d.split_groups == 0) & (d.row_groups == count), groups // count) for count in divisors]
    copies += [((d.split_groups == 1) & (d.row_groups == 1), 1)]
    return (
        _some(own & (d.positions == (columns * count) << d.clone_log2) for own, count in copies) == 0,
        d.row_lanes != d.row_groups * machine.group_lanes,
        (d.split_groups == 0) & (d.stored_lanes != d.row_lanes),
        (d.split_groups == 1) & (d.stored_lanes != machine.lanes),
        d.tile_rows != (d.row_groups * (machine.group_lanes * machine.slots)) >> shared,
        d.tiles == 0,
        d.last_full > slot_groups,
        d.last_edge >= d.row_lanes,
        (d.last_full == 0) & (d.last_edge == 0),
        (d.last_full == slot_groups) & (d.last_edge != 0),
        _some(
            (d.row_groups == count) & (full_rows == (d.last_full * count) * machine.group_lanes)
            for count in divisors
        )
        == 0,
        d.key_mode > KEYS_CLASSES,
    )


def _columns(d: Any, machine: Machine) -> tuple:
    """Return what is wrong with symbols, the columns that they meet, and how those are fetched."""
    alone = (d.clone_log2 == 0) & (d.split_log2 == 0) & (d.split_groups == 0)
    alone = alone & (d.row_groups == machine.groups)
    groups = d.part_bytes >> d.group_log2
    # By passes - 1.
    symbols = (groups, groups << 1, groups + (groups << 1), groups << 2)
    return (
        d.passes >= machine.passes,
        d.part_symbols == 0,
        _some((d.passes == number) & (d.part_symbols == own) for number, own in enumerate(symbols)) == 0,
        groups << d.group_log2 != d.part_bytes,
        d.part_words != (d.part_bytes + POOL_WORD - 1) >> _POOL_WORD_LOG2,
        d.chunk_words == 0,
        d.chunk_words > machine.patch_words >> d.clone_log2 + d.split_log2,
        (d.hold == 1) & (d.part_words > d.chunk_words),
        _split_word(d.input_pitch),
        d.input_bytes > d.input_pitch,
        d.column_period == 0,
        d.column_period > machine.column_classes,
        d.distance == 0,
        d.distance > MAX_DISTANCE,
        (d.product_tables == 1) & ((alone == 0) | (1 << d.group_log2 > machine.group)),
        (d.product_tables == 0) & ((d.group_log2 != 0) | (not machine.multipliers)),
    )


def _outputs(d: Any, machine: Machine) -> tuple:
    """Return what is wrong with how sums become outputs."""
    roundings = len(ROUNDINGS) - (not machine.float_rounding)
    return (
        _split_word(d.output_pitch),
        d.rows > d.output_pitch,
        (d.use_thresholds == 0) & (d.records_words != d.rows),
        (d.use_thresholds == 1) & (d.records_words != d.rows << _THRESHOLD_WORDS_LOG2),
        (d.use_thresholds == 1) & (not machine.thresholds),
        (d.use_thresholds == 1) & (d.step < -1),
        (d.use_thresholds == 0) & (d.rounding >= roundings),
        d.low > d.high,
    )
