"""AXI masters, and the register bank."""
