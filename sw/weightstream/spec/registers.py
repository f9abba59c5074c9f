"""The registers of an accelerator, declared once: for gateware, driver and docs/registers.md.

Control has the shape of a Vitis HLS core, so that tools and users of such cores find their way: control and
interrupts from 0x00, arguments from 0x10, a free word behind each. Identity and figures follow from 0x80.
"""

import zlib
from dataclasses import dataclass, fields
from enum import Enum, IntEnum
from itertools import accumulate

from .machine import Machine

#: What `identity.magic` reads: "WSTR", the first letter lowest.
ID_MAGIC = int.from_bytes(b"WSTR", "little")
#: Bits of a byte address.
ADDRESS_BITS = 12


class Access(Enum):
    """What reading and writing a field does, and what the core has to do with it."""

    READ = "read only", "what the accelerator shows at that moment."
    CONSTANT = "constant", "what the gateware was built with."
    COUNT = "counter", "events since power-up, as they were up to 32 clocks ago; a soft reset leaves it."
    WRITE = "read, write", "what was written."
    PULSE = "write 1: pulse", "reads 0; writing 1 does it once, writing 0 does nothing."
    START = "write 1: set", "writing 1 sets it, the accelerator clears it; if both meet, it is set."
    EVENT = (
        "clear on read",
        "the accelerator sets it, reading the register clears it; if both meet, it is set.",
    )
    TOGGLE = "write 1: toggle", "the accelerator sets it, writing 1 inverts it; if both meet, it is set."

    def __init__(self, label: str, doc: str):
        self.label = label
        self.doc = doc


@dataclass(frozen=True)
class Field:
    """A field of a register.

    Parameters
    ----------
    name : str
        Its name.
    lsb, bits : int
        Where it is.
    access : Access
        What can be done with it.
    doc : str
        What it says.
    reset : int
        Value after reset.
    event : str
        Field of the register `ctrl` whose event acts on it, if that is another one.

    Raises
    ------
    ValueError
        It has no place in 64 bits, or no doc.
    """

    name: str
    lsb: int
    bits: int
    access: Access
    doc: str
    reset: int = 0
    event: str = ""

    def __post_init__(self):
        if self.lsb < 0 or self.bits < 1 or self.lsb + self.bits > 64:
            raise ValueError(f"field {self.name} must lie within 64 bits, not at {self.lsb}+{self.bits}")
        if not 0 <= self.reset < 1 << self.bits:
            raise ValueError(f"reset of field {self.name} must fit {self.bits} bits, not {self.reset:#x}")
        if not self.doc:
            raise ValueError(f"field {self.name} must have a doc")


@dataclass(frozen=True)
class Register:
    """A register of 32 bits, or one of 64 bits in two words, the lower one first.

    Parameters
    ----------
    name : str
        Its name.
    address : int
        Byte address, a multiple of 4.
    fields : tuple of Field
        Its fields.

    Raises
    ------
    ValueError
        Its address is impossible, or fields overlap.
    """

    name: str
    address: int
    fields: tuple[Field, ...]

    def __post_init__(self):
        if self.address % 4 or not 0 <= self.address < 1 << ADDRESS_BITS:
            raise ValueError(f"address of {self.name} must be a multiple of 4 below {1 << ADDRESS_BITS:#x}")
        end = 0
        for field in sorted(self.fields, key=lambda field: field.lsb):
            if field.lsb < end:
                raise ValueError(f"field {field.name} of {self.name} overlaps the one below")
            end = field.lsb + field.bits

    @property
    def words(self) -> int:
        """Words that it takes."""
        return -(-max(field.lsb + field.bits for field in self.fields) // 32)

    def field(self, name: str) -> Field:
        """Return a field by its name.

        Raises
        ------
        KeyError
            There is no such field.
        """
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"register {self.name} has no field {name!r}")


def _register(name: str, address: int, *fields: tuple) -> Register:
    return Register(name, address, tuple(Field(*field) for field in fields))


def _address(name: str, address: int, doc: str) -> Register:
    return _register(name, address, ("address", 0, 64, Access.WRITE, doc))


def _constants(name: str, address: int, *fields: tuple[str, int, str]) -> Register:
    """Return a register of constants, each with its bits and its doc, one above the other."""
    lsbs = accumulate((bits for _, bits, _ in fields), initial=0)
    placed = [
        (field, lsb, bits, Access.CONSTANT, doc)
        for (field, bits, doc), lsb in zip(fields, lsbs, strict=False)
    ]
    return _register(name, address, *placed)


def _size(name: str, address: int, doc: str) -> Register:
    return _register(name, address, ("bytes", 0, 32, Access.WRITE, doc))


def _counter(name: str, address: int, doc: str) -> Register:
    return _register(name, address, ("count", 0, 64, Access.COUNT, doc))


