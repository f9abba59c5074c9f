"""Commands as the shell would run them, and small networks to give to them."""

from pathlib import Path

import numpy as np

import needs

needs.package("rich")
onnx = needs.package("onnx")
testing = needs.package("typer.testing")

from weightstream.cli import app as commands  # noqa: E402

NAMES = ("compress", "info", "run", "verify", "selftest", "relayout", "export")
SHAPE = (20, 12, 5)


def run(*arguments: object):
    """Run a command as the shell would."""
    return testing.CliRunner().invoke(commands.app, [str(a) for a in arguments], prog_name="weightstream")


def succeed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result.stdout


def fail(*arguments: object) -> str:
    """Run a command that must end as every foreseeable error does; return its one line."""
    result = run(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def float_network(path: Path, seed: int = 1, prefix: str = "fc", softmax: bool = False) -> Path:
    """Write a dense network of two layers."""
    rng = np.random.default_rng(seed)
    nodes, constants, value = [], [], "x"
    for i, (columns, rows) in enumerate(zip(SHAPE, SHAPE[1:], strict=False), 1):
        for name, shape in ((f"w{i}", (rows, columns)), (f"b{i}", (rows,))):
            values = rng.normal(0, 0.3, shape).astype(np.float32)
            constants.append(onnx.numpy_helper.from_array(values, name))
        inputs = [value, f"w{i}", f"b{i}"]
        nodes.append(onnx.helper.make_node("Gemm", inputs, [f"s{i}"], name=f"{prefix}{i}", transB=1))
        value = f"s{i}"
        if i == 1:
            nodes.append(onnx.helper.make_node("Relu", [value], ["h"]))
            value = "h"
    if softmax:
        nodes.append(onnx.helper.make_node("Softmax", [value], ["p"], name="last"))
        value = "p"
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])
        for name, size in (("x", SHAPE[0]), (value, SHAPE[-1]))
    ]
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
