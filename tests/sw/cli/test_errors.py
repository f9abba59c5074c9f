"""Foreseeable errors are one line and exit code 1, and leave every file as it was."""

import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

import weightstream as ws
from command_line import commands, fail, succeed

COMPRESS = ("compress", "net.onnx", "-o", "out.ws")
RUN = ("run", "net.ws", "x.npy", "-o", "y.npy")
ERRORS = {
    "lanes-alone": (
        (*COMPRESS, "--calibration", "x.npy", "--lanes", 4),
        "--lanes needs --slots too, as in: --lanes 16 --slots 8",
    ),
    "slots-alone": (
        ("relayout", "net.ws", "-o", "out.ws", "--slots", 4),
        "--slots needs --lanes too, as in: --lanes 16 --slots 8",
    ),
    "lanes-beyond": (
        ("relayout", "net.ws", "-o", "out.ws", "--lanes", 100, "--slots", 4),
        "lanes must be in [1, 64], not 100",
    ),
    "no-calibration": (COMPRESS, ""),
    "calibration-shape": ((*COMPRESS, "--calibration", "wrong.npy"), ""),
    "calibration-nan": ((*COMPRESS, "--calibration", "nan.npy"), ""),
    "no-onnx": (("compress", "x.npy", "-o", "out.ws"), "not a valid ONNX model: "),
    "network-missing": (("compress", "missing.onnx", "-o", "out.ws"), ""),
    "file-missing": (("info", "missing.ws"), "cannot read missing.ws: No such file or directory"),
    "file-folder": (("info", "."), "cannot read .: it is no regular file"),
    "file-other": (("info", "x.npy"), "not a weightstream file: it begins with "),
    "file-empty": (("info", "empty"), "a file of 0 bytes is too short for a weightstream file"),
    "target-unknown": ((*RUN, "--on", "fpga"), "target must be "),
    "inputs-missing": (
        ("run", "net.ws", "missing.npy"),
        "cannot read missing.npy: No such file or directory",
    ),
    "inputs-folder": (("run", "net.ws", "."), "cannot read .: Is a directory"),
    "inputs-empty": (("run", "net.ws", "empty"), "empty is no .npy file of one array of numbers: "),
    "inputs-text": (("run", "net.ws", "text"), "text is no .npy file of one array of numbers: "),
    "inputs-cut": (("run", "net.ws", "cut.npy"), "cut.npy is no .npy file of one array of numbers: "),
    "inputs-lie": (("run", "net.ws", "lie.npy"), "lie.npy is no .npy file of one array of numbers: "),
    "inputs-several": (("run", "net.ws", "x.npz"), "x.npz is no .npy file of one array of numbers: "),
    "inputs-strings": (("run", "net.ws", "strings.npy"), "input 'x' must be integers or floats, not <U1"),
    "inputs-number": (("run", "net.ws", "number.npy"), "the inputs must be a batch, not a single number"),
    "inputs-shape": (("run", "net.ws", "wrong.npy"), "input 'x' must be of shape (batch, 20), not (64, 7)"),
    "inputs-nan": (("run", "net.ws", "nan.npy"), "input 'x' must be finite, but holds NaN"),
    "matrix-run": (("run", "matrix.ws", "x.npy"), "a network that can run has one input, not 0"),
    "matrix-export": (("export", "matrix.ws", "-o", "y"), "a network that can run has one input, not 0"),
    "out-no-folder": (("relayout", "net.ws", "-o", "no/y"), "cannot write no/y: No such file or directory"),
    "out-folder": (("relayout", "net.ws", "-o", "."), "cannot write .: Is a directory"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_one_line_and_exit_code_1(folder, name):
    x = np.load("x.npy")
    np.save("wrong.npy", x[:, :7])
    np.save("nan.npy", np.full_like(x, np.nan))
    np.save("strings.npy", np.full(x.shape, "a"))
    np.save("number.npy", np.float32(1))
    np.savez("x.npz", x=x)
    Path("empty").write_bytes(b"")
    Path("text").write_text("1 2 3\n" * 20)
    Path("cut.npy").write_bytes(Path("x.npy").read_bytes()[:-9])
    # The header still has the same length, so that only its shape is wrong.
    Path("lie.npy").write_bytes(
        Path("x.npy").read_bytes().replace(b"(64, 20), }        ", b"(1" + b"0" * 9 + b", 20), }")
    )
    Path("matrix.ws").write_bytes(ws.encode_matrix(np.eye(4, dtype=int))[0])
    arguments, message = ERRORS[name]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert fail(*arguments).startswith(f"error: {message}")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_pickled_inputs_are_refused_and_not_run(folder):
    class Trap:
        def __reduce__(self):
            return Path.touch, (folder / "trapped",)

    Path("pickle.npy").write_bytes(pickle.dumps(Trap()))
    np.save("objects.npy", np.array([Trap()], object), allow_pickle=True)
    for name in ("pickle.npy", "objects.npy"):
        assert fail("run", "net.ws", name).startswith(
            f"error: {name} is no .npy file of one array of numbers: "
        )
    assert not Path("trapped").exists()


def test_an_error_of_several_lines_becomes_one(folder, monkeypatch):
    def load(path):
        raise ws.FormatError("first\n  second\x1b[2J")

    monkeypatch.setattr(commands, "load", load)
    assert fail("info", "net.ws") == "error: first second?[2J"


def test_a_failed_write_leaves_the_old_file(folder, monkeypatch):
    def replace(path, target):
        raise OSError(28, "No space left on device")

    before = Path("net.ws").read_bytes()
    monkeypatch.setattr(Path, "replace", replace)
    line = fail("relayout", "net.ws", "-o", "net.ws", "--lanes", 2, "--slots", 1)
    assert line == "error: cannot write net.ws: No space left on device"
    assert Path("net.ws").read_bytes() == before
    assert not list(folder.glob("*.partial"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this runs where there are named pipes: not on Windows")
def test_a_pipe_is_written_to_and_not_replaced(folder):
    os.mkfifo("pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_bytes()), daemon=True)
    reader.start()
    succeed("relayout", "net.ws", "-o", "pipe")
    reader.join(10)
    assert ws.model.from_bytes(read[0]).matrices().keys() == {"fc1", "fc2"}
    assert Path("pipe").is_fifo()
