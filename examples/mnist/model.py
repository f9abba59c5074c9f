"""What both training scripts share: the architecture, the training loop, and ONNX helpers."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn import functional

from data import to_input

SIZES = (784, 300, 100, 10)
"""Widths of LeNet-300-100, from the input to the logits."""

BATCH = 128
MAX_SHIFT = 1


def parse_args(description: str, epochs: int, out: Path) -> argparse.Namespace:
    """Parse the command line of a training script.

    Parameters
    ----------
    description : str
        Text for ``--help``.
    epochs : int
        Default of ``--epochs``.
    out : pathlib.Path
        Default of ``--out``.

    Returns
    -------
    argparse.Namespace
        With the attributes ``epochs`` and ``out``.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=epochs, help="passes over the training set")
    parser.add_argument("--out", type=Path, default=out, help="output file (.onnx)")
    return parser.parse_args()


def train(
    build: Callable[[], nn.Module],
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int,
    lr: float,
    weight_decay: float,
    seed: int = 0,
) -> nn.Module:
    """Train a network on randomly shifted images.

    Parameters
    ----------
    build : callable
        Creates the network; it is called after seeding.
    images, labels : numpy.ndarray
        The training set, in uint8.
    epochs : int
        Number of passes over the training set.
    lr : float
        Peak learning rate of the one-cycle schedule.
    weight_decay : float
        Decoupled weight decay (AdamW).
    seed : int, optional
        Seed of the initial weights, the order and the shifts.

    Returns
    -------
    torch.nn.Module
        The network after the last epoch, in evaluation mode. The test set plays no part in
        choosing it.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # sums are then always added in the same order
    model = build().train()
    target = torch.from_numpy(labels.astype(np.int64))
    padded = functional.pad(torch.from_numpy(images), (MAX_SHIFT,) * 4)
    # A view of every image at every shift, from which each epoch picks one shift per image.
    shifts = padded.unfold(1, 28, 1).unfold(2, 28, 1)

    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    steps = -(-len(target) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=lr, total_steps=epochs * steps, pct_start=0.1
    )
    start = time.perf_counter()
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(target))
        dy, dx = torch.randint(2 * MAX_SHIFT + 1, (2, len(target)))
        total = 0.0
        for batch in order.split(BATCH):
            x = shifts[batch, dy[batch], dx[batch]].flatten(1).float() / 255
            loss = functional.cross_entropy(model(x), target[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        loss_mean, seconds = total / len(target), time.perf_counter() - start
        print(f"epoch {epoch}/{epochs}: loss {loss_mean:.4f}, {seconds:.0f} s", flush=True)
    return model.eval()


def save_onnx(path: Path, nodes: Sequence[onnx.NodeProto], initializers: dict[str, np.ndarray]) -> None:
    """Write a checked ONNX file that maps ``image`` (N, 784) to ``logits`` (N, 10).

    Parameters
    ----------
    path : pathlib.Path
        Output file.
    nodes : sequence of onnx.NodeProto
        The graph, in topological order.
    initializers : dict of str to numpy.ndarray
        The constants by name.
    """

    def info(name: str, width: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])

    graph = helper.make_graph(
        nodes,
        path.stem,
        [info("image", SIZES[0])],
        [info("logits", SIZES[-1])],
        [onnx.numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    # IR version 8 is the one that came with opset 17, so that older runtimes load the file too.
    model = helper.make_model(
        graph,
        producer_name="weightstream",
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def accuracy(path: Path, images: np.ndarray, labels: np.ndarray) -> float:
    """Measure the accuracy of an ONNX file with onnxruntime.

    Parameters
    ----------
    path : pathlib.Path
        A file written by `save_onnx`.
    images, labels : numpy.ndarray
        The test set, in uint8.

    Returns
    -------
    float
        Share of the images classified correctly.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": to_input(images)})
    return float((logits.argmax(axis=1) == labels).mean())
