"""Figures of what has run: a dict that prints as a table, and says what each figure means."""

from ..report.tables import Table
from ..spec.registers import BY_NAME
from .control import COUNTERS

#: What each figure means; those that are counted, in the words of the registers.
MEANINGS = {name: BY_NAME[name].field("count").doc for name in COUNTERS} | {
    "items": "Items of all batches.",
    "seconds": "Time of this computer.",
    "bytes_read": "What was read from memory.",
    "bytes_written": "What was written to memory.",
    "symbols_per_clock": "Of all streams, whether they had a row or not.",
    "stalled": "Share of rounds that did not decode.",
    "bits_per_weight": "Images that ran, all that they hold; 0 if none did.",
    "clocks_per_image": "Clocks an item of a batch.",
    "images_per_second": "Items a second; of an accelerator, at the clock that the figures are given for.",
    "bytes_per_second": "Read and written, at that clock.",
}


class Profile(dict[str, float]):
    """Figures by their names."""

    def table(self, title: str = "") -> Table:
        """Return the figures with what they mean."""
        rows = [(name, value, MEANINGS[name]) for name, value in self.items()]
        return Table(title, ("figure", "value", "meaning"), rows, numbers=(1,))

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
