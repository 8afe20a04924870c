"""Measured error curves: the theory fitted to them, and what it foresees beside a power law.

curve                              what is measured
theory                             what the theory expects at given parameters
likelihood, best_fit, region, fit  the most likely parameters, and how far off they may be
stack                              the theory and a power law together, weighted by hidden tails
forecast                           how many more samples a target takes
"""

from dp_theory.fitting.curve import Curve
from dp_theory.fitting.fit import Fit, fit
from dp_theory.fitting.forecast import forecast
from dp_theory.fitting.theory import MOST_ROUNDS, PARAMETERS

__all__ = ["MOST_ROUNDS", "PARAMETERS", "Curve", "Fit", "fit", "forecast"]
