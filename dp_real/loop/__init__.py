"""Algorithm 1: the loop, its state, and what it reports."""
