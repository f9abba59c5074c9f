"""Where PYNQ looks for ``weightstream.bit`` and ``weightstream.hwh``.

None are here: no Vivado was at hand to build them. Where there is one,
``weightstream-hw build --board B -o DIR`` does.
"""
