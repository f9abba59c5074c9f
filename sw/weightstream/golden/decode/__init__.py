"""The decoder of weight streams, step by step: what the gateware of `weightstream_hw.decode` is held to."""
