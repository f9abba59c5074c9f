"""Bits that nncodec (MPEG NNC, DeepCABAC) needs for the tensors of `real_networks`, losslessly.

Run it in a virtual environment of its own (``pip install nncodec==2.1.3`` pulls torch and an
older numpy), after `real_networks` has filled the cache.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile

import nncodec.tensor
import numpy as np

from real_networks import h0_bits, load_networks

MEASURED = {  # nncodec 2.1.3
    "g2p_en": 2_685_000,
    "mtcnn_pnet": 21_336,
    "mtcnn_rnet": 293_728,
    "mtcnn_onet": 1_014_280,
    "silero": 812_856,
    "espcn_subpixel": 59_168,
    "espcn_nn_resize": 237_448,
    "mnist_conv": 19_896,
}


def nncodec_bits(q: np.ndarray) -> int:
    """Return the bits of one call on the levels as output channels x rest, decoded to check.

    Parameters
    ----------
    q : numpy.ndarray
        Integer levels, output channels first.

    Returns
    -------
    int
        Size of the whole bit stream, its headers included.
    """
    rows = q.reshape(len(q), -1).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        stream = nncodec.tensor.encode(rows.copy(), {"use_dq": False, "results": folder})
        decoded = nncodec.tensor.decode(stream)
    if not np.array_equal(np.asarray(decoded), rows):
        raise ValueError("nncodec did not give the levels back")
    return 8 * len(stream)


def main() -> None:
    """Print the bits of every network and, if asked, of its tensors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tensors", action="store_true", help="a line for each tensor, too")
    options = parser.parse_args()
    print(f"{'network':<18}{'weights':>9}{'H0 bits':>12}{'nncodec bits':>14}{'recorded':>12}")
    for name, tensors in load_networks().items():
        bits = {key: nncodec_bits(q) for key, q in tensors.items()}
        weights, h0 = sum(q.size for q in tensors.values()), sum(map(h0_bits, tensors.values()))
        total = sum(bits.values())
        print(f"{name:<18}{weights:>9}{h0:>12.0f}{total:>14}{MEASURED[name]:>12}")
        for key, q in tensors.items() if options.tensors else ():
            print(f"  {key:<16}{q.size:>9}{h0_bits(q):>12.0f}{bits[key]:>14}")


if __name__ == "__main__":
    main()
