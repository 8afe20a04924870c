"""Benchmarks. `python benchmarks` runs those that are files here; `python -m benchmarks.gpu` is for a GPU."""
