"""Convex losses, and their theory; that of the square needs nothing of it."""

from dp_theory.loop.losses.loss import LOGISTIC, LOSSES, SQUARE, Logistic, Loss, Square, require_loss

__all__ = ["LOGISTIC", "LOSSES", "SQUARE", "Logistic", "Loss", "Square", "require_loss"]
