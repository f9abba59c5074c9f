"""Overlays for boards with a Zynq: what Vivado needs to build them, and what PYNQ needs to know of them."""
