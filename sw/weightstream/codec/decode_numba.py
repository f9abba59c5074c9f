"""Read streams of row codewords at speed, by numba; raises the same errors as `decode_numpy`."""

import numpy as np

from ..errors import FormatError
from ..spec.coder import SYMBOLS
from .arrange import Arrangement, lane_words
from .contexts import ContextModel
from .decode_kernels import (
    IMPOSSIBLE_END,
    IMPOSSIBLE_KEY,
    NO_ZEROS,
    TRUNCATED,
    WORDS_LEFT,
    Contexts,
    Rows,
    Streams,
    Tables,
    Work,
    read_keys,
    run,
)
from .keys import KeyCode, check_keys
from .palette import Palette
from .product import ExactProduct
from .vector import STATE_FIELDS, WIDTH

#: Symbols of each stream that are decoded between two looks at the result.
_BLOCK = 256
#: Sums, of each part, item and stream, up to which products are formed in the decoder's loop, not by BLAS.
_FUSED_SUMS = 1 << 18
#: Rows that are decoded for one call of BLAS, or a tile if that is more.
_BLAS_ROWS = 128
_MESSAGES = {
    IMPOSSIBLE_END: "a weight stream holds an impossible row end: it is corrupt",
    NO_ZEROS: "a weight stream does not end where its last row does: it is corrupt",
    WORDS_LEFT: "a weight stream is longer than its rows: it is corrupt",
}
#: Columns whose tables are looked up together.
_CHUNK = 1 << 16
#: Symbols as they are, for who wants no weights.
_IDENTITY = np.arange(SYMBOLS, dtype=np.uint8).reshape(1, 1, SYMBOLS)
_NO_ROWS = np.empty((0, 0), np.uint8)
_NO_INPUTS = np.empty((0, 0, 0), np.int16)
_NO_SUMS = np.empty((0, 0), np.int32)


def decode_keys(data: bytes, codes: list[KeyCode], rows: list[int]) -> np.ndarray:
    """Return the keys of all rows; as `keys.decode_keys`."""
    raw = np.frombuffer(data, np.uint8)
    result = np.zeros(sum(rows), np.uint16)
    at = start = 0
    for code, count in zip(codes, rows, strict=True):
        if code.bits and count:
            out = result[start : start + count]
            at = read_keys(raw, at, count, code.rice, code.bits, code.lift, out)
            check_keys(at != TRUNCATED, at != IMPOSSIBLE_KEY, code)
        start += count
    check_keys(True, True, None, 8 * len(data) - at)
    return result


