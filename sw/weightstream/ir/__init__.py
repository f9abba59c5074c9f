"""The integer network: a graph of integer operators on quantised tensors."""
