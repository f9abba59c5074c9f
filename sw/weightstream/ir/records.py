"""Row records: bias, multiplier and shift, or thresholds, of each row, in as few bits as a layer needs."""

from dataclasses import dataclass

import numpy as np

from ..codec.bits import pack_fields
from ..codec.bits import unpack_records as unpack_bits
from ..errors import FormatError
from ..spec.container import ACTIVATION_REQUANTISE, ACTIVATION_THRESHOLDS, ROUNDINGS
from .fields import FieldReader, FieldWriter
from .network import MAX_MULTIPLIER_BITS, MAX_SHIFT, MAX_THRESHOLDS, Activation, Requantise, Thresholds

_INT32 = (-(1 << 31), (1 << 31) - 1)
#: Lowest and highest bias, multiplier and shift.
_REQUANTISE = (_INT32, (1, (1 << MAX_MULTIPLIER_BITS) - 1), (0, MAX_SHIFT))
#: Rows that are unpacked together; a multiple of 8, so that their records begin with a byte.
_CHUNK_ROWS = 1 << 12


@dataclass(frozen=True)
class _Field:
    """A field of a record: its base, and the bits that each row adds to the base."""

    base: int
    bits: int

    @staticmethod
    def of(values: np.ndarray) -> "_Field":
        low = int(values.min()) if values.size else 0
        high = int(values.max()) if values.size else 0
        return _Field(low, (high - low).bit_length())


@dataclass(frozen=True)
class RecordHead:
    """What all rows of a layer share: the activation's constants, and the fields of a record."""

    kind: int
    constants: tuple[int, ...]
    fields: tuple[_Field, ...]

    @property
    def outputs(self) -> tuple[int, int]:
        """Two outputs, between which all are."""
        if self.kind == ACTIVATION_REQUANTISE:
            return self.constants[1], self.constants[2]
        base, step = self.constants
        return base, base + step * len(self.fields)


def _head(activation: Activation) -> RecordHead:
    if isinstance(activation, Requantise):
        constants = (
            activation.zero_point,
            activation.low,
            activation.high,
            ROUNDINGS.index(activation.rounding),
        )
        columns = (activation.bias, activation.multiplier, activation.shift)
        return RecordHead(ACTIVATION_REQUANTISE, constants, tuple(_Field.of(c) for c in columns))
    constants = (activation.base, activation.step)
    count = activation.values.shape[1]
    field = _Field.of(activation.values)
    return RecordHead(ACTIVATION_THRESHOLDS, constants, (field,) * count)


def write_record_head(graph: FieldWriter, activation: Activation) -> None:
    """Append what all rows share."""
    head = _head(activation)
    graph.number(head.kind)
    for constant in head.constants:
        graph.signed(constant)
    if head.kind == ACTIVATION_THRESHOLDS:
        graph.number(len(head.fields))
    for field in head.fields[:1] if head.kind == ACTIVATION_THRESHOLDS else head.fields:
        graph.signed(field.base)
        graph.number(field.bits)


def pack_records(activation: Activation) -> bytes:
    """Return the records of all rows."""
    head = _head(activation)
    if isinstance(activation, Requantise):
        columns = np.stack([activation.bias, activation.multiplier, activation.shift], axis=1).astype(
            np.int64
        )
    else:
        columns = activation.values.astype(np.int64)
    columns = columns - np.array([field.base for field in head.fields], np.int64).reshape(1, -1)
    widths = np.array([field.bits for field in head.fields], np.int64)
    return pack_fields(columns.reshape(-1), np.tile(widths, len(columns)))


def read_record_head(graph: FieldReader) -> RecordHead:
    """Read what all rows share.

    Raises
    ------
    FormatError
        What they share is impossible.
    """
    kind = graph.number("an activation", ACTIVATION_THRESHOLDS)
    if kind == ACTIVATION_REQUANTISE:
        zero_point, low, high = (
            graph.signed(what, -512, 512) for what in ("a zero point", "a low", "a high")
        )
        if low > high:
            raise FormatError(f"an activation clips to [{low}, {high}]: the file is corrupt")
        rounding = graph.signed("a rounding", 0, len(ROUNDINGS) - 1)
        fields = tuple(_read_field(graph, *limits) for limits in _REQUANTISE)
        return RecordHead(kind, (zero_point, low, high, rounding), fields)
    base = graph.signed("a base", -512, 512)
    step = graph.signed("a step", -1, 1)
    count = graph.number("thresholds", MAX_THRESHOLDS)
    field = _read_field(graph, *_INT32) if count else _Field(0, 0)
    return RecordHead(kind, (base, step), (field,) * count)


def _read_field(graph: FieldReader, low: int, high: int) -> _Field:
    base = graph.signed("the base of a record field", low, high)
    return _Field(base, graph.number("the bits of a record field", (high - base).bit_length()))


def unpack_records(head: RecordHead, data: bytes | memoryview, rows: int) -> Activation:
    """Return the activation of a layer.

    Raises
    ------
    FormatError
        The section has another length, or a row's values are impossible.
    """
    width = sum(field.bits for field in head.fields)
    if len(data) != -(-rows * width // 8):
        raise FormatError(
            f"{rows} row records of {width} bits do not fill {len(data)} bytes: the file is corrupt"
        )
    if head.kind == ACTIVATION_THRESHOLDS:
        values = _unpack(head, data, rows, [_INT32[1]] * len(head.fields))
        if any(np.any(values[:, i] < values[:, i - 1]) for i in range(1, values.shape[1])):
            raise FormatError("thresholds do not rise: the file is corrupt")
        return Thresholds(values=values, base=head.constants[0], step=head.constants[1])
    values = _unpack(head, data, rows, [high for _, high in _REQUANTISE])
    zero_point, low, high, rounding = head.constants
    return Requantise(
        bias=values[:, 0].copy(),
        multiplier=values[:, 1].copy(),
        shift=values[:, 2].astype(np.uint8),
        zero_point=zero_point,
        low=low,
        high=high,
        rounding=ROUNDINGS[rounding],
    )


def _unpack(head: RecordHead, data: bytes | memoryview, rows: int, limits: list[int]) -> np.ndarray:
    """Return the values of all rows, int32, shape (rows, fields)."""
    bits = [field.bits for field in head.fields]
    bases = np.array([field.base for field in head.fields], np.int64)
    if not any(bits):
        # Rows that take no bytes of the file take no memory either.
        return np.broadcast_to(bases.astype(np.int32), (rows, len(bits)))
    values = np.empty((rows, len(bits)), np.int32)
    for start in range(0, rows, _CHUNK_ROWS):
        count = min(_CHUNK_ROWS, rows - start)
        chunk = np.stack(unpack_bits(data[start * sum(bits) // 8 :], count, bits), axis=1) + bases
        if np.any(chunk > np.array(limits)):
            raise FormatError("a row record is out of range: the file is corrupt")
        values[start : start + count] = chunk
    return values
