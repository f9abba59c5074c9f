"""The image: a network as the accelerator reads it from memory.

The driver makes it from a model file: streams and keys go as they are, what the file codes adaptively
(tables, maps, palettes) is expanded. All offsets are in bytes from the start of the image::

    header        16 words of 32 bits
    program       for each operation: descriptor, lane table, configuration; read once, in order, by bursts
    data          row records, keys, streams

The program and every section of the data begin at a multiple of 16 bytes; within the program nothing is
padded. docs/image.md describes it field by field.
"""

import struct
from dataclasses import dataclass

MAGIC = int.from_bytes(b"WSIM", "little")
VERSION = 1
#: Items of a batch: the register that holds their number has 16 bits.
MAX_BATCH = (1 << 16) - 1
#: The program is read by one command, which counts so many 64-bit words.
MAX_PROGRAM_WORDS = (1 << 24) - 1
#: Sections begin at multiples of this, so that a beat of the widest bus belongs to one section.
ALIGNMENT = 16

#: magic, version, digest of the machine, bytes of the image, offset and 64-bit words of the program,
#: operations.
HEADER = struct.Struct("<7I36x")
HEADER_BYTES = HEADER.size
assert HEADER_BYTES == 64

#: An entry of a lane table: offset of the lane's first word, a multiple of 2; words.
LANE = struct.Struct("<II")

#: A row record of a requantising layer: bias; multiplier (24 bits), shift (6 bits) above it.
RECORD = struct.Struct("<iI")
SHIFT_LSB = 24
#: A row record of a threshold layer: 16 thresholds, those that are not used are 0.
THRESHOLD_RECORD = struct.Struct("<16i")

OP_END, OP_LOAD, OP_MATRIX, OP_STORE = range(4)
KEYS_NONE, KEYS_RICE, KEYS_CLASSES = range(3)
ROUNDINGS = ("up", "even", "float32")

DESCRIPTOR_WORDS = 32
DESCRIPTOR_BYTES = 4 * DESCRIPTOR_WORDS


@dataclass(frozen=True)
class Field:
    """A field of a descriptor.

    Parameters
    ----------
    name : str
        Its name, in software and gateware.
    word, lsb : int
        32-bit word of the descriptor, lowest bit within it.
    bits : int
        Width.
    doc : str
        What it says.
    signed : bool
        Two's complement.
    """

    name: str
    word: int
    lsb: int
    bits: int
    doc: str
    signed: bool = False


def _place(*fields: tuple) -> tuple[Field, ...]:
    """Put fields one after another, each within one word; a new word begins where one does not fit."""
    placed, word, lsb = [], 0, 0
    for name, bits, doc, *signed in fields:
        if lsb + bits > 32:
            word, lsb = word + 1, 0
        placed.append(Field(name, word, lsb, bits, doc, bool(signed)))
        lsb += bits
    assert word < DESCRIPTOR_WORDS
    return tuple(placed)


DESCRIPTOR = _place(
    ("op", 4, "operation: 0 end, 1 load, 2 matrix, 3 store"),
    ("product_tables", 1, "multiply by product tables, not by multipliers"),
    ("signed_input", 1, "inputs are int8, not uint8"),
    ("use_thresholds", 1, "outputs count thresholds, they are not requantised"),
    ("rounding", 2, "0 halves up, 1 halves to even, 2 as float32"),
    ("key_mode", 2, "0 no keys, one row class; 1 Rice-coded gaps; 2 no keys, a 4-bit class for each row"),
    ("group_log2", 2, "log2 of the weights a symbol"),
    ("passes", 2, "symbols a group of weights, minus 1"),
    ("hold", 1, "all columns fit one half of the patch buffer: they are fetched once a pass"),
    ("clone_log2", 3, "log2 of r, the clones in slots"),
    ("split_log2", 3, "log2 of s, the parts in slots"),
    ("split_groups", 1, "t: each group of lanes has a part of its own, all groups are summed up"),
    ("row_groups", 4, "groups of lanes that hold different rows; the others are clones or parts of them"),
    ("config_words", 20, "64-bit words of configuration behind the lane table"),
    ("stored_lanes", 7, "entries of the lane table: lanes that the file holds words for"),
    ("rows", 21, "rows of the matrix"),
    ("tile_rows", 11, "rows of a tile"),
    ("tiles", 21, "tiles, the last one may have fewer rows"),
    ("row_lanes", 7, "lanes that the first parts of a tile's rows occupy"),
    ("part_symbols", 24, "symbols of a part: rounds a tile"),
    ("last_full", 5, "slot groups of the last tile in which all lanes have a row"),
    ("last_edge", 7, "lanes, counted within row_lanes, that have a row in the slot group behind those"),
    ("positions", 12, "batch items of a pass: r * m * B"),
    ("column_period", 17, "groups of weights after which the classes of columns repeat"),
    ("distance", 5, "how far back the second neighbour stands, 1 to 16"),
    ("keys_offset", 32, "keys, or classes of rows"),
    ("keys_words", 24, "their 64-bit words"),
    ("records_offset", 32, "row records"),
    ("records_words", 24, "their 64-bit words"),
    ("input_base", 24, "matrix, store: pool address of what is read, a multiple of 8"),
    ("input_pitch", 21, "bytes from one batch item to the next, a multiple of 8"),
    ("input_bytes", 21, "bytes of an item: K; what lies behind reads as 0"),
    ("part_bytes", 21, "bytes from one part of the columns to the next"),
    ("part_words", 18, "8-byte words that hold a part's bytes"),
    ("chunk_words", 13, "of them, those that half of a patch buffer holds for every slot: its words / (r s)"),
    ("output_base", 24, "matrix, load: pool address of what is written, a multiple of 8"),
    ("output_pitch", 21, "bytes from one batch item to the next, a multiple of 8"),
    ("zero_point", 11, "added to what was rounded, or to the steps of thresholds", "signed"),
    ("low", 11, "least output", "signed"),
    ("high", 11, "greatest output", "signed"),
    ("step", 2, "output step a threshold, -1 to 1", "signed"),
    ("threshold_count", 4, "thresholds a row"),
    ("item_words", 18, "load, store: 64-bit words an item"),
)

