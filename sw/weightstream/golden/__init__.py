"""The definition: the decoder and the arithmetic, exact to the bit and written for reading.

The fast paths of `codec` and `runtime` and the gateware are held to it.
"""
