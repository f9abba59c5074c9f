"""Compressed networks and matrices: what users hold, save and load."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .codec.backend import Decoder
from .codec.matrix import CodedMatrix, check_weights, code_matrix
from .errors import FormatError, MatrixError, WeightstreamError
from .ir.canonical import code_network, relayout_network
from .ir.file import read_network, write_network
from .ir.network import Linear, Matrix, Network
from .spec.layout import Layout
from .spec.machine import Machine

if TYPE_CHECKING:
    import onnx

    from .report.summary import Report
    from .report.tables import Part

#: Larger files are not read: a mistaken path should not fill the memory.
_MAX_FILE_BYTES = 1 << 36


class Model:
    """A compressed network.

    Parameters
    ----------
    network : Network
        The graph; all its matrices are coded.
    data : bytes
        The file that holds it.
    """

    def __init__(self, network: Network, data: bytes):
        self.network = network
        self._data = data
        self._decoders: dict[Linear, Decoder] = {}
        self._parts: list[Part] = []

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        return self._data

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file; an existing one is replaced at once, or not at all."""
        path = Path(path)
        if path.exists() and not path.is_file():
            path.write_bytes(self._data)  # a device or a pipe is written to, not replaced
            return
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(self._data)
        partial.replace(path)

    @property
    def layout(self) -> Layout | None:
        """The streams of the machine that the layers are laid out for; None if they differ."""
        layouts = {coded.layout for coded in self.matrices().values()}
        return layouts.pop() if len(layouts) == 1 else None

    def matrices(self) -> dict[str, CodedMatrix]:
        """Return the coded matrices by the names of their nodes."""
        nodes = (node for node in self.network.nodes if isinstance(node, Linear | Matrix))
        return {node.name: node.coded for node in nodes if node.coded is not None}

    def decoder(self, node: Linear) -> Decoder:
        """Return the decoder of a node's streams; it is made once and can be run again and again."""
        if node not in self._decoders:
            assert node.coded is not None
            self._decoders[node] = node.coded.decoder()
        return self._decoders[node]

    def report(self) -> Report:
        """Return what each layer costs; all weights are decoded for that, once.

        Returns
        -------
        Report
            A list of dicts, see `weightstream.report.sizes.layer_report`, that prints as tables and can be
            plotted.
        """
        from .report.sizes import file_report
        from .report.summary import Report

        return Report(file_report(self))

    def relayout(
        self,
        layout: Layout | Machine | None,
        progress: Callable[[str], None] | None = None,
        *,
        batch: int = 1,
    ) -> Model:
        """Return the same weights in other streams.

        Parameters
        ----------
        layout : Layout, Machine or None
            Streams of the machine that will run it, or the machine; None is an archive's layout.
        progress : callable, optional
            Called with the name of each node when it is done.
        batch : int
            Items that the machine will run at once: it runs any number, and so many in the fewest clocks.
        """
        return from_network(relayout_network(self.network, layout, progress, batch))

    def __repr__(self) -> str:
        weights = sum(c.geometry.rows * c.geometry.columns for c in self.matrices().values())
        layers = len(self.matrices())
        return f"<weightstream model: {layers} layers, {weights} weights, {len(self._data)} bytes>"

    def __str__(self) -> str:
        from .report.tables import as_text

        return as_text(self._shown())

    def _repr_html_(self) -> str:
        from .report.tables import as_html

        return as_html(self._shown())

    def _shown(self) -> list[Part]:
        """Return what is printed: all weights are decoded for that, the first time."""
        from .report.summary import network_parts

        if not self._parts:
            self._parts = network_parts(self)
        return self._parts


def from_network(network: Network) -> Model:
    """Return the model of a network whose matrices are coded."""
    return Model(network, write_network(network))


