"""Measured error curves: the theory fitted to them, what it foresees, and the usual empirical laws beside it.

curve, files                    what is measured, and how it is read
parameters, theory              what the theory expects at given parameters
likelihood, search, region, fit the most likely parameters, and how far off they may be
laws, heldout                   empirical laws, and which model predicts hidden points better
stack                           theory and laws together, weighted by hidden tails
forecast                        how many more samples a target takes
"""

from dp_theory.fitting.curve import Curve
from dp_theory.fitting.fit import Fit, fit
from dp_theory.fitting.forecast import forecast
from dp_theory.fitting.heldout import held_out, scores
from dp_theory.fitting.laws import LAWS, EmpiricalLaw, LawFit, fit_law
from dp_theory.fitting.parameters import PARAMETERS
from dp_theory.fitting.theory import MOST_ROUNDS

__all__ = [
    "LAWS",
    "MOST_ROUNDS",
    "PARAMETERS",
    "Curve",
    "EmpiricalLaw",
    "Fit",
    "LawFit",
    "fit",
    "fit_law",
    "forecast",
    "held_out",
    "scores",
]
