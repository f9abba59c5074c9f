"""Train LeNet-300-100 with ternary weights and 8-bit activations; export it as QDQ ONNX.

Training is quantisation-aware. The weights follow Ternary Weight Networks (Li et al., 2016): in
each row, entries below a threshold become zero and the others plus or minus one scale, their mean
magnitude. Gradients pass straight through to the float weights underneath.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from onnx import helper
from torch import nn
from torch.nn import functional

from data import HERE, load_mnist
from model import SIZES, accuracy, parse_args, save_onnx, train

THRESHOLD = 1.6
"""Zeroing threshold, in mean magnitudes of a row. TWN's 0.7 leaves fewer zeros."""

INPUT_SCALE = np.float32(1 / 255)


class TernaryLinear(nn.Linear):
    """Linear layer whose weights are ternary times one scale per output channel."""

    def ternarize(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the codes in {-1, 0, 1} and the scales, of shape (outputs, 1)."""
        magnitude = self.weight.detach().abs()
        kept = (magnitude > THRESHOLD * magnitude.mean(dim=1, keepdim=True)).float()
        scale = (magnitude * kept).sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True)
        return self.weight.detach().sign() * kept, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer with ternary weights."""
        codes, scale = self.ternarize()
        # The value is the ternary weight, the gradient that of the float weight.
        weight = self.weight + (codes * scale - self.weight).detach()
        return functional.linear(x, weight, self.bias)


class Quantize(nn.Module):
    """Rounding to uint8 over a range that follows the activations during training."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def grid(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scale and the zero point, which is 0 if no value is negative."""
        scale = (self.high - self.low) / 255
        return scale, (-self.low / scale).round().to(torch.int32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Quantise and dequantise."""
        if self.training:
            low, high = torch.aminmax(x.detach())
            rate = 0.01 if self.high > self.low else 1.0  # the first batch sets the range
            self.low.lerp_(low.clamp(max=0), rate)
            self.high.lerp_(high, rate)
        return torch.fake_quantize_per_tensor_affine(x, *self.grid(), 0, 255)


def build() -> nn.Sequential:
    """Create the network: ternary layers, a ReLU between them, uint8 after each."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(SIZES, SIZES[1:], strict=False):
        layers += [TernaryLinear(inputs, outputs), nn.ReLU(), Quantize()]
    del layers[-2]
    return nn.Sequential(*layers)


def export(model: nn.Module, path: Path) -> None:
    """Write the network as QDQ ONNX: int8 weights, int32 biases, uint8 activations.

    Parameters
    ----------
    model : torch.nn.Module
        A network made by `build`.
    path : pathlib.Path
        Output file.
    """
    linears = [layer for layer in model.modules() if isinstance(layer, TernaryLinear)]
    grids = [layer.grid() for layer in model.modules() if isinstance(layer, Quantize)]
    nodes = []
    constants: dict[str, np.ndarray] = {}

    def dequantize(name: str, codes: str, scale: np.ndarray, zero_point: np.ndarray, **axis: int) -> None:
        constants[f"{name}.scale"], constants[f"{name}.zero_point"] = scale, zero_point
        inputs = [codes, f"{name}.scale", f"{name}.zero_point"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name], f"{name}.dq", **axis))

    def requantize(tensor: str, name: str, scale: np.float32, zero_point: int) -> None:
        inputs = [tensor, f"{name}.scale", f"{name}.zero_point"]
        nodes.append(helper.make_node("QuantizeLinear", inputs, [f"{name}.q"], f"{name}.q"))
        dequantize(name, f"{name}.q", np.asarray(scale), np.asarray(zero_point, np.uint8))

    def constant(name: str, codes: np.ndarray, scale: np.ndarray) -> None:
        constants[f"{name}.q"] = codes
        dequantize(name, f"{name}.q", scale, np.zeros(len(scale), codes.dtype), axis=0)

    tensor, input_scale = "input", INPUT_SCALE
    requantize("image", tensor, input_scale, 0)
    for i, (layer, grid) in enumerate(zip(linears, grids, strict=True), start=1):
        last = i == len(linears)
        codes, scale = layer.ternarize()
        scale = scale.flatten().numpy()
        bias_scale = input_scale * scale
        bias = np.rint(layer.bias.detach().numpy() / bias_scale)
        constant(f"fc{i}.weight", codes.numpy().astype(np.int8), scale)
        constant(f"fc{i}.bias", bias.astype(np.int32), bias_scale)
        inputs, out = [tensor, f"fc{i}.weight", f"fc{i}.bias"], f"fc{i}.out"
        nodes.append(helper.make_node("Gemm", inputs, [out], f"fc{i}", transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"relu{i}.out"], f"relu{i}"))
            out = f"relu{i}.out"
        tensor, input_scale = "logits" if last else f"act{i}", np.float32(grid[0].item())
        requantize(out, tensor, input_scale, int(grid[1]))
    save_onnx(path, nodes, constants)


def main() -> None:
    """Train, export and measure."""
    args = parse_args(
        "Train LeNet-300-100 with ternary weights and export it as QDQ ONNX.",
        epochs=40,
        out=HERE / "lenet-300-100-ternary.onnx",
    )
    x_train, y_train, x_test, y_test = load_mnist()
    model = train(build, x_train, y_train, epochs=args.epochs, lr=3e-3, weight_decay=0.05)
    export(model, args.out)
    for i, layer in enumerate((m for m in model if isinstance(m, TernaryLinear)), start=1):
        print(f"fc{i}: {(layer.ternarize()[0] == 0).float().mean():.1%} of the weights are zero")
    print(f"{args.out.name}: test accuracy {accuracy(args.out, x_test, y_test):.2%} (onnxruntime)")


if __name__ == "__main__":
    main()
