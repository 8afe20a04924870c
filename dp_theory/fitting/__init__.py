"""Measured error curves: the theory fitted to them, and what it foresees beside a power law."""

from dp_theory.fitting.curve import Curve
from dp_theory.fitting.fit import Fit, fit
from dp_theory.fitting.forecast import forecast
from dp_theory.fitting.theory import MOST_ROUNDS, PARAMETERS

__all__ = ["MOST_ROUNDS", "PARAMETERS", "Curve", "Fit", "fit", "forecast"]
