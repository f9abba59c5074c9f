"""The accelerator as a whole: what it makes of an image, byte for byte.

It reads header, program, configuration, keys, records and streams from the bytes of an image, and computes
what the gateware computes. The gateware decodes the streams of a layer anew in each pass over its rows,
always alike; here they are decoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from ..codec.keys import KeyCode
from ..errors import FormatError, ImageError, MachineError
from ..ir.network import Requantise, Thresholds
from ..spec.coder import SYMBOLS
from ..spec.image import (
    DESCRIPTOR_BYTES,
    HEADER,
    KEYS_NONE,
    KEYS_RICE,
    LANE,
    MAGIC,
    OP_END,
    OP_LOAD,
    OP_MATRIX,
    OP_STORE,
    RECORD,
    ROUNDINGS,
    SHIFT_LSB,
    THRESHOLD_RECORD,
    VERSION,
    unpack_descriptor,
)
from ..spec.machine import Machine
from ..spec.operations import refusals
from ..spec.registers import ErrorCode
from .compute.requantise import requantise
from .compute.thresholds import thresholds
from .configuration import Configuration, FieldContexts
from .decode.keys import RiceKeyDecoder
from .decode.lane import LaneDecoder, Row

_WORD = 8


def run_image(
    image: bytes, machine: Machine, inputs: bytes, batch: int, output_bytes: int | None = None
) -> bytes:
    """Execute an image.

    Parameters
    ----------
    image : bytes
        What `weightstream.runtime.image.build_image` makes.
    machine : Machine
        The accelerator.
    inputs : bytes
        The input buffer: raw inputs, each item padded to a multiple of 8 bytes.
    batch : int
        Items.
    output_bytes : int, optional
        Size of the output buffer; by default what is stored fits.

    Returns
    -------
    bytes
        What was stored: raw outputs, each item padded likewise; the padding has no meaning.

    Raises
    ------
    ImageError
        The image is not for this machine, or corrupt, or the job has no items, or a load or a store goes
        beyond its buffer; `code` is what the accelerator reports.
    MachineError
        The batch does not fit the activation memory.
    """
    if not batch:
        raise ImageError("a job has at least 1 item", ErrorCode.BATCH)
    program = _read_header(image, machine)
    accelerator = _Accelerator(image, machine, inputs, batch, output_bytes)
    while True:
        d = unpack_descriptor(program.take(DESCRIPTOR_BYTES))
        if d["op"] == OP_END:
            return bytes(accelerator.outputs)
        check_descriptor(d, machine)
        if d["op"] == OP_LOAD:
            accelerator.load(d)
        elif d["op"] == OP_STORE:
            accelerator.store(d)
        else:
            lane_table = [LANE.unpack(program.take(LANE.size)) for _ in range(d["stored_lanes"])]
            for _ in range(d["config_words"]):
                accelerator.configuration.write(int.from_bytes(program.take(_WORD), "little"))
            accelerator.multiply(d, lane_table)


def _section(image: bytes, offset: int, count: int) -> bytes:
    """Return bytes of the image."""
    if offset + count > len(image):
        raise ImageError(f"the image ends at {len(image)}, before {offset + count}", ErrorCode.READ_RESPONSE)
    return image[offset : offset + count]


class _Program:
    """The program, read from its first byte on."""

    def __init__(self, data: bytes):
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        self._at += count
        if self._at > len(self._data):
            raise ImageError("the program has no end: the accelerator waits for it", ErrorCode.WATCHDOG)
        return self._data[self._at - count : self._at]


def _read_header(image: bytes, machine: Machine) -> _Program:
    """Return the program."""
    magic, version, digest, _, offset, words, _ = HEADER.unpack(_section(image, 0, HEADER.size))
    if magic != MAGIC:
        raise ImageError("these bytes are no image", ErrorCode.MAGIC)
    if version != VERSION:
        raise ImageError(f"the image is of version {version}, not {VERSION}", ErrorCode.VERSION)
    if digest != machine.digest:
        raise ImageError(
            f"the image is made for machine {digest:08x}, not {machine.digest:08x}", ErrorCode.DIGEST
        )
    return _Program(_section(image, offset, _WORD * words))


def check_descriptor(d: dict[str, int], machine: Machine) -> None:
    """Check that an operation asks for something, and for nothing that the machine does not have."""
    full_rows = d["rows"] - (d["tiles"] - 1) * d["tile_rows"] - d["last_edge"]
    conditions = refusals(SimpleNamespace(**d), machine, full_rows)
    if d["op"] not in conditions:
        raise ImageError(f"there is no operation {d['op']}", ErrorCode.DESCRIPTOR)
    if any(conditions[d["op"]]):
        what = "a layer" if d["op"] == OP_MATRIX else "a tensor"
        raise ImageError(f"{what} does not fit the machine", ErrorCode.DESCRIPTOR)


class _Accelerator:
    """The activation memory, and the operations that change it."""

    def __init__(self, image: bytes, machine: Machine, inputs: bytes, batch: int, output_bytes: int | None):
        self._image = image
        self._machine = machine
        self._batch = batch
        self._inputs = inputs
        self._output_bytes = output_bytes
        #: What was stored: each store begins at the start of the buffer.
        self.outputs = bytearray()
        self.configuration = Configuration(machine)
        self._pool = np.zeros(machine.pool_bytes, np.uint8)

    def _check_pool(self, base: int, pitch: int) -> None:
        if base + self._batch * pitch > len(self._pool):
            raise MachineError(
                f"{self._batch} items of {pitch} bytes at address {base} do not fit "
                f"an activation memory of {len(self._pool)} bytes"
            )

    def _moved(self, d: dict[str, int], base: int, room: int | None, what: str) -> int:
        """Return how many bytes a load or a store moves."""
        count = self._batch * _WORD * d["item_words"]
        if room is not None and count > room:
            raise ImageError(f"{what} takes {count} bytes, its buffer has {room}", ErrorCode.BUFFER)
        self._check_pool(base, _WORD * d["item_words"])
        return count

    def load(self, d: dict[str, int]) -> None:
        """Bring the inputs into the activation memory."""
        base = d["output_base"]
        count = self._moved(d, base, len(self._inputs), "a load")
        self._pool[base : base + count] = np.frombuffer(self._inputs[:count], np.uint8)

    def store(self, d: dict[str, int]) -> None:
        """Bring outputs out of the activation memory."""
        base = d["input_base"]
        count = self._moved(d, base, self._output_bytes, "a store")
        self.outputs[:count] = self._pool[base : base + count].tobytes()

    def multiply(self, d: dict[str, int], lane_table: list[tuple[int, int]]) -> None:
        """Run the passes of a layer: each for as many items as there are positions, all of its rows."""
        self._check_pool(d["input_base"], d["input_pitch"])
        self._check_pool(d["output_base"], d["output_pitch"])
        layer = _Layer(self._image, self._machine, d, self.configuration, lane_table)
        weights = layer.weights()
        activation = layer.activation()
        clones = 1 << d["clone_log2"]
        # Groups of lanes that do not hold different rows are clones, unless they hold parts.
        copies = 1 if d["split_groups"] else self._machine.groups // d["row_groups"]
        for first in range(0, self._batch, d["positions"]):
            for copy in range(copies):
                for clone in range(clones):
                    for column in range(self._machine.columns):
                        item = first + (copy * clones + clone) * self._machine.columns + column
                        if item < self._batch:
                            self._run_item(d, item, weights, activation)

    def _run_item(
        self, d: dict[str, int], item: int, weights: np.ndarray, activation: Requantise | Thresholds
    ) -> None:
        """Compute the outputs of one item."""
        _, parts, _ = weights.shape
        sums = np.zeros(d["rows"], np.int64)
        for part in range(parts):
            sums += weights[:, part] @ self._columns(d, item, part)
        # Sums wrap on the way; image and inputs are such that they end within 32 bits.
        sums = sums.astype(np.int32)[None, :]
        if isinstance(activation, Requantise):
            outputs = requantise(sums, activation)
        else:
            outputs = thresholds(sums, activation)
        address = d["output_base"] + item * d["output_pitch"]
        self._pool[address : address + d["rows"]] = (outputs[0] & 255).astype(np.uint8)

    def _columns(self, d: dict[str, int], item: int, part: int) -> np.ndarray:
        """Return the bytes that meet the weights of a part; behind the item, zeros."""
        start = part * d["part_bytes"]
        end = min(start + d["part_bytes"], d["input_bytes"])
        address = d["input_base"] + item * d["input_pitch"]
        columns = np.zeros(d["part_bytes"], np.int64)
        if start < end:
            own = self._pool[address + start : address + end]
            columns[: end - start] = own.view(np.int8) if d["signed_input"] else own
        return columns


class _Layer:
    """What a layer's sections of the image hold."""

    def __init__(
        self,
        image: bytes,
        machine: Machine,
        d: dict[str, int],
        configuration: Configuration,
        lane_table: list[tuple[int, int]],
    ):
        self._d = d
        self._configuration = configuration
        self._keys = _section(image, d["keys_offset"], _WORD * d["keys_words"])
        self._records = _section(image, d["records_offset"], _WORD * d["records_words"])
        self._streams = [
            np.frombuffer(_section(image, offset, 2 * words), "<u2").tolist() for offset, words in lane_table
        ]
        #: Slots of a lane that hold different codewords, parts of a row.
        self._slots = machine.slots >> d["clone_log2"]
        self._split_slots = 1 << d["split_log2"]
        self._parts = self._split_slots * (machine.groups if d["split_groups"] else 1)

    def weights(self) -> np.ndarray:
        """Return the weights of each row and part, int64, shape (rows, parts, bytes of a part)."""
        d = self._d
        symbols = self._symbols()
        passes = d["passes"] + 1
        palette = np.array(self._configuration.palette, np.int64).reshape(-1, SYMBOLS, 4)
        group = 1 << d["group_log2"]
        rows, parts, count = symbols.shape
        groups = np.zeros((rows, parts, count // passes, group), np.int64)
        for number in range(passes):
            groups += palette[number][symbols[:, :, number::passes]][..., :group]
        return groups.reshape(rows, parts, d["part_bytes"])

    def activation(self) -> Requantise | Thresholds:
        """Return what turns sums into outputs."""
        d = self._d
        if d["use_thresholds"]:
            values = np.array(list(THRESHOLD_RECORD.iter_unpack(self._records)), np.int32)
            return Thresholds(values=values[:, : d["threshold_count"]], base=d["zero_point"], step=d["step"])
        bias, scale = np.array(list(RECORD.iter_unpack(self._records)), np.int64).T
        return Requantise(
            bias=bias,
            multiplier=scale & (1 << SHIFT_LSB) - 1,
            shift=(scale >> SHIFT_LSB).astype(np.uint8),
            zero_point=d["zero_point"],
            low=d["low"],
            high=d["high"],
            rounding=ROUNDINGS[d["rounding"]],
        )

    def _rows(self) -> list[Row]:
        """Return key and field of each row."""
        rows = self._all_rows()
        if len(rows) < self._d["rows"]:
            raise ImageError(f"there are keys for {len(rows)} of {self._d['rows']} rows", ErrorCode.KEYS)
        return rows

    def _all_rows(self) -> list[Row]:
        d, classes = self._d, self._configuration.key_classes
        if d["key_mode"] == KEYS_NONE:
            return [Row(0, 0, classes[0]["field"])] * d["rows"]
        if d["key_mode"] != KEYS_RICE:
            # A nibble a row, the high one of a byte first.
            numbers = [byte >> shift & 15 for byte in self._keys for shift in (4, 0)]
            return [Row(0, 0, classes[number]["field"]) for number in numbers[: d["rows"]]]
        rows: list[Row] = []
        decoder = RiceKeyDecoder(self._keys)
        for own in classes:
            count = min(own["rows"], d["rows"] - len(rows))
            try:
                keys = decoder.decode(KeyCode(own["key_bits"], own["rice"], own["lift"]), count)
            except FormatError as error:
                raise ImageError(str(error), ErrorCode.KEYS) from error
            rows += [Row(key, own["key_bits"], own["field"]) for key in keys]
        return rows

    def _symbols(self) -> np.ndarray:
        """Decode the streams, uint8, shape (rows, parts, symbols of a part)."""
        d = self._d
        rows = self._rows()
        contexts = FieldContexts(
            self._configuration,
            passes=d["passes"] + 1,
            column_period=d["column_period"],
            distance=d["distance"],
        )
        tables = self._configuration.thresholds()
        lanes = [LaneDecoder(words, self._slots, contexts, tables) for words in self._streams]
        result = np.zeros((d["rows"], self._parts, d["part_symbols"]), np.uint8)
        for tile in range(d["tiles"]):
            codewords = [self._codewords(tile, lane) for lane in range(len(lanes))]
            for lane, own in zip(lanes, codewords, strict=True):
                if tile == 0:
                    lane.start_streams([codeword is not None for codeword in own])
                else:
                    _check_row_ends(lane, own)
                lane.start_rows([_start(codeword, rows) for codeword in own])
            for j in range(d["part_symbols"]):
                for lane, own in zip(lanes, codewords, strict=True):
                    for codeword, symbol in zip(own, lane.decode(j), strict=True):
                        if codeword is not None and symbol is not None:
                            result[(*codeword, j)] = symbol
        for lane in lanes:
            try:
                lane.queue.finish()
            except FormatError as error:
                raise ImageError(str(error), ErrorCode.STREAM_LENGTH) from error
        return result

    def _codewords(self, tile: int, lane: int) -> list[tuple[int, int] | None]:
        """Return row and part of the codeword that each slot of a lane decodes in a tile, or None."""
        d = self._d
        group, position = divmod(lane, d["row_lanes"])
        full, edge = self._slots // self._split_slots, 0
        if tile == d["tiles"] - 1:
            full, edge = d["last_full"], d["last_edge"]
        own: list[tuple[int, int] | None] = []
        for slot in range(self._slots):
            slot_group, slot_part = divmod(slot, self._split_slots)
            valid = slot_group < full or (slot_group == full and position < edge)
            row = tile * d["tile_rows"] + slot_group * d["row_lanes"] + position
            own.append((row, group * self._split_slots + slot_part) if valid else None)
        return own


def _start(codeword: tuple[int, int] | None, rows: Sequence[Row]) -> Row | None:
    """Return what a slot is told; only the first part of a row has its key."""
    if codeword is None:
        return None
    row, part = codeword
    return rows[row] if part == 0 else Row(0, 0, rows[row].row_class)


def _check_row_ends(lane: LaneDecoder, codewords: list[tuple[int, int] | None]) -> None:
    """Check the windows that are pushed back where another row starts, as the lanes do."""
    for slot, codeword in zip(lane.slots, codewords, strict=True):
        if codeword is None:
            continue
        try:
            # Lanes see only the window; a buffer that is too full goes by unnoticed.
            slot.check_row_end()
        except FormatError as error:
            raise ImageError(str(error), ErrorCode.STREAM_CORRUPT) from error
