"""Descriptors as the gateware sees them: one layout, from the fields that the driver packs."""

from amaranth import Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Member

from weightstream.spec.image import DESCRIPTOR, DESCRIPTOR_WORDS

#: A descriptor's bits, by the names of its fields.
DESCRIPTOR_LAYOUT = data.FlexibleLayout(
    32 * DESCRIPTOR_WORDS,
    {
        field.name: data.Field(
            signed(field.bits) if field.signed else field.bits, 32 * field.word + field.lsb
        )
        for field in DESCRIPTOR
    },
)

#: 64-bit words of a descriptor that hold fields; the others are skipped.
USED_WORDS = max(field.word for field in DESCRIPTOR) // 2 + 1


def descriptor_ports(*names: str) -> dict[str, Member]:
    """Return an input for each of some fields of a descriptor."""
    return {name: In(DESCRIPTOR_LAYOUT[name].shape) for name in names}


class DescriptorRegister:
    """The fields of a descriptor in registers of their own, so that unused bits take none.

    Parameters
    ----------
    name : str
        Prefix of the signals' names.
    """

    def __init__(self, name: str):
        self._fields = {
            field.name: Signal(
                signed(field.bits) if field.signed else field.bits,
                name=f"{name}_{field.name}",
                reset_less=field.name != "op",
            )
            for field in DESCRIPTOR
        }

    def __getattr__(self, name: str) -> Signal:
        try:
            return self.__dict__["_fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def load_word(self, index: Value, word: Value, m, domain) -> None:
        """Add statements that take the fields of 64-bit word number `index`."""
        with m.Switch(index):
            for number in range(USED_WORDS):
                with m.Case(number):
                    for field in DESCRIPTOR:
                        if field.word // 2 == number:
                            lsb = 32 * (field.word % 2) + field.lsb
                            domain += self._fields[field.name].eq(word[lsb : lsb + field.bits])

    def copy_from(self, other: "DescriptorRegister") -> list:
        """Return the statements that copy another register."""
        return [signal.eq(other._fields[name]) for name, signal in self._fields.items()]
