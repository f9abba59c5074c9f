"""A write to one of the tables that configure a layer, broadcast to everything that has such tables."""

from __future__ import annotations

from amaranth.lib import data

#: One-hot enables of what is written, the address within it, and the value.
CONFIG_WRITE = data.StructLayout(
    {
        "coarse": 1,
        "fine": 1,
        "context": 1,
        "neighbour": 1,
        "columns": 1,
        "column_field": 1,
        "palette": 1,
        "key_class": 1,
        "address": 12,
        "data": 48,
    }
)
