"""Codes matrices with every backend, and holds what all decoders make of them to the golden decoder."""

import numpy as np

from coded_matrices import BACKENDS, NO_CONTEXTS, given_contexts, using
from weightstream.codec.matrix import check_weights, code_matrix
from weightstream.errors import FormatError
from weightstream.golden.decode.matrix import decode_symbols, decode_weights

#: What decoders say of corrupt streams and keys.
IMPOSSIBLE_END = "a weight stream holds an impossible row end: it is corrupt"
NO_ZEROS = "a weight stream does not end where its last row does: it is corrupt"
WORDS_LEFT = "a weight stream is longer than its rows: it is corrupt"
KEYS_TRUNCATED = "the keys end before their last row: the section is truncated"
KEY_TOO_LARGE = "a row key has more than its {} bits: the section is corrupt"
KEYS_LEFT = "the keys end before their section does: it is corrupt"

#: Keys 3, 3, 8 as gaps 3, 0, 5 with a parameter of 1: 10 1 | 0 0 | 110 1, padded.
RICE = bytes([0b10100110, 0b10000000])


def encode(code, model, row_class):
    """Encode with each backend; all must write the same. Return what `code` does."""
    results = []
    for name in BACKENDS:
        with using(name), given_contexts(model, row_class):
            results.append(code())
    coded, order = results[0]
    for other, other_order in results[1:]:
        assert np.array_equal(order, other_order)
        assert other.key_codes == coded.key_codes
        assert other.key_data == coded.key_data
        assert [lane.tolist() for lane in other.lanes] == [lane.tolist() for lane in coded.lanes]
    return coded, order


def outcome(decode):
    """Return what is decoded, or the text of the `FormatError`."""
    try:
        return decode().tolist()
    except FormatError as error:
        return str(error)


def outcomes(coded):
    """Return the golden outcome; those of the fast codecs must be the same."""
    golden = outcome(lambda: decode_symbols(coded))
    for name in BACKENDS:
        with using(name):
            assert outcome(coded.symbols) == golden, name
    return golden


def check(weights, model=NO_CONTEXTS, row_class=None, **options):
    """Encode a matrix and hold all decoders to it; return it coded."""
    geometry = check_weights(weights)
    if row_class is None:
        row_class = np.zeros(geometry.rows, np.uint8)
    coded, order = encode(lambda: code_matrix(weights, geometry, **options), model, row_class)
    expected = geometry.flatten(weights)[order]
    decoded = decode_weights(coded)
    assert decoded.dtype == coded.palette.dtype
    assert np.array_equal(decoded, expected)
    for name in BACKENDS:
        with using(name):
            assert np.array_equal(coded.weights(), expected), name
    assert isinstance(outcomes(coded), list)
    return coded
