"""What a multiply-accumulate unit is told about a symbol, one clock for each slot."""

from __future__ import annotations

from amaranth.lib import data

#: symbol: there is one. capture: the slot's sum is handed on and starts anew. slot: which slot's clock it is.
#: palette: the pass of the symbol. parity: the bank of products that its activation is in.
MAC_CONTROL = data.StructLayout({"symbol": 1, "capture": 1, "slot": 4, "palette": 2, "parity": 1})
