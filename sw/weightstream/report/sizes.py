"""Where the bits of a file go, layer by layer, and what theory says they could be.

Each bit of a file is counted once::

    file_bits  = header_bits + graph_bits + padding_bits + the layers' coded_bits
    coded_bits = streams_bits + keys_bits + tables_bits + maps_bits + records_bits
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from ..codec.frequencies import Table
from ..codec.matrix import CodedMatrix
from ..codec.side import SideInformation, table_bits, write_side
from ..ir.network import Linear, Matrix, Softmax, Tensor
from ..ir.records import pack_records
from ..spec.coder import SYMBOLS, WORD_BITS
from ..spec.container import HEADER

if TYPE_CHECKING:
    from ..model import Model

#: What the sections of all layers, and their bounds, sum up to in the report of a file.
SUMS = (
    "weights",
    "fixed_width_bits",
    "coded_bits",
    "streams_bits",
    "keys_bits",
    "tables_bits",
    "maps_bits",
    "records_bits",
    "entropy_bits",
    "permutation_bits",
    "bound_bits",
    "order_saved_bits",
)
#: Why an operator is not computed with integers.
HOST_REASONS = {Softmax.op: "run by numpy on the host: no integer form of it is exact"}

#: Weights whose levels are counted together: bounds the memory for their indices.
_COUNTED_AT_ONCE = 1 << 20


def layer_report(name: str, coded: CodedMatrix, node: Linear | Matrix) -> dict:
    """Return what a layer costs; all its weights are decoded for that, once.

    Parameters
    ----------
    name : str
        What to call the layer.
    coded : CodedMatrix
        Its matrix.
    node : Linear or Matrix
        Its operator.

    Returns
    -------
    dict
        Plain numbers, strings, lists and dicts, fit for JSON:

        ``name``, ``op``, ``shape``, ``weights``
            The layer; `weights` is their count.
        ``fixed_width_bits``
            weights * ceil(log2(number of distinct levels)): what numbers of equal length take.
        ``coded_bits``
            All that the file holds for this layer, without padding: the sum of the next five.
        ``streams_bits``, ``keys_bits``, ``tables_bits``, ``maps_bits``, ``records_bits``
            Words of the lanes; row keys; frequency tables; the rest of the side information (palette,
            classes, context map, key parameters); row records (biases and scales, or thresholds). Tables
            and maps share a section; where the one ends and the other begins is known to a byte.
        ``bits_per_weight``
            coded_bits / weights; 0 without weights.
        ``entropy_bits``
            weights * zeroth-order entropy of the layer's own weights. No table or other model is paid for.
        ``permutation_bits``
            log2(N! / prod(mu!)) for N rows, of which mu each are equal: what forgetting their order can save.
            0 if rows have names.
        ``bound_bits``
            entropy_bits - permutation_bits. Contexts see more than the zeroth order, and so may end below.
        ``order_saved_bits``
            What the canonical order did save, against the same model of rows with names: the key bits that
            the streams do not hold, less the keys; and the classes of rows, which need not be listed.
        ``free_rows``
            Whether the order of the rows was free.
        ``layout``, ``sharing``
            Streams, as "lanes x slots"; and what they share.
        ``palette``
            Distinct levels among the weights; weights that a symbol stands for, or a group of symbols; and
            symbols of such a group.
        ``classes``
            Classes of rows, columns, previous symbols, symbols further back; and the tables they choose from.
        ``column_order``
            "channels first" (channel, dy, dx) or "taps first" (dy, dx, channel).
    """
    geometry, sharing = coded.geometry, coded.sharing
    weights = coded.weights()
    counts = _level_counts(weights)
    streams = sum(WORD_BITS * len(words) for words in coded.lanes)
    keys = 8 * len(coded.key_data)
    side = 8 * len(coded.side)
    maps = min(_maps_bits(coded), side)
    records = 8 * len(pack_records(node.activation)) if isinstance(node, Linear) else 0
    total = streams + keys + side + records
    entropy = _entropy_bits(counts)
    permutation = _permutation_bits(weights) if coded.free_rows else 0.0
    return {
        "name": name,
        "op": node.op,
        "shape": [geometry.rows, geometry.channels, *geometry.kernel]
        if geometry.four_axes
        else [geometry.rows, geometry.columns],
        "weights": weights.size,
        "fixed_width_bits": weights.size * (max(len(counts), 1) - 1).bit_length(),
        "coded_bits": total,
        "streams_bits": streams,
        "keys_bits": keys,
        "tables_bits": side - maps,
        "maps_bits": maps,
        "records_bits": records,
        "bits_per_weight": total / weights.size if weights.size else 0.0,
        "entropy_bits": entropy,
        "permutation_bits": permutation,
        "bound_bits": entropy - permutation,
        "order_saved_bits": _order_saved_bits(coded) if coded.free_rows else 0.0,
        "free_rows": coded.free_rows,
        "layout": str(coded.layout),
        "palette": {
            "levels": len(counts),
            "group": coded.palette.group,
            "passes": coded.palette.passes,
        },
        "sharing": {
            "clone_slots": sharing.clone_slots,
            "clone_groups": sharing.clone_groups,
            "split_slots": sharing.split_slots,
            "split_groups": sharing.split_groups,
        },
        "classes": {
            **dict(zip(("rows", "columns", "previous", "back"), coded.contexts.classes, strict=True)),
            "tables": coded.contexts.table_count,
        },
        "column_order": "taps first" if geometry.taps_first else "channels first",
    }


def file_report(model: Model) -> dict:
    """Return what a file costs.

    Parameters
    ----------
    model : Model
        The file.

    Returns
    -------
    dict
        Plain numbers, strings, lists and dicts, fit for JSON:

        ``format_version``, ``file_bits``
            The file.
        ``header_bits``, ``graph_bits``, ``padding_bits``
            What belongs to no layer: header; tensors, operators and lengths of sections; zeros in front of
            streams, which are aligned, and behind the last one in a file that would compress too well.
        the names in `SUMS`
            Sums of the layers.
        ``bits_per_weight``
            file_bits / weights; 0 without weights.
        ``inputs``, ``outputs``
            Tensors: name, shape of an item, type; scale and zero point of integers.
        ``layers``
            What `layer_report` returns for each.
        ``host_operators``
            Operators that are not computed with integers, and the reason.
    """
    network, data = model.network, model.to_bytes()
    _, version, _, _, _, graph_bytes = HEADER.unpack_from(data)
    matrices = [(node, node.coded) for node in network.nodes if isinstance(node, Linear | Matrix)]
    layers = [layer_report(node.name, coded, node) for node, coded in matrices if coded is not None]
    sums = {key: sum(layer[key] for layer in layers) for key in SUMS}
    overhead = 8 * (HEADER.size + graph_bytes)
    return {
        "format_version": version,
        "file_bits": 8 * len(data),
        "header_bits": 8 * HEADER.size,
        "graph_bits": 8 * graph_bytes,
        "padding_bits": 8 * len(data) - overhead - sums["coded_bits"],
        **sums,
        "bits_per_weight": 8 * len(data) / sums["weights"] if sums["weights"] else 0.0,
        "inputs": [_tensor(network.tensor(name)) for name in network.inputs],
        "outputs": [_tensor(network.tensor(name)) for name in network.outputs],
        "layers": layers,
        "host_operators": [
            {"name": node.name, "op": node.op, "reason": HOST_REASONS[node.op]}
            for node in network.nodes
            if node.op in HOST_REASONS
        ],
    }


def _tensor(tensor: Tensor) -> dict:
    """Return what a user must know to feed a tensor, or to read it."""
    result = {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
    if tensor.dtype != "float32":
        result |= {"scale": float(tensor.scale), "zero_point": int(tensor.zero_point)}
    return result


def _level_counts(weights: np.ndarray) -> np.ndarray:
    """Return how often each level in use occurs, int64."""
    flat = weights.reshape(-1)
    if not flat.size:
        return np.zeros(0, np.int64)
    low, high = int(flat.min()), int(flat.max())
    counts = np.zeros(high - low + 1, np.int64)
    for start in range(0, flat.size, _COUNTED_AT_ONCE):
        part = flat[start : start + _COUNTED_AT_ONCE].astype(np.int64)
        counts += np.bincount(part - low, minlength=len(counts))
    return counts[counts > 0]


def _entropy_bits(counts: np.ndarray) -> float:
    """Return the zeroth-order entropy of all weights together."""
    if len(counts) < 2:
        return 0.0
    return float(counts @ np.log2(counts.sum() / counts))


def _log2_factorial(n: int) -> float:
    return math.lgamma(n + 1) / math.log(2)


def _permutation_bits(weights: np.ndarray) -> float:
    """Return the logarithm of the number of distinct orders of the rows."""
    equal = Counter(row.tobytes() for row in weights)
    # Rounding must not leave a trace of a bit where all rows are equal.
    return max(0.0, _log2_factorial(len(weights)) - sum(map(_log2_factorial, equal.values())))


def _order_saved_bits(coded: CodedMatrix) -> float:
    """Return what sorting saved: by keys within each class of rows, and by classes that are only counted."""
    rows = coded.class_rows
    key_bits = sum(code.bits * count for code, count in zip(coded.key_codes, rows, strict=True))
    listing = _log2_factorial(sum(rows)) - sum(map(_log2_factorial, rows))
    return key_bits - 8 * len(coded.key_data) + max(0.0, listing)


def _maps_bits(coded: CodedMatrix) -> int:
    """Return the bits of the side information in front of the tables."""
    # What has been read does not say how tables were predicted, so they cannot be coded again. The same
    # section with one table of known size in their place tells what the rest takes.
    probe = [(Table(1, (0,) * (SYMBOLS - 1) + (1,)), 0, 0)]
    side = SideInformation(
        palette=coded.palette,
        contexts=coded.contexts,
        row_class=coded.row_class,
        key_codes=coded.key_codes,
        fitted=probe,
    )
    taps = coded.geometry.kernel[0] * coded.geometry.kernel[1]
    section = write_side(side, coded.plan.part_symbols, taps, coded.free_rows)
    return max(0, 8 * len(section) - table_bits(probe, coded.palette))
