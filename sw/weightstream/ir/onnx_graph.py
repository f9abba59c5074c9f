"""An ONNX file and the attributes of its nodes; whatever is not supported raises a `NetworkError`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import NetworkError

if TYPE_CHECKING:
    import onnx

#: Versions of the operator set whose operators mean what they are taken for here.
OPSETS = range(7, 29)
#: Operators that onnxruntime has in a domain of its own.
MICROSOFT = ("DequantizeLinear", "QGemm", "QuantizeLinear")

#: Attributes of each operator that are known, and what they are when absent.
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "Add": {},
    "Clip": {},
    "Constant": {"value": None},
    "DequantizeLinear": {"axis": 1, "block_size": 0, "output_dtype": 0},
    "Dropout": {"ratio": 0.5, "seed": 0},
    "Flatten": {"axis": 1},
    "Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0},
    "Identity": {},
    "MatMul": {},
    "QGemm": {"alpha": 1.0, "transA": 0, "transB": 0},
    "QLinearMatMul": {},
    "QuantizeLinear": {"axis": 1, "block_size": 0, "output_dtype": 0, "precision": 0, "saturate": 1},
    "Relu": {},
    "Reshape": {"allowzero": 0},
    "Softmax": {"axis": -1},
    "Transpose": {"perm": None},
}


def import_module() -> ModuleType:
    """Return the package onnx, which is an extra.

    Raises
    ------
    ModuleNotFoundError
        It is not installed; the message says how to.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("ONNX files need: pip install 'weightstream[onnx]'") from error
    return onnx


def load_model(source: str | os.PathLike | bytes | onnx.ModelProto) -> onnx.ModelProto:
    """Return a checked model.

    Parameters
    ----------
    source : path, bytes or ModelProto
        The file, what it holds, or what was read from it.

    Raises
    ------
    NetworkError
        The file cannot be read, is no ONNX model or no valid one, or needs operators of an unknown version.
    TypeError
        `source` is of another type.
    """
    package = import_module()
    if not isinstance(source, (str, os.PathLike, bytes, package.ModelProto)):
        raise TypeError(f"a network must be a path, bytes or a ModelProto, not {type(source).__name__}")
    model: Any = source
    try:
        if isinstance(source, bytes):
            model = package.load_from_string(source)
        elif isinstance(source, (str, os.PathLike)):
            model = package.load(source)
        package.checker.check_model(model)
    except OSError as error:
        raise NetworkError(f"{source!s} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # of many types, for protobuf and the checker document none
        raise NetworkError(f"not a valid ONNX model: {error}") from error
    if any(isinstance(name, bytes) for name in _names(model.graph)):  # what protobuf could not decode
        raise NetworkError("not a valid ONNX model: names must be UTF-8")
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1 or versions[0] not in OPSETS:
        raise NetworkError(
            f"the ONNX operator set must be of a version from {OPSETS[0]} to {OPSETS[-1]}, not {versions}"
        )
    return model


def _names(graph: onnx.GraphProto) -> Iterator[str | bytes]:
    """Yield the names in a graph."""
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)


def describe(node: onnx.NodeProto) -> str:
    """Return what to call a node in a message."""
    return f"node {node.name or ', '.join(node.output)!r} ({node.op_type})"


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of a node, with defaults.

    Raises
    ------
    NetworkError
        The operator or an attribute is not supported.
    """
    onnx = import_module()
    foreign = node.domain == "com.microsoft" and node.op_type in MICROSOFT
    if node.op_type not in ATTRIBUTES or not (node.domain in ("", "ai.onnx") or foreign) or not node.output:
        raise NetworkError(f"{describe(node)} is not supported; supported are {', '.join(ATTRIBUTES)}")
    result = dict(ATTRIBUTES[node.op_type])
    for attribute in node.attribute:
        if attribute.name not in result:
            raise NetworkError(f"{describe(node)} has the unsupported attribute {attribute.name!r}")
        value = onnx.helper.get_attribute_value(attribute)
        if foreign and type(value) is not type(result[attribute.name]):  # the checker knows the others
            raise NetworkError(f"{describe(node)} has an attribute {attribute.name!r} of the wrong type")
        result[attribute.name] = value
    return result


def require(node: onnx.NodeProto, **expected: Any) -> dict[str, Any]:
    """Return the attributes of a node, of which some must have the given values, else `NetworkError`."""
    found = attributes(node)
    for name, value in expected.items():
        if found[name] != value:
            raise NetworkError(f"{describe(node)} must have {name} = {value}, not {found[name]}")
    return found