class Decoder:
    """Decode streams, all side by side; as `decode_numpy.Decoder`."""

    def __init__(
        self,
        arrangement: Arrangement,
        lanes: list[np.ndarray],
        keys: np.ndarray,
        key_bits: np.ndarray,
        row_class: np.ndarray,
        cum: np.ndarray,
        contexts: ContextModel,
    ):
        plan = self._plan = arrangement.plan
        # Streams behind the last one that has a row are not there.
        used = int(arrangement.stream.reshape(-1)[: plan.rows * plan.sharing.parts].max(initial=0)) + 1
        self._position = arrangement.position[:used]
        self._width = -(-used // WIDTH) * WIDTH
        self._lane_of = np.full(self._width, arrangement.lane_of[used - 1], np.int64)
        self._lane_of[:used] = arrangement.lane_of[:used]
        by_vector = self._lane_of.reshape(-1, WIDTH)
        self._alone = by_vector[:, 0] == by_vector[:, -1]
        self._words, self._starts, self._ends = lane_words(lanes)
        self._distance = contexts.distance
        self._tables = _make_tables(cum, contexts, plan.part_symbols)
        self._rows = Rows(
            plan.rows, keys, key_bits, row_class, plan.sharing.parts, plan.tile_rows, plan.part_symbols
        )

    def _begin(self) -> tuple[Streams, Contexts]:
        """Return the state in which decoding starts."""
        vectors = self._width // WIDTH
        streams = Streams(
            state=np.zeros((vectors, STATE_FIELDS, WIDTH), np.uint16),
            pending=np.zeros(vectors, np.uint64),
            active=np.zeros(vectors, np.uint64),
            words=self._words,
            next_word=self._starts.copy(),
            ends=self._ends,
            lanes=self._lane_of,
            alone=self._alone,
            position=self._position,
        )
        row = np.zeros(self._width, np.uint16)
        return streams, Contexts(row, row.copy(), np.zeros((self._distance, self._width), np.uint16))

    def _call(self, begun, tiles: range, palette, out=_NO_ROWS, inputs=_NO_INPUTS, sums=_NO_SUMS) -> None:
        passes, group = palette.shape[:2]
        work = Work(
            palette=palette,
            symbols=np.zeros((_BLOCK, self._width), np.uint8),
            columns=np.zeros((_BLOCK // passes * group + 1, self._width), np.uint8),
            out=out,
            part_pitch=self._plan.part_symbols // passes * group,
            inputs=inputs,
            sums=sums,
        )
        streams, contexts = begun
        error = run(streams, self._tables, contexts, self._rows, work, tiles.start, tiles.stop)
        if error:
            raise FormatError(_MESSAGES[error])

    def _decode_rows(self, palette: np.ndarray, begun: tuple, tiles: range) -> np.ndarray:
        """Decode tiles as rows of bytes, each padded to a whole number of parts."""
        plan = self._plan
        passes, group = palette.shape[:2]
        rows = min(plan.rows, tiles.stop * plan.tile_rows) - tiles.start * plan.tile_rows
        pitch = plan.part_symbols // passes * group
        out = np.empty((rows, plan.sharing.parts * pitch), np.uint8)
        self._call(begun, tiles, palette, out=out)
        return out

    def symbols(self) -> np.ndarray:
        """Decode all symbols, uint8, shape (rows, symbols)."""
        return self._decode_rows(_IDENTITY, self._begin(), range(self._plan.tiles))[:, : self._plan.symbols]

    def weights(self, palette: Palette, columns: int) -> np.ndarray:
        """Decode all weights, int8 or int16, shape (rows, columns)."""
        bytes_ = _bytes_of(palette)
        if bytes_ is None:
            return palette.weights(self.symbols())[:, :columns]
        rows = self._decode_rows(bytes_, self._begin(), range(self._plan.tiles)).view(np.int8)
        return np.ascontiguousarray(rows[:, :columns])

    def multiply(self, palette: Palette, inputs: np.ndarray) -> np.ndarray:
        """Decode and multiply as it goes; no more than a tile of weights is ever there.

        Parameters
        ----------
        palette : Palette
            What symbols stand for.
        inputs : ndarray of int16, shape (batch, columns)
            Inputs in [-512, 511].

        Returns
        -------
        ndarray of int32, shape (batch, rows)
        """
        sums = np.zeros((len(inputs), self._plan.rows), np.int32)
        if not inputs.size or not self._plan.rows:
            return sums
        bytes_ = _bytes_of(palette)
        partial_sums = self._plan.sharing.parts * len(inputs) * self._width
        if bytes_ is not None and partial_sums <= _FUSED_SUMS:
            self._multiply_fused(bytes_, inputs, sums)
            return sums
        # Many sums would not stay in the cache; and sums of passes can need more than a byte.
        begun = self._begin()
        product = ExactProduct(inputs, palette.largest)
        step = -(-_BLAS_ROWS // self._plan.tile_rows)
        for tile in range(0, self._plan.tiles, step):
            tiles = range(tile, min(tile + step, self._plan.tiles))
            rows = self._decode_rows(_IDENTITY if bytes_ is None else bytes_, begun, tiles)
            weights = palette.weights(rows) if bytes_ is None else rows.view(np.int8)
            start = tile * self._plan.tile_rows
            product.add(sums[:, start : start + len(rows)], weights)
        return sums

    def _multiply_fused(self, palette: np.ndarray, inputs: np.ndarray, sums: np.ndarray) -> None:
        plan = self._plan
        passes, group = palette.shape[:2]
        pitch = plan.part_symbols // passes * group
        # Two inputs more, of zeros: what lies behind the last weight is multiplied by nothing.
        padded = np.zeros((plan.sharing.parts, len(inputs), pitch + 2), np.int16)
        for part in range(plan.sharing.parts):
            own = inputs[:, part * pitch : (part + 1) * pitch]
            padded[part, :, : own.shape[1]] = own
        self._call(self._begin(), range(plan.tiles), palette, inputs=padded, sums=sums)


def _make_tables(cum: np.ndarray, contexts: ContextModel, symbols: int) -> Tables:
    four = (cum[:, :SYMBOLS] * 4).astype(np.uint16)
    _, _, previous, back = contexts.classes
    adds = np.arange(contexts.classes[1]) * (previous * back)
    if not contexts.by_slot:
        adds = contexts.tables[0, :, 0, 0].astype(np.int64)
    classes = contexts.column_classes(symbols)
    columns = np.empty(symbols, np.uint16)
    for start in range(0, symbols, _CHUNK):  # numpy widens the classes to 64 bits
        columns[start : start + _CHUNK] = adds[classes[start : start + _CHUNK]]
    return Tables(
        repeated=np.ascontiguousarray(np.repeat(four[:, :, None], WIDTH, axis=2)),
        firsts=(cum[:, 1:] == 0).sum(axis=1),
        single=four,
        by_slot=contexts.by_slot,
        columns=columns,
        numbers=contexts.tables.reshape(-1),
        row_step=int(np.prod(contexts.classes[1:])),
        previous=contexts.previous.astype(np.uint16) * np.uint16(back),
        back=contexts.back.astype(np.uint16),
    )


def _bytes_of(palette: Palette) -> np.ndarray | None:
    """Return the palette as (passes, group, 16) bytes; None if sums of its passes need more than a byte."""
    if palette.dtype != np.int8:
        return None
    return np.ascontiguousarray(palette.values.transpose(0, 2, 1)).view(np.uint8)
