"""Devices that run models: `open` returns one by its target's name."""
