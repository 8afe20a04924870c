"""Whether a comparison of theory with experiment shows only noise."""

import numpy as np
from scipy.stats import chi2, t

from dp_theory.outcomes import QUANTITIES


def outputs(record, suffix="", names=QUANTITIES):
    """The three quantities of a prediction or a simulation, or what the suffix names of them: (3, *shape)."""
    return np.array([getattr(record, name + suffix) for name in names])


def assert_same(record, other, rtol):
    np.testing.assert_allclose(outputs(record), outputs(other), rtol=rtol, atol=0)


def largest_z(runs, answer, names=QUANTITIES):
    """By how many standard errors the quantities of an experiment are off at most."""
    off = outputs(runs, names=names) - outputs(answer, names=names)
    return np.max(np.abs(off) / outputs(runs, "_se", names))


def assert_agrees(table, trials):
    """No |z| beyond its share of a level of 1e-3 in all, and a spread of z like that of noise."""
    z = {(row["cell"], row["quantity"]): row["z"] for row in table}
    worst = max(z, key=lambda key: abs(z[key]))
    assert abs(z[worst]) < t.isf(0.0005 / len(z), trials - 1), f"z = {z[worst]:.1f} for {worst}"
    errors = np.array([value for (_, quantity), value in z.items() if quantity == "test_error"])
    spread = np.sum(errors**2) * (trials - 3) / (trials - 1)  # the variance of Student's t
    assert chi2.cdf(spread, len(errors)) < 0.9995
    assert chi2.sf(spread, len(errors)) < 0.9995
