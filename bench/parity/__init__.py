"""Compares every stage with the stored tensors of a golden pack."""
