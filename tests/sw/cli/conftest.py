"""The folder that the commands work in."""

from pathlib import Path

import numpy as np
import pytest

import weightstream as ws


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return a folder to work in, with a network, inputs and a compressed network."""
    from command_line import SHAPE, float_network  # skips where the packages of the commands are missing

    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(2).normal(0, 1, (64, SHAPE[0])).astype(np.float32)
    np.save("x.npy", x)
    float_network(tmp_path / "net.onnx")
    ws.compress("net.onnx", bits=4, calibration=x).save("net.ws")
    return tmp_path
