"""Figures from the runs that are stored in docs/results."""
