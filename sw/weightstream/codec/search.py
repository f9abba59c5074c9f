"""Search for contexts that pay for themselves."""

import numpy as np

from .contexts import ContextModel


def search_contexts(codewords, geometry, palette, free_rows, row_class=None):
    model = ContextModel()
    if palette.passes == 2:
        t = np.zeros((1, 2, 16, 1), np.uint8)
        t[0, 1, :, 0] = np.arange(16)+1
        model = ContextModel(columns=np.array([0, 1], np.uint8), previous=np.arange(16, dtype=np.uint8), tables=t)
    return model, np.zeros(geometry.rows, np.uint8)
