"""From a model to the image that an accelerator executes; docs/image.md describes it."""

from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError, MachineError
from ..ir.network import Linear, Network, Requantise, Tensor
from ..ir.values import check_shape, integer_output, network_input
from ..model import Model
from ..spec.coder import WORD_BITS
from ..spec.image import (
    ALIGNMENT,
    DESCRIPTOR_BYTES,
    HEADER,
    HEADER_BYTES,
    LANE,
    MAGIC,
    MAX_PROGRAM_WORDS,
    OP_END,
    OP_LOAD,
    OP_MATRIX,
    OP_STORE,
    RECORD,
    ROUNDINGS,
    SHIFT_LSB,
    THRESHOLD_RECORD,
    VERSION,
    pack_descriptor,
)
from ..spec.machine import POOL_WORD, Machine
from .configuration import configure, key_section
from .fit import check_layer, dense_chain, largest_batch, pitch, uses_product_tables

_WORD = 8
_MAX_IMAGE_BYTES = 1 << 32


@dataclass(frozen=True, kw_only=True)
class Image:
    """A network as a machine executes it, and what must be known to call it.

    Parameters
    ----------
    data : bytes
        The image. It may lie at any address that is a multiple of 16.
    machine : Machine
        What it is made for.
    max_batch : int
        The most items that it may be run for at once.
    source, target : Tensor
        The network's input, and the tensor in which its integers end.
    """

    data: bytes = field(repr=False)
    machine: Machine
    max_batch: int
    source: Tensor
    target: Tensor

    @property
    def input_pitch(self) -> int:
        """Bytes from one input to the next, in memory as in the machine; a multiple of 8."""
        return pitch(self.source)

    @property
    def output_pitch(self) -> int:
        """Bytes from one output to the next; a multiple of 8."""
        return pitch(self.target)

    def pack_inputs(self, x: np.ndarray) -> bytes:
        """Return the bytes of raw inputs, shape (batch, *input shape).

        Raises
        ------
        InputError
            They have another shape or type, or are too many.
        """
        check_shape(x, self.source.shape, f"input {self.source.name!r}")
        if x.dtype != self.source.dtype:
            raise InputError(f"input {self.source.name!r} must be {self.source.dtype}, not {x.dtype}")
        if len(x) > self.max_batch:
            raise InputError(f"the image takes batches of at most {self.max_batch} items, not {len(x)}")
        padded = np.zeros((len(x), self.input_pitch), np.uint8)
        padded[:, : self.source.size] = x.reshape(len(x), self.source.size).view(np.uint8)
        return padded.tobytes()

    def unpack_outputs(self, data: bytes) -> np.ndarray:
        """Return the raw outputs, shape (batch, *output shape), from their bytes."""
        padded = np.frombuffer(data, self.target.dtype).reshape(-1, self.output_pitch)
        return padded[:, : self.target.size].reshape(-1, *self.target.shape)


