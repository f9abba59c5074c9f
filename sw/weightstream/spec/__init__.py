"""The contract between software and gateware. Imports nothing but the standard library."""
