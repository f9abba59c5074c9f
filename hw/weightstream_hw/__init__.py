"""Gateware: an accelerator that runs networks straight from compressed weight streams."""
