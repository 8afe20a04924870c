"""Measured error curves: the theory fitted to them, and what it foresees beside a power law."""
