"""Measured error curves: the theory fitted to them, what it foresees, and the usual empirical laws beside it.

curve says what is measured, files read it; likelihood fits the parameters of theory to it, and region says how far
off they may be; heldout asks who predicts better what it has not seen, the theory or the laws; forecast, how many more
samples a target takes.
"""

from dp_theory.fitting.curve import Curve
from dp_theory.fitting.files import Reading, read_curve
from dp_theory.fitting.fit import Fit, fit
from dp_theory.fitting.forecast import forecast
from dp_theory.fitting.heldout import held_out, scores
from dp_theory.fitting.laws import LAWS, LawFit, fit_law
from dp_theory.fitting.parameters import PARAMETERS
from dp_theory.fitting.theory import MOST_ROUNDS

__all__ = ["LAWS", "MOST_ROUNDS", "PARAMETERS", "Curve", "Fit", "LawFit", "Reading", "fit", "fit_law", "forecast",
           "held_out", "read_curve", "scores"]  # fmt: skip
