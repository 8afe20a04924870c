"""Entropy guidance: what it adds to a sampler's steps, and the sampler with its solvers."""
