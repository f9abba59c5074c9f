"""Rounds: what all lanes do together during the `slots` clocks in which every slot has its turn."""

from amaranth.lib import data, enum

from weightstream.spec.coder import MAX_CONTEXT_BITS
from weightstream.spec.machine import Machine


class RoundKind(enum.Enum, shape=3):
    """What happens in a round."""

    #: Nothing.
    IDLE = 0
    #: The pointers of all streams are reset.
    CLEAR = 1
    #: Each stream takes a word.
    FILL = 2
    #: Each stream starts a row.
    START = 3
    #: Each stream decodes a symbol.
    SYMBOL = 4


#: A round, presented during all its clocks.
ROUND = data.StructLayout(
    {
        "kind": RoundKind,
        # START: the first row of a stream, no window is pushed back.
        "first": 1,
        # CLEAR: load the first word of the next streams.
        "prime": 1,
        # Move the sums to their shadow copy and begin from zero.
        "capture": 1,
        # Where the keys of the tile are.
        "bank": 1,
        # Slot groups in which all lanes have a row.
        "full": 5,
        # Position of the symbol in its part, modulo 16.
        "column": 4,
        # About the position that is decoded behind this round: class of its column, at its
        # place in the context; the position modulo 16; whether it has neighbours.
        "next_field": MAX_CONTEXT_BITS,
        "next_column": 4,
        "next_previous": 1,
        "next_back": 1,
        # Pass of the symbol: its palette.
        "palette": 2,
        # Bank of the product tables.
        "parity": 1,
    }
)


def symbol_latency(machine: Machine) -> int:
    """Return the clocks from slot 0 of a round to the symbol of slot 0 at the output of a lane.

    Two rounds, so that the products of a column can be tabulated before they are looked up.
    """
    return 2 * machine.slots + 4
