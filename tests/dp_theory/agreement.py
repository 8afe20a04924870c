"""Whether a comparison of theory with experiment shows only noise."""

import numpy as np

from dp_theory.outcomes import QUANTITIES


def outputs(record, suffix="", names=QUANTITIES):
    """The three quantities of a prediction or a simulation, or what the suffix names of them: (3, *shape)."""
    return np.array([getattr(record, name + suffix) for name in names])


def largest_z(runs, answer, names=QUANTITIES):
    """By how many standard errors the quantities of an experiment are off at most."""
    off = outputs(runs, names=names) - outputs(answer, names=names)
    return np.max(np.abs(off) / outputs(runs, "_se", names))
