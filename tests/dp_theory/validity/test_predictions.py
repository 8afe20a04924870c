"""Predictions from the rows' own law: that of the theory where rows are normal, that of the experiment elsewhere."""

import pytest
from numpy.testing import assert_allclose

from dp_theory import KeepHard, Random, predict
from dp_theory.validity.second_moments import KeptMoments
from tests.dp_theory.validity.rows import LAM_PER_ROW, make_view


@pytest.mark.parametrize("rule", [Random(0.4), KeepHard(0.5)])
@pytest.mark.parametrize("kind", ["normal", "spectrum"])
def test_the_law_of_normal_rows_is_the_gaussian_theory(rule, kind):
    """Up to the noise of 40,000 rows; with the recipe of dp_theory.loop at the same angles."""
    view = make_view(kind=kind, d=60, n=40_000)
    p = rule.moments(0.0).p
    for kept in (40, 300):
        limit = predict(view.problem(rule, 60 / kept * p, LAM_PER_ROW * p)).test_error
        gaussian = view.flips + (1 - 2 * view.flips) * limit
        assert_allclose(KeptMoments(view, rule).error(kept, LAM_PER_ROW), gaussian, rtol=0.025)


@pytest.mark.parametrize("lam", [1e-3, 1e-6])
def test_kept_moments_with_hardly_any_ridge(lam):
    """As many directions as rows: δ rises as 1/λ, and a damped iteration is slow to find it."""
    view = make_view(flip=0.0, d=20, n=1000, lam=lam)
    assert 0.05 < KeptMoments(view, Random(1.0)).error(20, lam) < 0.45