REGISTERS = (
    _register(
        "ctrl",
        0x00,
        ("ap_start", 0, 1, Access.START, "Start a job; 0 again once it was taken up.", 0, "ap_ready"),
        ("ap_done", 1, 1, Access.EVENT, "A job has ended, well or not, since this register was last read."),
        ("ap_idle", 2, 1, Access.READ, "No job is under way."),
        ("ap_ready", 3, 1, Access.EVENT, "A job was taken up since this register was last read."),
        ("interrupt", 9, 1, Access.READ, "The interrupt line."),
    ),
    _register("gie", 0x04, ("enable", 0, 1, Access.WRITE, "Interrupts are enabled.")),
    _register(
        "ier",
        0x08,
        ("done", 0, 1, Access.WRITE, "The end of a job interrupts."),
        ("ready", 1, 1, Access.WRITE, "Taking up a job interrupts."),
    ),
    _register(
        "isr",
        0x0C,
        ("done", 0, 1, Access.TOGGLE, "A job has ended.", 0, "ap_done"),
        ("ready", 1, 1, Access.TOGGLE, "A job was taken up.", 0, "ap_ready"),
    ),
    _address("image", 0x10, "Where the image begins, a multiple of 16."),
    _address("input", 0x1C, "Where the inputs begin, a multiple of 16."),
    _address("output", 0x28, "Where the outputs go, a multiple of 16."),
    _register("batch", 0x34, ("items", 0, 16, Access.WRITE, "Items of the job, at least 1.", 1)),
    _register(
        "watchdog",
        0x3C,
        ("limit", 0, 32, Access.WRITE, "Clocks without progress that end a job; 0: never.", 1 << 24),
    ),
    _register(
        "reset",
        0x44,
        ("soft", 0, 1, Access.PULSE, "Give up the job without `ap_done`, forget its error; arguments stay."),
    ),
    _size("input_size", 0x4C, "Bytes of the inputs, a multiple of 8: no load reads behind them."),
    _size("output_size", 0x54, "Bytes for the outputs, a multiple of 8: no store writes behind them."),
    _register("identity", 0x80, ("magic", 0, 32, Access.CONSTANT, 'ASCII "WSTR", the first letter lowest.')),
    _register("map", 0x84, ("digest", 0, 32, Access.CONSTANT, "Digest of this list of registers.")),
    _register(
        "machine", 0x88, ("digest", 0, 32, Access.CONSTANT, "Digest of what the gateware was built with.")
    ),
    _constants(
        "shape",
        0x8C,
        ("lanes", 7, "Lanes."),
        ("slots", 5, "Slots a lane."),
        ("columns", 5, "Columns a lane."),
        ("group", 3, "The most weights a symbol in product tables; 0: no such tables."),
        ("passes", 3, "The most symbols a group of weights."),
        ("multipliers", 1, "Lanes have multipliers."),
        ("thresholds", 1, "Outputs can be multi-threshold functions."),
        ("float_rounding", 1, "Sums can be rounded as float32 does."),
    ),
    _constants(
        "memory",
        0x90,
        ("bus_log2", 3, "log2 of the bits of the memory bus."),
        ("address_bits", 7, "Bits of an address on it."),
        ("burst_log2", 4, "log2 of the beats of the longest burst."),
        ("queue_log2", 4, "log2 of the 16-bit words of a lane's queue."),
        ("pool_log2", 5, "log2 of the bytes of the activation memory."),
        ("patch_log2", 4, "log2 of the 8-byte words of one half of a patch buffer."),
        ("classes_log2", 5, "log2 of the entries of the map from columns to classes."),
    ),
    _register(
        "error",
        0xA0,
        (
            "code",
            0,
            8,
            Access.READ,
            "Why a job ended early, see below; until a soft reset all end at once.",
        ),
    ),
    _register(
        "error_at", 0xA4, ("address", 0, 64, Access.READ, "Address on the memory bus that belongs to it.")
    ),
    _counter("cycles", 0xC0, "Clocks in which a job was under way."),
    _counter("busy", 0xC8, "Rounds that decoded symbols."),
    _counter("idle_queue", 0xD0, "Rounds that waited for words of a stream."),
    _counter("idle_fetch", 0xD8, "Rounds that waited for activations."),
    _counter("idle_drain", 0xE0, "Rounds that waited for outputs to be drained."),
    _counter("idle_other", 0xE8, "Rounds that waited for keys of rows."),
    _counter("beats_read", 0xF0, "Beats that were read from memory."),
    _counter("beats_written", 0xF8, "Beats that were written to memory."),
    _counter("jobs", 0x100, "Jobs that ended."),
)

#: Registers by name.
BY_NAME = {register.name: register for register in REGISTERS}

#: Fields of constants that say log2 of a parameter of the machine.
_LOGARITHMS = {
    "bus_log2": "bus_bits",
    "burst_log2": "burst_beats",
    "queue_log2": "queue_words",
    "pool_log2": "pool_bytes",
    "patch_log2": "patch_words",
    "classes_log2": "column_classes",
}


