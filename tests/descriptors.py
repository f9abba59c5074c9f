"""Descriptors of layers: consistent ones for any machine, and a table of what is refused."""

from dataclasses import replace

from weightstream.spec.image import DESCRIPTOR, KEYS_RICE, OP_END, OP_LOAD, OP_MATRIX, OP_STORE
from weightstream.spec.machine import Machine

MACHINE = Machine(lanes=16, slots=8, group=2, passes=2, column_classes=64, patch_words=64, address_bits=40)
POOL = MACHINE.pool_bytes


def layer(machine=MACHINE, **given):
    """Return the fields of a layer: what is given, and what follows from it."""
    d = {"row_groups": machine.groups, "clone_log2": 0, "split_log2": 0, "split_groups": 0, "rows": 868}
    d |= {"part_symbols": 30, "passes": 0, "group_log2": 0, "use_thresholds": 0} | given
    slot_groups = machine.slots >> d["clone_log2"] + d["split_log2"]
    row_lanes = d["row_groups"] * machine.group_lanes
    tile_rows = row_lanes * slot_groups
    tiles = -(-d["rows"] // tile_rows)
    last_full, last_edge = divmod(d["rows"] - (tiles - 1) * tile_rows, row_lanes)
    part_bytes = (d["part_symbols"] // (d["passes"] + 1)) << d["group_log2"]
    part_words = -(-part_bytes // 8)
    copies = 1 if d["split_groups"] else machine.groups // d["row_groups"]
    derived = {
        "op": OP_MATRIX,
        "key_mode": KEYS_RICE,
        "config_words": 5,
        "stored_lanes": machine.lanes if d["split_groups"] else row_lanes,
        "row_lanes": row_lanes,
        "tile_rows": tile_rows,
        "tiles": tiles,
        "last_full": last_full,
        "last_edge": last_edge,
        "positions": copies * machine.columns << d["clone_log2"],
        "column_period": 2,
        "distance": 1,
        "keys_offset": 0x1000,
        "keys_words": 9,
        "records_offset": 0x2000,
        "records_words": d["rows"] << 3 * d["use_thresholds"],
        "part_bytes": part_bytes,
        "part_words": part_words,
        "chunk_words": 4,
        "input_bytes": part_bytes,
        "input_pitch": 8 * part_words,
        "output_base": POOL // 2,
        "output_pitch": -(-d["rows"] // 8) * 8,
    }
    return derived | d


TABLES = {"product_tables": 1, "group_log2": 1}
GROUPS = {"split_groups": 1, "row_groups": 1}
#: What a machine has can be asked for: what the machine is, what is given of a layer.
POSSIBLE = {
    "plain": ({}, {}),
    "end": ({}, {"op": OP_END, "input_base": 1}),
    "load": ({}, {"op": OP_LOAD, "output_base": POOL - 8, "input_base": 1}),
    "store": ({}, {"op": OP_STORE, "input_base": POOL - 8, "output_base": POOL}),
    "one row": ({}, {"rows": 1}),
    "a whole tile": ({}, {"rows": 128}),
    "many tiles": ({}, {"rows": (1 << 21) - 8, "chunk_words": 1}),
    "clones": ({}, {"clone_log2": 3}),
    "parts": ({}, {"split_log2": 3}),
    "clones and parts": ({}, {"clone_log2": 1, "split_log2": 2}),
    "clones in groups": ({}, {"row_groups": 1}),
    "parts in groups": ({}, GROUPS | {"clone_log2": 1}),
    "parts in one group": ({"lanes": 8}, GROUPS),
    "three groups": ({"lanes": 24}, {"rows": 1000, "clone_log2": 1}),
    "clones in three groups": ({"lanes": 24}, {"row_groups": 1}),
    "passes": ({}, {"passes": 1}),
    "three passes": ({"passes": 4}, {"passes": 2}),
    "four passes": ({"passes": 4}, {"passes": 3, "part_symbols": 32}),
    "tables": ({}, TABLES),
    "tables of four": ({"group": 4}, TABLES | {"group_log2": 2}),
    "held columns": ({}, {"hold": 1}),
    "columns in chunks": ({}, {"part_symbols": 1000, "chunk_words": 64}),
    "chunks of clones": ({}, {"part_symbols": 1000, "clone_log2": 2, "chunk_words": 16}),
    "limits of columns": ({}, {"column_period": 64, "distance": 16}),
    "limits of the pool": ({}, {"input_base": POOL - 8, "output_base": POOL - 8}),
    "no columns": ({}, {"input_bytes": 0}),
    "classes": ({}, {"key_mode": 2}),
    "thresholds": ({}, {"use_thresholds": 1, "rounding": 3, "step": -1, "low": 0, "high": 0}),
    "as float32": ({}, {"rounding": 2, "low": -5, "high": -5}),
}
#: What is refused: the machine, what is given of a layer, and which fields are then changed.
IMPOSSIBLE = {
    **{
        f"{name} 0": ({}, {}, {name: 0})
        for name in ("rows", "tiles", "tile_rows", "row_lanes", "row_groups", "stored_lanes", "part_symbols")
        + ("part_bytes", "part_words", "chunk_words", "positions", "column_period", "distance")
        + ("input_pitch", "output_pitch", "records_words")
    },
    **{
        f"{name} {value}": ({}, {}, {name: value})
        for name, value in (
            *(("op", 4), ("op", 15), ("key_mode", 3), ("rounding", 3), ("passes", 2), ("passes", 3)),
            *(("row_groups", 1), ("row_groups", 3), ("row_groups", 4), ("split_groups", 1)),
            *(("stored_lanes", 3), ("stored_lanes", 8), ("stored_lanes", 17), ("row_lanes", 8)),
            *(("tile_rows", 127), ("tile_rows", 64), ("tiles", 6), ("tiles", 8), ("tiles", (1 << 21) - 1)),
            *(("rows", 867), ("rows", 869), ("last_full", 5), ("last_full", 9), ("last_full", 31)),
            *(("last_edge", 3), ("last_edge", 16), ("last_edge", 127), ("clone_log2", 1), ("clone_log2", 4)),
            *(("split_log2", 1), ("split_log2", 7), ("positions", 1), ("positions", 4), ("group_log2", 1)),
            *(("part_symbols", 31), ("part_bytes", 29), ("part_bytes", 32), ("part_words", 3)),
            *(("part_words", 5), ("chunk_words", 65), ("column_period", 65), ("distance", 17)),
            *(("input_base", POOL), ("input_base", 4), ("input_pitch", 36), ("input_bytes", 33)),
            *(("output_base", POOL), ("output_base", 1), ("output_pitch", 864), ("output_pitch", 876)),
            *(("records_words", 867), ("use_thresholds", 1), ("low", 1)),
        )
    },
    "load behind the pool": ({}, {"op": OP_LOAD}, {"output_base": POOL}),
    "load within a word": ({}, {"op": OP_LOAD}, {"output_base": 9}),
    "store behind the pool": ({}, {"op": OP_STORE}, {"input_base": POOL}),
    "store within a word": ({}, {"op": OP_STORE}, {"input_base": 12}),
    "more rows than tiles": ({}, {"rows": 1024}, {"tiles": 7, "last_full": 16}),
    "a tile too many": ({}, {"rows": 1024}, {"tiles": 9, "last_full": 0}),
    "no row in the last tile": ({}, {"rows": 0}, {"tiles": 1, "last_full": 0, "last_edge": 0}),
    "rows behind a full tile": ({}, {"rows": 132}, {"tiles": 1, "last_full": 8, "last_edge": 4}),
    "no tile": ({}, {"rows": 0}, {"tiles": 0, "last_full": 8}),
    "an edge of all lanes": ({}, {"rows": 112}, {"last_full": 6, "last_edge": 16}),
    "other lanes": ({}, {}, {"row_lanes": 15, "stored_lanes": 15}),
    "rows of one tile": ({}, {"rows": 100}, {"tile_rows": 64}),
    "more shared than slots": ({}, {"clone_log2": 2, "rows": 4}, {"split_log2": 2, "tile_rows": 8}),
    "no symbols": ({}, {"part_symbols": 0}, {}),
    "too many passes": ({}, {"passes": 2}, {}),
    "chunks of clones": ({}, {"part_symbols": 1000, "clone_log2": 2}, {"chunk_words": 17}),
    "held chunks": ({}, {"part_symbols": 1000}, {"chunk_words": 64, "hold": 1}),
    "half a group": ({}, TABLES | {"passes": 1}, {"part_bytes": 31}),
    "parts in groups with rows": ({}, {}, {"split_groups": 1, "positions": 2}),
    "parts in groups as clones": ({}, GROUPS, {"positions": 4}),
    "stored parts": ({}, GROUPS, {"stored_lanes": 8}),
    "groups that do not divide": ({"lanes": 24}, {"row_groups": 2}, {}),
    "thresholds' steps": ({}, {"use_thresholds": 1}, {"step": -2}),
    "thresholds' records": ({}, {"use_thresholds": 1}, {"records_words": 868}),
    "no float rounding": ({"float_rounding": False}, {"rounding": 2}, {}),
    "no multipliers": ({"multipliers": False}, {}, {}),
    "no tables": ({"group": 0}, {"product_tables": 1}, {}),
    "no thresholds": ({"thresholds": False}, {"use_thresholds": 1}, {}),
    "tables of four": ({}, TABLES | {"group_log2": 2}, {}),
    "tables of eight": ({"group": 4}, TABLES | {"group_log2": 3}, {}),
    "tables and clones": ({}, TABLES | {"clone_log2": 1}, {}),
    "tables and parts": ({}, TABLES | {"split_log2": 1}, {}),
    "tables and clones in groups": ({}, TABLES | {"row_groups": 1}, {}),
    "tables and parts in groups": ({}, TABLES | GROUPS, {}),
}


def case(changes, given, changed=None):
    """Return machine and all fields of an entry of a table."""
    machine = replace(MACHINE, **changes)
    zeros = dict.fromkeys((field.name for field in DESCRIPTOR), 0)
    return machine, zeros | layer(machine, **given) | (changed or {})
