"""The configuration of a layer: what the file codes adaptively, expanded for the hardware."""

from dataclasses import dataclass

import numpy as np

from ..codec.contexts import ContextModel
from ..codec.frequencies import cumulative
from ..codec.matrix import CodedMatrix
from ..errors import MachineError
from ..spec.coder import MAX_COLUMN_BITS, MAX_CONTEXT_BITS, MAX_ROW_BITS, SYMBOLS
from ..spec.image import (
    COLUMNS_A_WORD,
    CONFIG_COARSE,
    CONFIG_COLUMN_FIELD,
    CONFIG_COLUMNS,
    CONFIG_CONTEXTS,
    CONFIG_FINE,
    CONFIG_KEY_CLASS,
    CONFIG_NEIGHBOUR,
    CONFIG_PALETTE,
    CONTEXTS_A_WORD,
    KEYS_CLASSES,
    KEYS_NONE,
    KEYS_RICE,
    THRESHOLD_LSBS,
    config_word,
    pack_key_class,
)
from ..spec.machine import Machine

_QUARTERS = 4
#: Bits of the field of the neighbour before in the map of neighbours; above: class of the one further back.
_PREVIOUS_BITS = 8


@dataclass(frozen=True)
class ContextFields:
    """Where the classes stand in a context, as bits from the lowest one on.

    The class of the row is at the top; the others lie side by side at the bottom.

    Parameters
    ----------
    row, column, previous, back : int
        Lowest bit of each field.
    """

    row: int
    column: int
    previous: int
    back: int = 0

    @staticmethod
    def of(model: ContextModel) -> "ContextFields":
        """Return the fields of a model."""
        rows, _, previous, back = ((n - 1).bit_length() for n in model.classes)
        return ContextFields(MAX_CONTEXT_BITS - rows, previous + back, back)

    def row_field(self, row_class: int) -> int:
        """Return what the key memory holds: a row's class, left-aligned in 4 bits."""
        return row_class << self.row - (MAX_CONTEXT_BITS - MAX_ROW_BITS)


@dataclass(frozen=True)
class ColumnMap:
    """Classes of groups of weights, and what the classes of their symbols are.

    Parameters
    ----------
    codes : ndarray of uint8, shape (period,)
        Class of each group.
    classes : ndarray of uint8, shape (group classes, passes)
        Column class of each symbol of a group.
    """

    codes: np.ndarray
    classes: np.ndarray

    @staticmethod
    def of(coded: CodedMatrix) -> "ColumnMap":
        """Return the map of a layer: one entry if all columns are alike, else a period, or a part."""
        model, passes = coded.contexts, coded.palette.passes
        period = min(np.lcm(len(model.columns), passes), coded.plan.part_symbols)
        groups = model.column_classes(int(period)).reshape(-1, passes)
        classes, codes = np.unique(groups, axis=0, return_inverse=True)
        if len(classes) == 1:
            codes = codes[:1]
        return ColumnMap(codes.reshape(-1).astype(np.uint8), classes)


def configure(name: str, coded: CodedMatrix, machine: Machine) -> tuple[list[int], ColumnMap]:
    """Return the configuration words of a layer, and the map of its columns.

    Parameters
    ----------
    name : str
        Of the layer, for messages.
    coded : CodedMatrix
        Its matrix.
    machine : Machine
        Entries of the map of columns.

    Raises
    ------
    MachineError
        The map of columns is too long.
    """
    fields = ContextFields.of(coded.contexts)
    columns = ColumnMap.of(coded)
    if len(columns.codes) > machine.column_classes:
        raise MachineError(
            f"node {name!r} does not fit a machine of {machine}: the classes of its columns repeat after "
            f"{len(columns.codes)} groups of weights, the map holds {machine.column_classes}"
        )
    if len(columns.classes) > 1 << MAX_COLUMN_BITS:
        raise MachineError(
            f"node {name!r} does not fit a machine of {machine}: its groups of weights are of "
            f"{len(columns.classes)} classes, the map holds {1 << MAX_COLUMN_BITS}"
        )
    words = [
        *_tables(coded),
        *_contexts(coded.contexts, fields),
        *_neighbours(coded.contexts, fields),
        *_columns(columns, fields),
        *_palette(coded),
        *_key_classes(coded, fields),
    ]
    return words, columns