class ErrorCode(IntEnum):
    """Why a job ended early, each with a sentence for the user."""

    sentence: str

    def __new__(cls, value: int, sentence: str):
        """Make a code of its number and its sentence."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member

    NONE = 0, "There was no error."
    READ_RESPONSE = 1, "Memory answered a read with an error: is the address that of a buffer?"
    WRITE_RESPONSE = 2, "Memory answered a write with an error: is the address that of a buffer?"
    MAGIC = 3, "There is no image at the image address."
    VERSION = 4, "The image is of a version that this gateware does not know."
    DIGEST = 5, "The image was made for a machine that was built with other parameters."
    DESCRIPTOR = 6, "A descriptor of the image asks for what there is not."
    CONFIGURATION = 7, "A configuration word of the image is of an unknown kind."
    STREAM_LENGTH = 8, "A pass was over, and words of a stream were left: the image is corrupt."
    STREAM_CORRUPT = 9, "A row ended where no row can end: the image is corrupt."
    KEYS = 10, "A row's key is larger than keys of its class can be: the image is corrupt."
    WATCHDOG = 11, "Nothing moved for as many clocks as the watchdog allows."
    BUFFER = 12, "A load or a store of the image moves more than the job's buffer holds."
    BATCH = 13, "The job has no items."


def constants(machine: Machine) -> dict[tuple[str, str], int]:
    """Return what the constant fields read, by names of register and field."""
    values = {
        ("identity", "magic"): ID_MAGIC,
        ("map", "digest"): digest(),
        ("machine", "digest"): machine.digest,
    }
    for name in ("shape", "memory"):
        for field in BY_NAME[name].fields:
            parameter = _LOGARITHMS.get(field.name, field.name)
            value = int(getattr(machine, parameter))
            values[name, field.name] = value.bit_length() - 1 if field.name in _LOGARITHMS else value
    return values


def machine_of(shape: int, memory: int) -> Machine:
    """Return the machine that the registers `shape` and `memory` describe.

    Raises
    ------
    LayoutError
        There can be no such machine.
    """
    values = {}
    for register, word in ((BY_NAME["shape"], shape), (BY_NAME["memory"], memory)):
        for field in register.fields:
            value = word >> field.lsb & (1 << field.bits) - 1
            if field.name in _LOGARITHMS:
                values[_LOGARITHMS[field.name]] = 1 << value
            else:
                values[field.name] = value
    booleans = {field.name for field in fields(Machine) if isinstance(field.default, bool)}
    return Machine(**{name: bool(value) if name in booleans else value for name, value in values.items()})


def digest() -> int:
    """Return the CRC-32 of all names, places and kinds of access: what a driver must agree with."""
    text = ";".join(
        f"{register.name}@{register.address:x}:{field.name}[{field.lsb}+{field.bits}]{field.access.name}"
        for register in REGISTERS
        for field in register.fields
    )
    return zlib.crc32(text.encode())


_INTRODUCTION = f"""\
# Registers

Generated from `sw/weightstream/spec/registers.py`; a test compares the two.

An AXI4-Lite port with 32-bit words and {ADDRESS_BITS}-bit byte addresses, in the shape of a Vitis HLS core.

- Registers of 64 bits take two words, the lower one first. Of those that the accelerator changes, read the
  lower word first: that keeps the upper one as it was, until the lower word of another one is read.
- Words that no register takes read as 0, and writing them does nothing; the response is always OKAY.
- Bytes of a word are written one by one, as the strobes say.
- The interrupt line is up while `gie.enable` is set and a bit is set in both `ier` and `isr`. `isr` takes
  notice of events whether `ier` has their bits or not; writing 1 to a bit that is set clears it.
- `ctrl.ap_done` is lost when anything reads `ctrl`. Programs that cannot be sure of the only reader wait for
  `ctrl.ap_idle`, or count `jobs`.

"""


def to_markdown() -> str:
    """Return docs/registers.md."""
    lines = ["| address | register | bits | field | access | after reset | what it says |", "|---" * 7 + "|"]
    for register in REGISTERS:
        for field in register.fields:
            word = register.address + 4 * (field.lsb // 32)
            end = register.address + 4 * ((field.lsb + field.bits - 1) // 32)
            where = f"0x{word:02X}" if word == end else f"0x{word:02X}, 0x{end:02X}"
            top, low = field.lsb + field.bits - 1, field.lsb
            reset = f"0x{field.reset:X}" if field.access is Access.WRITE else ""
            cells = (
                where,
                f"`{register.name}`",
                f"{top}..{low}" if top > low else f"{low}",
                f"`{field.name}`",
                field.access.label,
                reset,
                field.doc,
            )
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## Access", ""]
    lines += [f"- *{access.label}*: {access.doc}" for access in Access]
    lines += ["", "## Error codes", "", "| code | name | what happened |", "|---|---|---|"]
    lines += [f"| {code.value} | `{code.name}` | {code.sentence} |" for code in ErrorCode]
    return _INTRODUCTION + "\n".join(lines) + f"\n\nThe digest of this list is 0x{digest():08X}.\n"