#: A configuration word: kind 63..60, address 59..48, data 47..0. By kind, address and data are
#: coarse: table; cum[4], cum[8], cum[12]. fine: 4 * table + q; cum[4q + 1], cum[4q + 2], cum[4q + 3].
#: contexts: a context, a multiple of 8; the tables of 8 contexts.
#: neighbour: symbol, + 16 if there is one before; previous field (8 bits), class `distance` back (4 bits).
#: columns: group of weights // 8; classes of 8 groups. column field: 16 * pass + class; bits of the context.
#: palette: 16 * pass + symbol; a signed byte for each weight of the group. key class: class; its fields.
CONFIG_KIND_LSB, CONFIG_ADDRESS_LSB = 60, 48
(
    CONFIG_NONE,
    CONFIG_COARSE,
    CONFIG_FINE,
    CONFIG_CONTEXTS,
    CONFIG_NEIGHBOUR,
    CONFIG_COLUMNS,
    CONFIG_COLUMN_FIELD,
    CONFIG_PALETTE,
    CONFIG_KEY_CLASS,
) = range(9)

#: Thresholds of a table in one word: 3 x 14 bits, lowest first.
THRESHOLD_LSBS = (0, 14, 28)
#: Table numbers of 8 contexts in a word, 6 bits each; classes of 8 columns, 4 bits each.
CONTEXTS_A_WORD = 8
COLUMNS_A_WORD = 8
#: A key class, lowest bits first: rows, k, Rice parameter, lift, field of the row class in a context.
KEY_CLASS_FIELDS = (("rows", 21), ("key_bits", 4), ("rice", 4), ("lift", 1), ("field", 4))


def pack_descriptor(**values: int) -> bytes:
    """Return the bytes of a descriptor; fields that are not given are 0.

    Raises
    ------
    ValueError
        A value does not fit its field, or there is no such field.
    """
    words = [0] * DESCRIPTOR_WORDS
    known = {field.name: field for field in DESCRIPTOR}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"a descriptor has no field {name!r}")
        field = known[name]
        least, end = (-(1 << field.bits - 1), 1 << field.bits - 1) if field.signed else (0, 1 << field.bits)
        if not least <= value < end:
            raise ValueError(f"{name} must be in [{least}, {end - 1}], not {value}")
        words[field.word] |= (value & (1 << field.bits) - 1) << field.lsb
    return struct.pack(f"<{DESCRIPTOR_WORDS}I", *words)


def unpack_descriptor(data: bytes) -> dict[str, int]:
    """Return the fields of a descriptor."""
    words = struct.unpack(f"<{DESCRIPTOR_WORDS}I", data)
    values = {}
    for field in DESCRIPTOR:
        value = words[field.word] >> field.lsb & (1 << field.bits) - 1
        if field.signed and value >> field.bits - 1:
            value -= 1 << field.bits
        values[field.name] = value
    return values


def config_word(kind: int, address: int, data: int) -> int:
    """Return a configuration word."""
    assert 0 <= kind < 16 and 0 <= address < 1 << 12 and 0 <= data < 1 << 48
    return kind << CONFIG_KIND_LSB | address << CONFIG_ADDRESS_LSB | data


def unpack_config_word(word: int) -> tuple[int, int, int]:
    """Return kind, address and data of a configuration word."""
    return word >> CONFIG_KIND_LSB, word >> CONFIG_ADDRESS_LSB & 0xFFF, word & (1 << CONFIG_ADDRESS_LSB) - 1


def pack_key_class(**values: int) -> int:
    """Return the data of a key class, from all its fields."""
    data = lsb = 0
    for name, bits in KEY_CLASS_FIELDS:
        assert 0 <= values[name] < 1 << bits
        data |= values[name] << lsb
        lsb += bits
    return data


def unpack_key_class(data: int) -> dict[str, int]:
    """Return the fields of a key class."""
    values = {}
    for name, bits in KEY_CLASS_FIELDS:
        values[name] = data & (1 << bits) - 1
        data >>= bits
    return values


def descriptor_table() -> str:
    """Return the fields of a descriptor as a Markdown table."""
    lines = ["| word | bits | field | meaning |", "|---|---|---|---|"]
    for field in DESCRIPTOR:
        bits = f"{field.lsb + field.bits - 1}..{field.lsb}" if field.bits > 1 else f"{field.lsb}"
        sign = ", signed" if field.signed else ""
        lines.append(f"| {field.word} | {bits}{sign} | `{field.name}` | {field.doc} |")
    return "\n".join(lines) + "\n"
