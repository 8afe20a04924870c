"""The best rule of a fixed selector: its optimality, its limits."""

from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
from scipy.optimize import minimize

from dp_theory import Bands, Budget, KeepEasy, KeepHard, best_selection, predict
from dp_theory.budgets.optimum import RULE_NAMES, least_error
from dp_theory.numerics.quadrature import half_line
from dp_theory.selection import best as best_module
from dp_theory.selection.best import CLOSE_EDGES, gap
from tests.dp_theory.budgets.laws import keep_hard_law
from tests.dp_theory.loop.loops import selected
from tests.refusals import out_of_range

BUDGETS = {
    "one row": Budget(0.9, 1.0),
    "noisy rows": Budget(0.9, 3.0, least=0.1, flip=0.1),
    "few rows": Budget(0.5, 0.8, least=0.05),
    "generated": Budget(0.6, 10.0, candidate=1.0, training=0.0),
    "compute": Budget(0.95, 20.0, candidate=1.0, training=0.1),
    "fixed ridge": Budget(0.9, 4.0, candidate=1.0, training=0.1, lam_per_row=0.05, flip=0.05),
}
QUICK = ("one row", "noisy rows", "generated")
QUICK_AND_SLOW = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BUDGETS]


@pytest.mark.parametrize("flip", [0.0, 0.49])
def test_the_best_rule_keeps_the_least_share(flip):
    """With few rows all rules are alike, so that nothing is polished."""
    asked = Budget(0.9, 1e-3, least=0.1, flip=flip)
    found = best_selection(asked)
    assert found.keep == pytest.approx(0.1, rel=2e-6)


def test_at_the_ridgeless_peak_the_error_is_a_half():
    found = best_selection(Budget(0.9, 1.0, least=0.1, lam_per_row=0))
    assert (found.test_error, found.gap) == (0.5, 0.0)


def other_rules(budget):
    """Moments (6, rules) of bands and of their complements."""
    margins, weights = half_line(CLOSE_EDGES)
    masses = weights * budget.features(margins)
    cumulated = np.concatenate([np.zeros((6, 1)), np.cumsum(masses, axis=1)], axis=1)
    coarse = cumulated[:, :: len(margins) // 150]
    low, high = np.triu_indices(coarse.shape[1], 1)
    bands = coarse[:, high] - coarse[:, low]
    return np.concatenate([bands, cumulated[:, -1:] - bands], axis=1)


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_nothing_beats_the_best(name):
    """Not the usual rules at their best, no band and no complement of one; nor to first order.

    Its error is that of the span recipe, which shares no formula with it.
    """
    budget = BUDGETS[name]
    best = best_selection(budget)
    there = selected(
        budget.rho, 1 / best.kept * best.keep, best.lam_per_row * best.keep, flip=budget.flip, keep=best.rule
    )
    assert best.test_error == pytest.approx(predict(there).test_error, rel=1e-7)
    if budget.lam_per_row is None and not budget.flip:
        for kind in RULE_NAMES:
            usual = least_error(kind, budget.rho, budget.psi, smallest_keep=budget.least)
            assert best.test_error <= usual.test_error * (1 + 1e-9)
    assert best.gap < 1e-6 * best.test_error
    tried = other_rules(budget)
    assert budget.errors(tried[:, tried[0] > budget.least]).min() > best.test_error * (1 - 1e-9)


def test_edges_of_a_narrow_band_are_followed_to_the_least_share():
    best = best_selection(Budget(0.8, 3.0, lam_per_row=0.01, flip=0.05))
    assert abs(best.keep / 0.002 - 1) < 1e-6
    assert best.gap < 1e-6 * best.test_error


def test_the_gap_notices_a_rule_that_is_not_best():
    budget = Budget(0.9, 1.0, least=0.1)
    best = best_selection(budget)
    hard = Bands(((0.0, float(KeepHard.with_keep_fraction(0.1).alpha)),))
    easy = Bands(((float(KeepEasy.with_keep_fraction(0.1).alpha), np.inf),))
    assert gap(budget, hard) > 1e-3
    assert gap(budget, easy) > 1e-3
    assert gap(budget, best.rule) == best.gap < 1e-9
    many = best_selection(Budget(0.9, 1e6))  # where slopes are lost to rounding
    assert many.gap <= many.test_error


def test_a_gap_at_the_least_share_is_none_of_the_far_edge():
    """Hardly a row lies at the outer edge, whose harm says nothing of what the least share costs."""
    budget = Budget(-0.5, 0.555, least=0.5)
    best = best_selection(budget)
    assert best.gap < 1e-6
    assert best.keep == pytest.approx(0.5, rel=2e-6)
    assert gap(budget, Bands(((0.6744897, 5.5),))) < 1e-6
    assert gap(budget, Bands(((0.0, 0.6744897),))) > 1e-3


@pytest.mark.parametrize(
    ("budget", "narrow"),
    [(Budget(1 - 1e-9, 1.0), 1.0), (Budget(0.9, 38.5, candidate=1.0, training=0.0, lam_per_row=0.0, least=0.5), 1.85)],
)
def test_a_narrow_band_moves_as_far_as_a_wide_one(patch, budget, narrow):
    searches = Mock(wraps=minimize)
    patch(best_module, "minimize", searches)
    best = best_selection(budget)
    assert best.rule.bands[-1] == pytest.approx((narrow, narrow), rel=0.02)
    assert best.gap < 1e-6 * best.test_error
    assert searches.call_count < 40


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rho", "psi", "flip"), [(0.6, 0.5, 0.1), (0.99, 0.1, 0.0)])
def test_without_ridge_the_best_tends_to_the_keep_hard_law(rho, psi, flip):
    """First lam → 0, then p → 0: the window of the least share, and the law's error, the faster the smaller p."""
    law = keep_hard_law(rho, psi, flip)
    off = []
    for share in (1e-3, 1e-4):
        best = best_selection(Budget(rho, 1 / psi, lam_per_row=0.0, flip=flip, least=share))
        alpha = KeepHard.with_keep_fraction(share).alpha
        assert best.rule.bands == ((0.0, pytest.approx(alpha, rel=1e-4)),)
        off.append(abs(best.test_error / law - 1))
    assert off[0] < 1e-4
    assert off[1] < 0.05 * off[0]


def test_with_few_rows_a_band_saves_a_quarter_of_the_error():
    """At psi = 1 rows of one |t| have labels that are linear in the score; the usual rules have none like it."""
    best = best_selection(Budget(0.99, 1.0, least=0.05))
    assert best.test_error < 0.75 * least_error("keep-easy", 0.99, 1.0, smallest_keep=0.05).test_error


HALF = partial(Budget, rho=0.5, budget=2.0)
test_numbers_out_of_range_are_refused = out_of_range(
    (HALF, {"rho": 1.0, "budget": 0.0, "lam_per_row": -1.0, "flip": 0.5, "least": 0.0})
)
