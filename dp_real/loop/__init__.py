"""Algorithm 1 of the paper: the loop, its state, and what it reports."""
