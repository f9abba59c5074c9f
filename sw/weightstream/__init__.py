"""Run neural networks straight from losslessly compressed weight streams.

Examples
--------
>>> import weightstream as ws
>>> net = ws.compress("net.onnx", bits=4, calibration=x)  # doctest: +SKIP
>>> net.save("net.ws")  # doctest: +SKIP
>>> y = ws.open("numpy").run("net.ws", x)  # doctest: +SKIP
"""

from .errors import (
    DeviceError,
    FormatError,
    ImageError,
    InputError,
    LayoutError,
    MachineError,
    MatrixError,
    NetworkError,
    TargetError,
    VersionError,
    WeightstreamError,
)
from .model import Model, compress, decode_matrix, encode_matrix, load
from .runtime.devices import open_device as open
from .spec.layout import Layout

__version__ = "0.1.0"

__all__ = [
    "DeviceError",
    "FormatError",
    "ImageError",
    "InputError",
    "Layout",
    "LayoutError",
    "MachineError",
    "MatrixError",
    "Model",
    "NetworkError",
    "TargetError",
    "VersionError",
    "WeightstreamError",
    "compress",
    "decode_matrix",
    "encode_matrix",
    "load",
    "open",
]
