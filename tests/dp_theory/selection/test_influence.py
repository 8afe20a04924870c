"""What a row is worth: the influence is the derivative, and the learner in its formula is that of other theory."""

import numpy as np
import pytest
from scipy.special import expit, ndtr

from dp_theory import KeepHard, influence, predict
from dp_theory.numerics.quadrature import pdf
from tests.dp_theory.loop.loops import selected

RHO = 0.8
FLIP = 0.1


def labelled(t, y):
    """A rule that sees labels."""
    return 0.3 + 0.4 * expit(2 * y * t) * np.exp(-(t**2) / 8)


def blind(t, y):
    """A rule that does not."""
    return 0.2 + 0.6 * np.exp(-(t**2) / 2)


def change(t, y, keep):
    """By what a rule is changed: a function of the label only if the rule is."""
    return 0.2 * np.cos(t) * (1 + 0.5 * np.tanh(y * t) * (keep is labelled))


def numerical_derivative(keep, phi, lam):
    """The derivative of the test error along `change`, by Richardson's finite differences of the span recipe."""

    def error(step):
        changed = selected(RHO, phi, lam, flip=FLIP, keep=lambda t, y: keep(t, y) + step * change(t, y, keep))
        return predict(changed).test_error

    def slope(step):
        return (error(step) - error(-step)) / (2 * step)

    return (4 * slope(5e-3) - slope(1e-2)) / 3


@pytest.mark.parametrize("keep", [labelled, blind])
@pytest.mark.parametrize(("phi", "lam"), [(0.3, 0.05), (1.5, 0.0)])
def test_the_influence_is_the_derivative(keep, phi, lam):
    """The span recipe shares no formula with it: to 1e-8."""
    at = {"rho": RHO, "phi": phi, "lam": lam, "flip": FLIP}
    t = np.linspace(-9, 9, 6001)
    total = 0.0
    for y in (1.0, -1.0):
        density = (FLIP + (1 - 2 * FLIP) * ndtr(y * t * RHO / np.sqrt(1 - RHO**2))) * pdf(t)
        total += np.trapezoid(change(t, y, keep) * influence(keep, t, y, **at) * density, t)
    assert total == pytest.approx(numerical_derivative(keep, phi, lam), rel=1e-8)
    if keep is blind:
        mean = influence(keep, t, **at)
        assert np.trapezoid(change(t, 1.0, keep) * mean * pdf(t), t) == pytest.approx(total, rel=1e-9)


def test_the_influence_of_a_rule_is_that_of_its_function():
    at = {"rho": 0.7, "phi": 0.4, "lam": 0.02}
    rule = influence(KeepHard(0.8), 0.5, -1.0, **at)
    window = influence(lambda t, y: (abs(t) <= 0.8) * 1.0, 0.5, -1.0, breaks=(0.8,), **at)
    assert rule == pytest.approx(window, rel=1e-12)
    assert influence(KeepHard(0.8), [0.5, -0.5], [[-1.0], [1.0]], **at).shape == (2, 2)
