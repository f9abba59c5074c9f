"""Read arrays that may be anything, and write files so that they are whole or not there."""

import io
from pathlib import Path
from tokenize import TokenError

import numpy as np

from ..errors import InputError, WeightstreamError


def read_array(path: Path) -> np.ndarray:
    """Return the array of a `.npy` file; its values are read from the file when they are used.

    Raises
    ------
    InputError
        The file cannot be read, or holds something else. Pickled objects are refused: reading would run them.
    """
    try:
        # Mapped, not read: a header that lies about the length then costs no memory.
        return np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, SyntaxError, TypeError, OverflowError, TokenError) as error:
        raise InputError(f"{path} is no .npy file of one array of numbers: {error}") from error


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a `.npy` file, under exactly this name."""
    data = io.BytesIO()
    np.save(data, array)
    write_file(path, data.getbuffer())


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file; an existing one is replaced at once, or not at all.

    Raises
    ------
    WeightstreamError
        It cannot be written.
    """
    try:
        if path.exists() and not path.is_file():
            # A device or a pipe takes the bytes; it must not become a file.
            path.write_bytes(data)
            return
        partial = path.with_name(path.name + ".partial")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WeightstreamError(f"cannot write {path}: {error.strerror or error}") from error
