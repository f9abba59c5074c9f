"""Simulation: benches for blocks, and the accelerator compiled to a shared library."""
