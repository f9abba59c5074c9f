"""The words of one lane, in the order in which its slots take them."""

# Ref: Giesen, "Interleaved entropy coders", 2014
# Id: arXiv:1402.3392
# Differs: 16-bit words taken in slot order after each symbol; past its end a queue reads as zeros

from collections.abc import Iterable

from ...errors import FormatError
from ...spec.coder import WORD_BITS


class WordQueue:
    """Hand out the words of a lane, one at a time.

    Words carry no tags: the compressor replays the decoder, and writes each word where it is asked for.

    Parameters
    ----------
    words : iterable of int
        Words of the lane, 16 bits each.

    Attributes
    ----------
    taken : int
        Words handed out so far, those past the end included.
    """

    def __init__(self, words: Iterable[int]):
        self._words = [int(word) for word in words]
        #: every word < 2**16
        assert all(0 <= word < 1 << WORD_BITS for word in self._words)
        #: taken >= 0; it may pass the end, where trailing zeros were not stored
        self.taken = 0

    def take(self) -> int:
        """Return the next word; past the end, zero."""
        word = self._words[self.taken] if self.taken < len(self._words) else 0
        self.taken += 1
        return word

    def finish(self) -> None:
        """Check, behind the last row, that every stored word was taken.

        Raises
        ------
        FormatError
            Words are left over.
        """
        if self.taken < len(self._words):
            raise FormatError("a weight stream is longer than its rows: it is corrupt")