def from_bytes(data: bytes) -> Model:
    """Return the model that a file's bytes hold.

    Raises
    ------
    FormatError
        They are not a weightstream file of this version, or corrupt.
    """
    return Model(read_network(data), data)


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model from a file.

    Raises
    ------
    FormatError
        The file is not a weightstream file of this version, or corrupt.
    WeightstreamError
        It cannot be read.
    """
    try:
        path = Path(path)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise WeightstreamError(f"cannot read {path}: it is no regular file")
        if status.st_size > _MAX_FILE_BYTES:
            raise FormatError(f"{path} has {status.st_size} bytes: too large for a weightstream file")
        data = path.read_bytes()
    except OSError as error:
        raise WeightstreamError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise WeightstreamError(f"cannot read {str(path)!r}: {error}") from error
    return from_bytes(data)


def compress(
    model: str | os.PathLike[str] | onnx.ModelProto,
    *,
    bits: int | None = None,
    calibration: np.ndarray | None = None,
    layout: Layout | Machine | None = None,
    batch: int = 1,
    per_channel: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Model:
    """Compress an ONNX network.

    Parameters
    ----------
    model : path or onnx.ModelProto
        A float network, which is quantised after training; or a quantised one (QDQ or QLinear operators),
        which is taken exactly.
    bits : int, optional
        Bits of the weights of a float network, 2 to 8; by default 8.
    calibration : ndarray of float, shape (batch, *input shape), optional
        Typical inputs; a float network needs some.
    layout : Layout or Machine, optional
        Streams of the machine that will run it, or the machine; by default an archive's.
    batch : int
        Items that the machine will run at once: it runs any number, and so many in the fewest clocks.
    per_channel : bool
        A scale for each row of weights, not one for all.
    progress : callable, optional
        Called with the name of each node when it is done.

    Returns
    -------
    Model

    Raises
    ------
    NetworkError
        The network cannot be imported; the message names the node.
    InputError
        The calibration data do not fit the network.
    """
    from .ir.onnx_import import import_onnx

    network = import_onnx(model, bits=bits, calibration=calibration, per_channel=per_channel)
    return from_network(code_network(network, layout, progress, batch))


def encode_matrix(
    weights: np.ndarray, free_rows: bool = True, layout: Layout | None = None
) -> tuple[bytes, np.ndarray]:
    """Compress one integer matrix.

    Parameters
    ----------
    weights : ndarray of integers in [-128, 127], shape (rows, columns) or (out, in, kh, kw)
        The matrix. The taps of a kernel are known to be neighbours.
    free_rows : bool
        Whether rows may be sorted; this saves about log2(rows!) bits.
    layout : Layout, optional
        Parallel streams; by default chosen by size, from 1 x 1 to 1 x 32.

    Returns
    -------
    blob : bytes
        A complete file.
    order : ndarray of int64, shape (rows,)
        ``weights[order]`` is what `decode_matrix` returns; 0, 1, 2... unless `free_rows`.

    Raises
    ------
    MatrixError
        Not integers, out of range, or of a wrong shape.
    TypeError
        `layout` is of another type.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.random.default_rng(1).integers(-7, 8, (64, 100))
    >>> blob, order = encode_matrix(weights)
    >>> bool((decode_matrix(blob) == weights[order]).all())
    True
    """
    if layout is not None and not isinstance(layout, Layout):
        raise TypeError(f"layout must be a Layout or None, not {layout!r}")
    try:
        weights = np.asarray(weights)
    except ValueError as error:
        raise MatrixError("weights must be an array: their rows have different lengths") from error
    geometry = check_weights(weights)
    coded, order = code_matrix(weights, geometry, free_rows=bool(free_rows), layout=layout)
    matrix = Matrix(name="", coded=coded)
    return write_network(Network(tensors=(), nodes=(matrix,), inputs=(), outputs=())), order


def decode_matrix(blob: bytes) -> np.ndarray:
    """Return the matrix of a file that `encode_matrix` wrote.

    Returns
    -------
    ndarray of int8, shape (rows, columns) or (out, in, kh, kw)

    Raises
    ------
    FormatError
        The blob is not such a file, or corrupt.
    TypeError
        `blob` is of another type.
    """
    if not isinstance(blob, bytes | bytearray | memoryview):
        raise TypeError(f"blob must be bytes, not {type(blob).__name__}: use load for a path")
    nodes = read_network(bytes(blob)).nodes
    if len(nodes) != 1 or not isinstance(nodes[0], Matrix):
        raise FormatError("the file holds a network, not one matrix: use load")
    coded = nodes[0].coded
    return coded.geometry.unflatten(coded.weights())
