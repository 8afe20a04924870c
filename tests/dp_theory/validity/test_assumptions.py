"""The tests of the assumptions: on normal rows they reject as often as their level says."""

import numpy as np
import pytest
from scipy import stats

from dp_theory.validity import assumptions
from tests.dp_theory.validity.rows import make_view


def p_values(view):
    """Those of all tests."""
    tests = [assumptions.normal(view.plane[0]), assumptions.normal(view.score)]
    tests += [assumptions.uniform_flips(view), assumptions.equal_lengths(view)]
    return [test.p_value for test in tests]


def test_p_values_of_normal_rows_are_uniform():
    """40 sets of rows: no test rejects more often than its level says, give or take what 40 can show."""
    found = np.array([p_values(make_view(seed=seed, d=40, n=1500)) for seed in range(40)])
    rejected = (found < 0.1).sum(0)
    assert (rejected <= stats.binom.ppf(0.999, 40, 0.1)).all(), rejected
    assert found.min() > 1e-4


def test_labels_of_many_normal_rows_pass():
    """Many rows show how sharply labels change: the edge of a group there, or a blur of usual size, would not do."""
    views = [make_view(seed=seed, d=40, n=6000) for seed in range(40)]
    combined = stats.combine_pvalues([assumptions.uniform_flips(view).p_value for view in views])
    assert 1e-3 < combined.pvalue < 1 - 1e-3


def test_anderson_darling_is_scipys():
    sample = np.random.default_rng(0).standard_normal(500) ** 3
    scipys = stats.anderson(sample, "norm", method="interpolate")
    corrected = scipys.statistic * (1 + 0.75 / 500 + 2.25 / 500**2)
    assert assumptions.anderson_darling(sample) == pytest.approx(corrected, rel=1e-13)