class _Sections:
    """Sections of data behind the program, which begins right behind the header.

    Parameters
    ----------
    program_bytes : int
        Length of the program.
    """

    def __init__(self, program_bytes: int):
        self._pieces: list[bytes] = []
        self.end = HEADER_BYTES
        self.reserve(program_bytes)

    def reserve(self, count: int) -> int:
        """Return the offset of so many bytes, and go on behind them, aligned."""
        offset = self.end
        self.end += -(-count // ALIGNMENT) * ALIGNMENT
        return offset

    def append(self, data: bytes) -> int:
        """Append a section; return its offset."""
        self._pieces.append(data + bytes(-len(data) % ALIGNMENT))
        return self.reserve(len(data))

    def to_bytes(self) -> bytes:
        """Return all sections."""
        return b"".join(self._pieces)


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in the activation memory."""

    base: int
    pitch: int


def build_image(model: Model | Network, machine: Machine, max_batch: int | None = None) -> Image:
    """Return the image of a network.

    Parameters
    ----------
    model : Model or Network
        Dense layers in a chain, laid out for the machine's lanes and slots.
    machine : Machine
        What will execute it.
    max_batch : int, optional
        The most items that will be run at once; by default as many as the activation memory holds.

    Raises
    ------
    MachineError
        The machine cannot run it; the message says what is needed, and what there is.
    NetworkError
        The network is not coded, or has not one input and one output.
    InputError
        `max_batch` is below 1.
    """
    network = model.network if isinstance(model, Model) else model
    layers = dense_chain(network)
    for node in layers:
        check_layer(network, node, machine)
    fitting = largest_batch(network, machine)
    max_batch = fitting if max_batch is None else max_batch
    if max_batch < 1 and fitting:
        raise InputError(f"a batch must have at least 1 item, not {max_batch}")
    if max_batch > fitting or not fitting:
        raise MachineError(_pool_text(network, layers, machine, max(max_batch, 1), fitting))

    source, target = network_input(network), integer_output(network)
    places = _places(network, [source.name, *(node.output for node in layers)], machine, max_batch)
    configurations = [configure(node.name, node.coded, machine) for node in layers if node.coded]
    lanes = [LANE.size * node.coded.plan.lanes for node in layers if node.coded]
    program_bytes = DESCRIPTOR_BYTES * (len(layers) + 3) + sum(lanes)
    program_bytes += sum(_WORD * len(words) for words, _ in configurations)
    sections = _Sections(program_bytes)

    program = [pack_descriptor(op=OP_LOAD, **_output(places[0]), item_words=pitch(source) // POOL_WORD)]
    for node, (words, columns), own, after in zip(layers, configurations, places, places[1:], strict=False):
        signed = int(network.tensor(node.input).dtype == "int8")
        head = {
            "op": OP_MATRIX,
            "signed_input": signed,
            "config_words": len(words),
            "column_period": len(columns.codes),
            **_input(own),
            **_output(after),
        }
        program += _matrix(node, machine, head, sections)
        program.append(np.array(words, "<u8").tobytes())
    program.append(pack_descriptor(op=OP_STORE, **_input(places[-1]), item_words=pitch(target) // POOL_WORD))
    program.append(pack_descriptor(op=OP_END))
    data = b"".join(program)
    assert len(data) == program_bytes
    if sections.end >= _MAX_IMAGE_BYTES or program_bytes // _WORD > MAX_PROGRAM_WORDS:
        raise MachineError(
            f"the image has {sections.end} bytes, {program_bytes // _WORD} words of them program; "
            f"at most {_MAX_IMAGE_BYTES - 1} and {MAX_PROGRAM_WORDS} are possible"
        )
    header = HEADER.pack(
        MAGIC, VERSION, machine.digest, sections.end, HEADER_BYTES, program_bytes // _WORD, len(layers) + 3
    )
    image = header + data + bytes(-len(data) % ALIGNMENT) + sections.to_bytes()
    assert len(image) == sections.end
    return Image(data=image, machine=machine, max_batch=max_batch, source=source, target=target)


def _pool_text(network: Network, layers: list[Linear], machine: Machine, batch: int, fitting: int) -> str:
    names = [(node.input, node.output) for node in layers] or [(network_input(network).name,)]
    pair = max(names, key=lambda own: sum(pitch(network.tensor(name)) for name in own))
    need = batch * sum(pitch(network.tensor(name)) for name in pair)
    return (
        f"a batch of {batch} does not fit a machine of {machine}: {' and '.join(map(repr, pair))} "
        f"take {need} bytes, the activation memory has {machine.pool_bytes}; {fitting} items fit"
    )


def _places(network: Network, names: list[str], machine: Machine, batch: int) -> list[_Place]:
    """Return where tensors lie: by turns at the bottom and at the top of the activation memory."""
    places = []
    for number, name in enumerate(names):
        own = pitch(network.tensor(name))
        places.append(_Place(machine.pool_bytes - batch * own if number % 2 else 0, own))
    return places


def _input(place: _Place) -> dict[str, int]:
    return {"input_base": place.base, "input_pitch": place.pitch}


def _output(place: _Place) -> dict[str, int]:
    return {"output_base": place.base, "output_pitch": place.pitch}


def _matrix(node: Linear, machine: Machine, head: dict[str, int], sections: _Sections) -> list[bytes]:
    """Append the data of a layer; return its descriptor and its lane table."""
    coded = node.coded
    assert coded is not None
    plan, sharing, palette = coded.plan, coded.sharing, coded.palette
    key_mode, keys = key_section(coded)
    records, activation = _records(node)
    # Lanes lie side by side, as in the file.
    streams = [np.asarray(words, "<u2").tobytes() for words in coded.lanes]
    records_offset, keys_offset = sections.append(records), sections.append(keys)
    at = sections.append(b"".join(streams))
    lane_table = b""
    for stream in streams:
        lane_table += LANE.pack(at, len(stream) * 8 // WORD_BITS)
        at += len(stream)
    part_bytes = plan.part_symbols // palette.passes * palette.group
    part_words = -(-part_bytes // POOL_WORD)
    chunk_words = machine.patch_words // (sharing.clone_slots * sharing.split_slots)
    last_full, last_edge = divmod(plan.rows - (plan.tiles - 1) * plan.tile_rows, plan.row_lanes)
    descriptor = pack_descriptor(
        **head,
        **activation,
        product_tables=int(uses_product_tables(coded, machine)),
        key_mode=key_mode,
        group_log2=palette.group.bit_length() - 1,
        passes=palette.passes - 1,
        hold=int(part_words <= chunk_words),
        clone_log2=sharing.clone_slots.bit_length() - 1,
        split_log2=sharing.split_slots.bit_length() - 1,
        split_groups=int(sharing.split_groups > 1),
        row_groups=plan.row_lanes // machine.group_lanes,
        stored_lanes=plan.lanes,
        rows=plan.rows,
        tile_rows=plan.tile_rows,
        tiles=plan.tiles,
        row_lanes=plan.row_lanes,
        part_symbols=plan.part_symbols,
        last_full=last_full,
        last_edge=last_edge,
        positions=sharing.clone_slots * sharing.clone_groups * machine.columns,
        distance=coded.contexts.distance,
        keys_offset=keys_offset,
        keys_words=-(-len(keys) // _WORD),
        records_offset=records_offset,
        records_words=len(records) // _WORD,
        input_bytes=node.geometry.columns,
        part_bytes=part_bytes,
        part_words=part_words,
        chunk_words=chunk_words,
    )
    return [descriptor, lane_table]


def _records(node: Linear) -> tuple[bytes, dict[str, int]]:
    """Return the row records of a layer, and what all its rows share."""
    activation = node.activation
    if isinstance(activation, Requantise):
        scales = activation.multiplier.astype(np.int64) | activation.shift.astype(np.int64) << SHIFT_LSB
        rows = zip(activation.bias.tolist(), scales.tolist(), strict=True)
        constants = {
            "rounding": ROUNDINGS.index(activation.rounding),
            "zero_point": activation.zero_point,
            "low": activation.low,
            "high": activation.high,
        }
        return b"".join(RECORD.pack(*row) for row in rows), constants
    count = activation.values.shape[1]
    padded = np.zeros((len(activation.values), THRESHOLD_RECORD.size // 4), "<i4")
    padded[:, :count] = activation.values
    constants = {
        "use_thresholds": 1,
        "zero_point": activation.base,
        "step": activation.step,
        "threshold_count": count,
    }
    return padded.tobytes(), constants
