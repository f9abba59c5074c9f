"""Read arrays that may be anything, and write files so that they are whole or not there."""

import io
import zipfile
from pathlib import Path

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
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, SyntaxError, TypeError, OverflowError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a .npy file of numbers: {error}") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise InputError(f"{path} holds several arrays (.npz); save the one to use with numpy.save")
    return array


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
