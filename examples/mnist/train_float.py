"""Train LeNet-300-100 in float32 and export it as ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper
from torch import nn

from data import HERE, load_mnist
from model import SIZES, accuracy, parse_args, save_onnx, train


def build() -> nn.Sequential:
    """Create the network: linear layers with a ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(SIZES, SIZES[1:], strict=False):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def export(model: nn.Module, path: Path) -> None:
    """Write the network as Gemm and Relu nodes.

    Parameters
    ----------
    model : torch.nn.Module
        A network made by `build`.
    path : pathlib.Path
        Output file.
    """
    linears = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    nodes = []
    constants: dict[str, np.ndarray] = {}
    tensor = "image"
    for i, layer in enumerate(linears, start=1):
        last = i == len(linears)
        weight, bias, gemm = f"fc{i}.weight", f"fc{i}.bias", "logits" if last else f"fc{i}.out"
        constants[weight] = layer.weight.detach().numpy()
        constants[bias] = layer.bias.detach().numpy()
        nodes.append(helper.make_node("Gemm", [tensor, weight, bias], [gemm], f"fc{i}", transB=1))
        tensor = gemm
        if not last:
            tensor = f"relu{i}.out"
            nodes.append(helper.make_node("Relu", [gemm], [tensor], f"relu{i}"))
    save_onnx(path, nodes, constants)


def main() -> None:
    """Train, export and measure."""
    args = parse_args(__doc__, epochs=30, out=HERE / "lenet-300-100.onnx")
    x_train, y_train, x_test, y_test = load_mnist()
    model = train(build, x_train, y_train, epochs=args.epochs, lr=3e-3, weight_decay=0.05)
    export(model, args.out)
    print(f"{args.out.name}: test accuracy {accuracy(args.out, x_test, y_test):.2%} (onnxruntime)")


if __name__ == "__main__":
    main()
