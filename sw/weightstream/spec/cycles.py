"""How many clocks a layer takes on an accelerator: what the compressor chooses clones and parts by."""

from itertools import product

from .coder import MAX_CONTEXT_BITS, MAX_TABLES
from .layout import Layout, Sharing, StreamPlan
from .machine import LANE_GROUP

#: A more involved sharing must save this share of the clocks: each part costs half a bit a row.
_WORTH = 0.02
#: Rounds of a pass in which streams end and begin.
_PASS_ROUNDS = 7
#: Clocks from the last symbol of a tile to the first sum that is drained, and to the last that is written.
_DRAIN_LATENCY = 40
#: Clocks in which a drain compares a sum with thresholds.
_THRESHOLD_CLOCKS = 8
#: What a layer's tables may cost: a share of its clocks, or so many.
_SETUP_SHARE = 0.015
_SETUP_CLOCKS = 280


def layer_cycles(
    plan: StreamPlan,
    positions: int = 1,
    columns: int = 1,
    group: int = 1,
    patch_words: int = 256,
    thresholds: bool = False,
) -> int:
    """Estimate the clocks of a layer, memory permitting.

    A tile takes as long as the slowest of three: lanes, which decode a symbol a slot and round; the column
    fetch, which reads a word of 8 activations a clock for every part, clone and batch item; the drain of the
    tile before, a part's sum a clock and group of lanes. Columns that fit the patch buffer are fetched once a
    pass.

    Parameters
    ----------
    plan : StreamPlan
        The layer's streams.
    positions : int
        Output positions times batch items that each row is used for.
    columns : int
        Positions that a lane works on side by side (B).
    group : int
        Weights a symbol.
    patch_words : int
        Words of 8 bytes in one half of a patch buffer.
    thresholds : bool
        Whether outputs count thresholds, which takes a drain longer.
    """
    sharing, slots = plan.sharing, plan.layout.slots
    in_ring = sharing.clone_slots * sharing.split_slots
    copies = sharing.clone_groups * sharing.split_groups
    passes = -(-positions // (sharing.clone_slots * sharing.clone_groups * columns))
    part_words = -(-plan.part_symbols // plan.together * group // 8)
    decode = (plan.part_symbols + 1) * slots
    fetch = part_words * in_ring * copies * columns
    slot_groups = min(slots // in_ring, -(-plan.rows // plan.row_lanes))
    outputs = LANE_GROUP * slot_groups * min(sharing.clone_slots * columns, positions)
    drain = outputs * max(sharing.split_slots, _THRESHOLD_CLOCKS if thresholds else 1) + _DRAIN_LATENCY
    hold = part_words * in_ring <= patch_words
    first = max(decode, fetch)
    other = decode if hold else first
    # Nothing is drained beside the first tile; behind the last one, nothing else is done.
    first_of_pass, other = max(first, drain), max(other, drain)
    tiles = first + (passes - 1) * first_of_pass + passes * (plan.tiles - 1) * other
    return _PASS_ROUNDS * slots * passes + tiles + drain


def context_budget(cycles: int) -> tuple[int, int]:
    """Return how many bits of context and how many tables a layer may have.

    A machine loads an entry of the context map a clock and a table in five, before the layer's first symbol:
    together they may take `_SETUP_SHARE` of the layer's clocks, or `_SETUP_CLOCKS` if that is more.
    """
    clocks = max(_SETUP_CLOCKS, int(_SETUP_SHARE * cycles))
    bits = max(1, (clocks // 2).bit_length() - 1)
    return min(bits, MAX_CONTEXT_BITS), max(1, min((clocks - (1 << bits)) // 5, MAX_TABLES))


def choose_sharing(
    rows: int,
    symbols: int,
    layout: Layout,
    together: int = 1,
    group: int = 1,
    *,
    positions: int = 1,
    columns: int = 1,
    multipliers: bool = True,
    patch_words: int = 256,
    thresholds: bool = False,
) -> Sharing:
    """Return the clones and parts with which a dense layer takes the fewest clocks.

    Clones and parts in slots are powers of two. Groups of lanes hold a part each, or all parts: then they may
    be clones. All of this needs a multiplier a lane, which takes one weight a symbol; product tables share
    nothing. Without a gain, every slot has its own rows.

    Parameters
    ----------
    rows, symbols : int
        Rows of the matrix, symbols a row.
    layout : Layout
        Lanes and slots of the machine.
    together : int
        Symbols that stay in one part: the passes of a group of weights.
    group : int
        Weights a symbol.
    positions : int
        Batch items that are expected.
    columns, multipliers, patch_words
        Of the machine.
    thresholds : bool
        Whether outputs count thresholds.
    """
    best = Sharing()
    if group > 1 or not multipliers:
        return best
    lane_groups = layout.lanes // LANE_GROUP if layout.lanes % LANE_GROUP == 0 else 1
    in_groups = [(1, m) for m in range(1, lane_groups + 1) if lane_groups % m == 0]
    in_groups += [(lane_groups, 1)] * (lane_groups > 1)
    in_ring = [1 << n for n in range(layout.slots.bit_length()) if layout.slots % (1 << n) == 0]
    least = 0
    for (split_groups, clone_groups), clone_slots, split_slots in product(in_groups, in_ring, in_ring):
        parts = split_groups * split_slots
        if layout.slots % (clone_slots * split_slots) or parts * together > max(symbols, 1):
            continue
        sharing = Sharing(
            clone_slots=clone_slots,
            clone_groups=clone_groups,
            split_slots=split_slots,
            split_groups=split_groups,
        )
        plan = StreamPlan(rows, symbols, layout, sharing, together)
        cycles = layer_cycles(plan, positions, columns, group, patch_words, thresholds)
        if not least or cycles < (1 - _WORTH) * least:
            best, least = sharing, cycles
    return best
