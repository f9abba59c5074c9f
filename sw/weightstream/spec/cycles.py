"""How many clocks a layer takes on an accelerator: what the compressor chooses clones and parts by."""

from .layout import Layout, Sharing, StreamPlan

#: Lanes that share an activation feed and a drain.
LANE_GROUP = 8


def layer_cycles(plan: StreamPlan, positions: int = 1, columns: int = 1) -> int:
    """Estimate the clocks of a layer, memory permitting.

    Parameters
    ----------
    plan : StreamPlan
        The layer's streams.
    positions : int
        Output positions times batch items that each row is used for.
    columns : int
        Positions that a lane works on side by side (B).
    """
    sharing, slots = plan.sharing, plan.layout.slots
    side_by_side = sharing.clone_slots * sharing.clone_groups * columns
    passes = -(-positions // side_by_side)
    return passes * (24 + plan.tiles * (plan.part_symbols + 1) * slots) + 8 * slots * columns + 20


def choose_sharing(rows: int, symbols: int, layout: Layout, together: int = 1, group: int = 1) -> Sharing:
    """Return the parts that a dense layer at batch 1 should be cut into.

    Parts in slots need a multiplier a lane, which takes one weight a symbol (`group` = 1); parts in groups of
    lanes need whole groups. Without a gain, rows stay whole: each part costs half a bit a row.
    """
    splits = [n for n in range(1, layout.slots + 1) if layout.slots % n == 0] if group == 1 else [1]
    lane_groups = layout.lanes // LANE_GROUP if layout.lanes % LANE_GROUP == 0 else 1
    best, least = Sharing(), 0
    for split_groups in (n for n in range(1, lane_groups + 1) if lane_groups % n == 0):
        for split_slots in splits:
            sharing = Sharing(split_slots=split_slots, split_groups=split_groups)
            if split_slots * split_groups * together > max(symbols, 1):
                continue
            cycles = layer_cycles(StreamPlan(rows, symbols, layout, sharing, together))
            if not least or cycles < 0.98 * least:
                best, least = sharing, cycles
    return best
