"""The accelerator on a board: its port over PYNQ, and the driver that PYNQ binds to it."""
