"""Widths and limits of the row-codeword arithmetic coder.

A symbol is decoded from a range ``R`` (16 bits) and a window ``V < R``::

    s  = the largest s with floor(R * cum[s] / 2**14) <= V
    lo = floor(R * cum[s] / 2**14),  hi = floor(R * cum[s + 1] / 2**14)
    V -= lo;  R = hi - lo;  shift both left until R >= 2**15, V takes stream bits

A row starts with ``R = 2**15`` and 15 bits in the window: the ``k`` bits of its key, then ``15 - k``
bits of the stream, in front of which the window of the row before is pushed back.
"""

SYMBOL_BITS = 4
#: Symbols of the alphabet. Unused symbols come first: the last one always has a frequency.
SYMBOLS = 1 << SYMBOL_BITS
#: Frequencies of a table sum to ``2**FREQUENCY_BITS``; so every threshold cum[1..15] fits 14 bits.
FREQUENCY_BITS = 14
RANGE_BITS = 16
#: Bits of the window between two rows, and the bits that a row hands on to the next.
WINDOW_BITS = 15
#: Streams are sequences of words of this width; a lane reads them one after another.
WORD_BITS = 16
#: A slot takes a word when so many stream bits, or fewer, are left behind its window.
REFILL_BITS = 16
#: Words that a stream takes before its first row.
START_WORDS = 2
MAX_KEY_BITS = 15

MAX_TABLES = 64
#: Bits of a row class or column class, of a neighbour's class, and of the whole context.
MAX_ROW_BITS = 4
MAX_COLUMN_BITS = 4
MAX_NEIGHBOUR_BITS = 4
MAX_CONTEXT_BITS = 12
#: The second neighbour stands at most so many symbols back.
MAX_DISTANCE = 16

MAX_GROUP = 8
MAX_PASSES = 4
