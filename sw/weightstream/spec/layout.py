"""How the rows of a matrix are dealt to parallel streams.

``lanes x slots`` codewords are decoded side by side. A lane has one queue of words, from which its
slots are served in turn. Four powers keep many lanes busy on few rows:

``clone_slots`` (r), ``clone_groups`` (m)
    so many adjacent slots of a ring, groups of lanes, work on the *same* weights for other batch items
    or positions; the file holds each stream once.
``split_slots`` (s), ``split_groups`` (t)
    each row is cut into ``s * t`` parts, codewords of their own in adjacent slots and in groups of
    lanes, whose sums the drain adds.
"""

from dataclasses import dataclass
from functools import cached_property

from ..errors import LayoutError

MAX_LANES = 64
MAX_SLOTS = 64


def _check(name: str, value: object, limit: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if not 1 <= value <= limit:
        raise LayoutError(f"{name} must be in [1, {limit}], not {value}")


@dataclass(frozen=True)
class Layout:
    """Streams of a machine or of a file.

    Parameters
    ----------
    lanes : int
        Word queues, 1 to 64; in gateware, decoder lanes.
    slots : int
        Streams that share one queue, 1 to 64; in gateware, stages of the decoder's ring.

    Raises
    ------
    LayoutError
        A number is out of range.
    """

    lanes: int
    slots: int

    def __post_init__(self):
        _check("lanes", self.lanes, MAX_LANES)
        _check("slots", self.slots, MAX_SLOTS)

    @property
    def streams(self) -> int:
        """Codewords decoded side by side."""
        return self.lanes * self.slots

    def __str__(self) -> str:
        return f"{self.lanes} x {self.slots}"


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """What the lanes and slots of a machine share on one layer; all 1: every slot has its own rows."""

    clone_slots: int = 1
    clone_groups: int = 1
    split_slots: int = 1
    split_groups: int = 1

    def __post_init__(self):
        _check("clone_slots", self.clone_slots, MAX_SLOTS)
        _check("clone_groups", self.clone_groups, MAX_LANES)
        _check("split_slots", self.split_slots, MAX_SLOTS)
        _check("split_groups", self.split_groups, MAX_LANES)

    @property
    def parts(self) -> int:
        """Codewords a row."""
        return self.split_slots * self.split_groups


@dataclass(frozen=True)
class StreamPlan:
    """Where each codeword of a layer stands.

    Row ``j`` belongs to tile ``j // tile_rows``; ``u = j % tile_rows`` stands in lane
    ``u % row_lanes``, slot group ``u // row_lanes``. Its part ``q`` is ``split_slots`` wide in slots, then
    goes to the next group of lanes. Streams are numbered lane by lane: ``stream = lane * slots + slot``.

    Parameters
    ----------
    rows : int
        Rows of the matrix.
    symbols : int
        Symbols a row, all parts together, before padding.
    layout : Layout
        Lanes and slots of the machine.
    sharing : Sharing
        Clones and parts.
    together : int
        Symbols that stay in one part: the passes of a group of weights.

    Raises
    ------
    LayoutError
        Clones and parts do not divide lanes and slots.
    """

    rows: int
    symbols: int
    layout: Layout
    sharing: Sharing
    together: int = 1

    def __post_init__(self):
        x = self.sharing
        if self.layout.lanes % (x.clone_groups * x.split_groups):
            raise LayoutError(
                f"{x.clone_groups} clone groups x {x.split_groups} split groups "
                f"must divide {self.layout.lanes} lanes"
            )
        if self.layout.slots % (x.clone_slots * x.split_slots):
            raise LayoutError(
                f"{x.clone_slots} clones x {x.split_slots} parts must divide {self.layout.slots} slots"
            )

    @cached_property
    def lanes(self) -> int:
        """Distinct lanes, those the file holds words for."""
        return self.layout.lanes // self.sharing.clone_groups

    @cached_property
    def slots(self) -> int:
        """Distinct slots a lane."""
        return self.layout.slots // self.sharing.clone_slots

    @cached_property
    def streams(self) -> int:
        """Distinct streams."""
        return self.lanes * self.slots

    @cached_property
    def row_lanes(self) -> int:
        """Lanes that the first parts of a tile's rows occupy."""
        return self.lanes // self.sharing.split_groups

    @cached_property
    def tile_rows(self) -> int:
        """Rows decoded side by side."""
        return self.streams // self.sharing.parts

    @cached_property
    def tiles(self) -> int:
        """Tiles of the matrix; the last one may be partly empty."""
        return -(-self.rows // self.tile_rows)

    @cached_property
    def part_symbols(self) -> int:
        """Symbols of one part; the last part is padded to the same length."""
        return -(-self.symbols // (self.together * self.sharing.parts)) * self.together

    def stream(self, row: int, part: int) -> int:
        """Return the stream of a row's part."""
        group, slot_part = divmod(part, self.sharing.split_slots)
        slot_group, lane = divmod(row % self.tile_rows, self.row_lanes)
        return (
            (group * self.row_lanes + lane) * self.slots + slot_group * self.sharing.split_slots + slot_part
        )
