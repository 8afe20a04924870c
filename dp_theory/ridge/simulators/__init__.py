"""Experiments of a `Problem` at finite d: dense and naive, exact in law and fast, and whole error curves."""