def key_section(coded: CodedMatrix) -> tuple[int, bytes]:
    """Return how rows get their keys and classes, and the bytes that say it."""
    if any(code.bits for code in coded.key_codes):
        return KEYS_RICE, coded.key_data
    if len(np.unique(coded.row_class)) == 1:
        return KEYS_NONE, b""
    # Key classes are numbered by their fields.
    fields = ContextFields.of(coded.contexts)
    numbers = np.array([fields.row_field(int(c)) for c in coded.row_class], np.uint8)
    numbers = np.append(numbers, np.zeros(len(numbers) % 2, np.uint8))
    return KEYS_CLASSES, (numbers[0::2] << 4 | numbers[1::2]).tobytes()


def _tables(coded: CodedMatrix) -> list[int]:
    words = []
    for number, cum in enumerate(cumulative(coded.tables).tolist()):
        words.append(config_word(CONFIG_COARSE, number, _thresholds(cum[4:16:4])))
        for quarter in range(_QUARTERS):
            own = cum[4 * quarter + 1 : 4 * quarter + 4]
            words.append(config_word(CONFIG_FINE, _QUARTERS * number + quarter, _thresholds(own)))
    return words


def _thresholds(values: list[int]) -> int:
    return sum(value << lsb for value, lsb in zip(values, THRESHOLD_LSBS, strict=True))


def _contexts(model: ContextModel, fields: ContextFields) -> list[int]:
    entries = np.zeros(1 << MAX_CONTEXT_BITS, np.int64)
    row, column, previous, back = (np.arange(n) for n in model.classes)
    contexts = (
        (row << fields.row)[:, None, None, None]
        | (column << fields.column)[:, None, None]
        | (previous << fields.previous)[:, None]
        | back << fields.back
    )
    entries[contexts] = model.tables
    words = []
    # Contexts that no combination of classes forms are never asked for.
    for block in np.unique(contexts // CONTEXTS_A_WORD).tolist():
        own = entries[CONTEXTS_A_WORD * block : CONTEXTS_A_WORD * (block + 1)].tolist()
        data = sum(number << 6 * i for i, number in enumerate(own))
        words.append(config_word(CONFIG_CONTEXTS, CONTEXTS_A_WORD * block, data))
    return words


def _neighbours(model: ContextModel, fields: ContextFields) -> list[int]:
    words = []
    for has_previous in range(2):
        for symbol in range(SYMBOLS):
            previous = int(model.previous[symbol]) << fields.previous if has_previous else 0
            data = int(model.back[symbol]) << _PREVIOUS_BITS | previous
            words.append(config_word(CONFIG_NEIGHBOUR, SYMBOLS * has_previous + symbol, data))
    return words


def _columns(columns: ColumnMap, fields: ContextFields) -> list[int]:
    words = []
    for start in range(0, len(columns.codes), COLUMNS_A_WORD):
        own = columns.codes[start : start + COLUMNS_A_WORD].tolist()
        data = sum(code << 4 * i for i, code in enumerate(own))
        words.append(config_word(CONFIG_COLUMNS, start // COLUMNS_A_WORD, data))
    for code, classes in enumerate(columns.classes.tolist()):
        for number, column_class in enumerate(classes):
            address = number << MAX_COLUMN_BITS | code
            words.append(config_word(CONFIG_COLUMN_FIELD, address, column_class << fields.column))
    return words


def _palette(coded: CodedMatrix) -> list[int]:
    words = []
    for number, symbols in enumerate(coded.palette.values.tolist()):
        for symbol, weights in enumerate(symbols):
            data = sum((weight & 255) << 8 * i for i, weight in enumerate(weights))
            words.append(config_word(CONFIG_PALETTE, SYMBOLS * number + symbol, data))
    return words


def _key_classes(coded: CodedMatrix, fields: ContextFields) -> list[int]:
    mode, _ = key_section(coded)
    words = []
    used = [(c, rows) for c, rows in enumerate(coded.class_rows) if rows]
    for number, (row_class, rows) in enumerate(used):
        code, field = coded.key_codes[row_class], fields.row_field(row_class)
        data = pack_key_class(rows=rows, key_bits=code.bits, rice=code.rice, lift=code.lift, field=field)
        words.append(config_word(CONFIG_KEY_CLASS, field if mode == KEYS_CLASSES else number, data))
    return words
