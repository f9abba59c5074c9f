"""The arrays of a stream plan: which codeword each stream decodes in each tile."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..spec.layout import StreamPlan


@dataclass(frozen=True)
class Arrangement:
    """A stream plan as arrays. Codeword ``row * parts + part`` is part `part` of row `row`."""

    plan: StreamPlan

    @cached_property
    def stream(self) -> np.ndarray:
        """Stream of each part of a tile's rows, int64, shape (tile rows, parts)."""
        plan, sharing = self.plan, self.plan.sharing
        row = np.arange(plan.tile_rows)[:, None]
        part = np.arange(sharing.parts)[None, :]
        slot_group, lane = np.divmod(row, plan.row_lanes)
        group, slot_part = np.divmod(part, sharing.split_slots)
        return (group * plan.row_lanes + lane) * plan.slots + slot_group * sharing.split_slots + slot_part

    @cached_property
    def position(self) -> np.ndarray:
        """Place of each stream in its tile, ``row in tile * parts + part``, int64, shape (streams,)."""
        result = np.empty(self.plan.streams, np.int64)
        result[self.stream.reshape(-1)] = np.arange(self.plan.streams)
        return result

    def active(self, tile: int) -> np.ndarray:
        """Return which streams have a row in a tile, bool, shape (streams,)."""
        rows = min(self.plan.rows - tile * self.plan.tile_rows, self.plan.tile_rows)
        return self.position < rows * self.plan.sharing.parts

    @cached_property
    def lane_of(self) -> np.ndarray:
        """Lane of each stream, int64, shape (streams,)."""
        return np.arange(self.plan.streams) // self.plan.slots

    def split(self, symbols: np.ndarray, padding: int) -> np.ndarray:
        """Cut rows into codewords: (rows, symbols) to (rows * parts, symbols of a part)."""
        plan = self.plan
        missing = plan.part_symbols * plan.sharing.parts - symbols.shape[1]
        if missing:
            symbols = np.pad(symbols, ((0, 0), (0, missing)), constant_values=padding)
        return symbols.reshape(plan.rows * plan.sharing.parts, plan.part_symbols)

    def join(self, codewords: np.ndarray) -> np.ndarray:
        """Undo `split`: (rows * parts, symbols of a part) to (rows, symbols)."""
        plan = self.plan
        return codewords.reshape(plan.rows, plan.sharing.parts * plan.part_symbols)[:, : plan.symbols]


def lane_words(lanes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one array that holds all lanes, and where each begins and ends in it."""
    base = lanes[0].base if lanes else None
    if not (
        isinstance(base, np.ndarray) and all(lane.base is base for lane in lanes) and base.dtype == np.uint16
    ):
        base = np.concatenate(lanes) if len(lanes) > 1 else lanes[0]
        ends = np.cumsum([len(lane) for lane in lanes])
        return base, np.concatenate([[0], ends[:-1]]), ends
    at = np.array([lane.ctypes.data - base.ctypes.data for lane in lanes], np.int64) // 2
    return base, at, at + np.array([len(lane) for lane in lanes], np.int64)
