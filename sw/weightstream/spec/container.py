"""The model file (`.ws`): constants of its layout. docs/format.md describes it byte by byte."""

import struct

MAGIC = b"WSTM"
VERSION = 1
#: magic, version, zero, length of the file, CRC-32, length of the graph section.
HEADER = struct.Struct("<4sHHQII")
#: The CRC covers the file without its own four bytes.
CRC_OFFSET, CRC_END = 16, 20
#: The lanes of a matrix lie one after another; the first begins at a multiple of this many bytes in the file.
STREAM_ALIGNMENT = 8
MAX_LANE_WORDS = 1 << 40

OP_MATRIX, OP_DENSE, OP_SOFTMAX = range(3)
ACTIVATION_REQUANTISE, ACTIVATION_THRESHOLDS = range(2)
#: Of halves: up; to the even neighbour; as float32 arithmetic rounds sums, products and results.
ROUNDINGS = ("up", "even", "float32")
DTYPES = ("int8", "uint8", "float32")
FLAG_TAPS_FIRST, FLAG_FREE_ROWS, FLAG_FOUR_AXES = 1, 2, 4
FLAGS = FLAG_TAPS_FIRST | FLAG_FREE_ROWS | FLAG_FOUR_AXES

MAX_ROWS = 1 << 20
MAX_COLUMNS = 1 << 20
MAX_NAME_BYTES = 255
MAX_AXES = 8


def weight_limit(file_bytes: int) -> int:
    """Return how many weights a file may hold, counting (rows + 1) * (columns + 1) for each matrix.

    What a file unpacks to is bounded by its size, so that a small hostile file cannot ask for much memory or
    time. The writer adds zero bytes to a file that compresses better than this.
    """
    return (1 << 22) + 512 * file_bytes


def file_bytes_for(weights: int) -> int:
    """Return the least size of a file that holds so many weights, counted as in `weight_limit`."""
    return max(0, -(-(weights - (1 << 22)) // 512))
