"""A PYNQ board that is none: what PYNQ.remote talks to, with the simulated accelerator behind it."""
