"""The registers as IP descriptions list them: words of 32 bits with fields."""

from __future__ import annotations

from dataclasses import dataclass

from weightstream.spec.registers import REGISTERS, Access, Field, Register

#: What software may write; the rest is read only.
_WRITTEN = (Access.WRITE, Access.START, Access.PULSE, Access.TOGGLE)


@dataclass(frozen=True)
class WordField:
    """A field of a word."""

    name: str
    lsb: int
    bits: int
    writable: bool
    doc: str
    reset: int


@dataclass(frozen=True)
class Word:
    """A word of registers."""

    name: str
    address: int
    fields: tuple[WordField, ...]

    @property
    def writable(self) -> bool:
        """Whether any field can be written."""
        return any(field.writable for field in self.fields)

    @property
    def reset(self) -> int:
        """Value after reset."""
        return sum(field.reset << field.lsb for field in self.fields)

    @property
    def doc(self) -> str:
        """What it says."""
        return " ".join(field.doc for field in self.fields)


def words() -> tuple[Word, ...]:
    """Return all words: a register of 64 bits is two, with _LO and _HI behind its name."""
    return tuple(_word(register, index) for register in REGISTERS for index in range(register.words))


def _word(register: Register, index: int) -> Word:
    suffix = ("_LO", "_HI")[index] if register.words > 1 else ""
    fields = (_part(field, 32 * index, suffix) for field in register.fields)
    return Word(
        register.name.upper() + suffix,
        register.address + 4 * index,
        tuple(field for field in fields if field is not None),
    )


def _part(field: Field, start: int, suffix: str) -> WordField | None:
    """Return what of a field is in the 32 bits from `start` on."""
    low, high = max(field.lsb, start), min(field.lsb + field.bits, start + 32)
    if low >= high:
        return None
    half = {"": "", "_LO": " Lower word.", "_HI": " Upper word."}[suffix]
    reset = field.reset >> low - field.lsb & (1 << high - low) - 1
    return WordField(
        field.name.upper(), low - start, high - low, field.access in _WRITTEN, field.doc + half, reset
    )
