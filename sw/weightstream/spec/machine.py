"""What an accelerator is built with: one object for gateware, driver, compressor and simulation."""

import zlib
from dataclasses import asdict, dataclass

from ..errors import LayoutError
from .coder import MAX_CONTEXT_BITS, MAX_PASSES, MAX_TABLES
from .layout import Layout

#: Lanes that share an activation feed, a drain and a word of outputs.
LANE_GROUP = 8
#: Bytes of a word of the activation memory: tensors begin with one, and so does each item of a batch.
POOL_WORD = 8
#: Stages of the decoder's loop: the fewest slots that keep a lane busy on every clock.
RING_STAGES = 8


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Parameters of an accelerator.

    Parameters
    ----------
    lanes : int
        Decoders, 1 to 64: 1, 2, 4, or a multiple of 8.
    slots : int
        Streams a lane, 8 or 16: the stages of its ring.
    columns : int
        Batch items that a decoded symbol is used for side by side (B), 1 to 16.
    multipliers : bool
        Whether lanes multiply: one weight a symbol, any clones and parts.
    group : int
        The most weights a symbol that product tables take, 1, 2 or 4; 0: there are none. They need one
        activation for all slots and lanes: no clones, no parts.
    passes : int
        The most symbols a group of weights, 1, 2 or 4.
    thresholds, float_rounding : bool
        Whether outputs can be multi-threshold functions; whether sums can be rounded as float32 does.
    bus_bits : int
        Width of the memory bus, 32, 64 or 128.
    address_bits : int
        Width of its addresses, 32 to 64.
    burst_beats : int
        The longest burst, 4 to 256 beats, a power of two; at most 16 for AXI3.
    queue_words : int
        Words of 16 bits that a lane's queue holds, a power of two.
    pool_bytes : int
        Activation memory, a power of two.
    patch_words : int
        Words of 8 bytes in one half of a patch buffer, a power of two.
    column_classes : int
        Entries of the map from columns to classes, a power of two.

    Raises
    ------
    TypeError
        A parameter is of another type.
    LayoutError
        A parameter is out of range.
    """

    lanes: int = 8
    slots: int = 8
    columns: int = 2
    multipliers: bool = True
    group: int = 4
    passes: int = 4
    thresholds: bool = True
    float_rounding: bool = True
    bus_bits: int = 64
    address_bits: int = 32
    burst_beats: int = 16
    queue_words: int = 1024
    pool_bytes: int = 1 << 16
    patch_words: int = 256
    column_classes: int = 4096

    def __post_init__(self):
        choices = {
            "lanes": (1, 2, 4, *range(8, 65, 8)),
            "slots": (8, 16),
            "columns": tuple(range(1, 17)),
            "group": (0, 1, 2, 4),
            "passes": (1, 2, 4),
            "bus_bits": (32, 64, 128),
            "address_bits": tuple(range(32, 65)),
            "burst_beats": tuple(1 << n for n in range(2, 9)),
            "queue_words": tuple(1 << n for n in range(8, 15)),
            "pool_bytes": tuple(1 << n for n in range(10, 25)),
            "patch_words": tuple(1 << n for n in range(6, 13)),
            "column_classes": tuple(1 << n for n in range(6, 16)),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, not {value!r}")
            if value not in allowed:
                raise LayoutError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value}")
        if not self.multipliers and not self.group:
            raise LayoutError("a machine must have multipliers or product tables (group >= 1)")

    @property
    def layout(self) -> Layout:
        """Lanes and slots, as the codec knows them."""
        return Layout(self.lanes, self.slots)

    @property
    def group_lanes(self) -> int:
        """Lanes of a group; as many bytes a group puts out together."""
        return min(self.lanes, LANE_GROUP)

    @property
    def groups(self) -> int:
        """Groups of lanes."""
        return self.lanes // self.group_lanes

    @property
    def bus_bytes(self) -> int:
        """Bytes a beat."""
        return self.bus_bits // 8

    @property
    def word_buses(self) -> int:
        """Buses that deliver stream words to the queues, a word a clock; lane l listens to bus l % buses."""
        return min(self.bus_bits // 16, self.group_lanes)

    @property
    def pool_address_bits(self) -> int:
        """Bits of a byte address of the activation memory."""
        return (self.pool_bytes - 1).bit_length()

    @property
    def context_bits(self) -> int:
        """Bits of a context."""
        return MAX_CONTEXT_BITS

    @property
    def tables(self) -> int:
        """Frequency tables of a lane."""
        return MAX_TABLES

    @property
    def digest(self) -> int:
        """CRC-32 of all parameters: what an image is made for."""
        return zlib.crc32(repr(sorted(asdict(self).items())).encode())

    def __str__(self) -> str:
        return f"{self.lanes} lanes x {self.slots} slots x {self.columns} columns"


assert MAX_PASSES == 4

#: Machines that are built, tested and measured.
PRESETS = {
    "tiny": Machine(lanes=2, slots=8, columns=2, queue_words=256, pool_bytes=1 << 15, column_classes=1024),
    "ecp5_85f": Machine(lanes=8, slots=8, columns=2, pool_bytes=1 << 17),
    # Half the pool of ecp5_85f: the block RAM is needed for networks.
    "ulx3s": Machine(lanes=8, slots=8, columns=2, pool_bytes=1 << 16),
    "pynq_z2": Machine(lanes=24, slots=8, columns=2, bus_bits=128, pool_bytes=1 << 17),
    "kv260": Machine(lanes=64, slots=8, columns=8, bus_bits=128, address_bits=40, pool_bytes=1 << 20),
}
