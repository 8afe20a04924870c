"""`dp theory …`: read options, call dp_theory, show what it returns."""

from experiments.cli.theory.core import app

__all__ = ["app"]
