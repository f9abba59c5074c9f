"""The integer arithmetic behind the decoder: what the gateware of `weightstream_hw.compute` is held to."""
