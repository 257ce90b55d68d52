"""Benchmarks of this project and of other libraries ("peers"), in one run with the same weights and the same work."""
