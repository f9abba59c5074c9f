"""An accelerator behind a UART: its memory in block RAM, its registers and memory reached by frames."""
