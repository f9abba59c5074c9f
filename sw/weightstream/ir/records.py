"""Row records: bias, multiplier and shift, or thresholds, of each row, in as few bits as a layer needs."""

from dataclasses import dataclass

import numpy as np

from ..codec.bits import pack_fields
from ..codec.bits import unpack_records as unpack_bits
from ..errors import FormatError
from ..spec.container import ACTIVATION_REQUANTISE, ACTIVATION_THRESHOLDS
from .fields import FieldReader, FieldWriter
from .network import MAX_MULTIPLIER_BITS, MAX_SHIFT, MAX_THRESHOLDS, Activation, Requantise, Thresholds


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


def _head(activation: Activation) -> RecordHead:
    if isinstance(activation, Requantise):
        constants = (activation.zero_point, activation.low, activation.high, int(activation.half_even))
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
    """Read what all rows share."""
    kind = graph.number("an activation", ACTIVATION_THRESHOLDS)
    if kind == ACTIVATION_REQUANTISE:
        zero_point, low, high = (
            graph.signed(what, -512, 512) for what in ("a zero point", "a low", "a high")
        )
        if low > high:
            raise FormatError(f"an activation clips to [{low}, {high}]: the file is corrupt")
        half_even = graph.signed("a rounding", 0, 1)
        limits = ((-(1 << 31), (1 << 31) - 1), (1, (1 << MAX_MULTIPLIER_BITS) - 1), (0, MAX_SHIFT))
        fields = tuple(_read_field(graph, *limit) for limit in limits)
        return RecordHead(kind, (zero_point, low, high, half_even), fields)
    base = graph.signed("a base", -512, 512)
    step = graph.signed("a step", -1, 1)
    count = graph.number("thresholds", MAX_THRESHOLDS)
    field = _read_field(graph, -(1 << 31), (1 << 31) - 1) if count else _Field(0, 0)
    return RecordHead(kind, (base, step), (field,) * count)


def _read_field(graph: FieldReader, low: int, high: int) -> _Field:
    base = graph.signed("the base of a record field", low, high)
    return _Field(base, graph.number("the bits of a record field", (high - base).bit_length()))


def unpack_records(head: RecordHead, data: bytes, rows: int) -> Activation:
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
    raw = unpack_bits(data, rows, [field.bits for field in head.fields])
    columns = [values + field.base for values, field in zip(raw, head.fields, strict=True)]
    if head.kind == ACTIVATION_THRESHOLDS:
        values = np.array(columns, np.int64).reshape(len(head.fields), rows).T
        if values.size and (int(values.max()) >= 1 << 31 or np.any(np.diff(values, axis=1) < 0)):
            raise FormatError("thresholds do not rise: the file is corrupt")
        return Thresholds(values=values.astype(np.int32), base=head.constants[0], step=head.constants[1])
    bias, multiplier, shift = columns
    if rows and (
        int(bias.max()) >= 1 << 31 or int(multiplier.max()) >> MAX_MULTIPLIER_BITS or int(shift.max()) > MAX_SHIFT
    ):
        raise FormatError("a row record is out of range: the file is corrupt")
    zero_point, low, high, half_even = head.constants
    return Requantise(
        bias=bias.astype(np.int32),
        multiplier=multiplier.astype(np.int32),
        shift=shift.astype(np.uint8),
        zero_point=zero_point,
        low=low,
        high=high,
        half_even=bool(half_even),
    )
