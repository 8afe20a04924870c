"""Measured error curves: the theory fitted to them, and what it predicts together with a power law."""
