"""The optimum against a search over `predict`, the keep-hard law, and tables computed elsewhere."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from dp_theory import Direct, KeepEasy, KeepHard, Problem, predict, simulate
from dp_theory.budgets.optimum import RULE_NAMES, least_error, optimum
from tests.refusals import out_of_range, refused

RULES = {"keep-hard": KeepHard, "keep-easy": KeepEasy}
RHO = (0.3, 0.6, 0.9, 0.99)
BEST = """
    4    .3736 E.3662 E.3208 E.2089 E.1632
    2    .3228 E.3197 E.3008 E.1778 E.1174
    1    .2571 E.2565 E.2512 E.1598 E.0854
    0.8  .2339 E.2337 E.2310 E.1563 H.0669
    0.5  .1860 H.1859 H.1731 H.1013 H.0338
    0.25 .1280 H.1255 H.1069 H.0598 H.0196
    0.1  .0783 H.0750 H.0633 H.0348 H.0113
"""
"""From an independent program: psi, plain rows, and for each RHO the better rule with its best p and ridge."""


def test_the_table_for_a_fixed_number_of_rows():
    table = [line.split() for line in BEST.strip().splitlines()]
    rho, psi = np.array(RHO), np.array([[float(row[0])] for row in table])
    found = {name: least_error(name, rho, psi) for name in RULE_NAMES}
    for name, best in found.items():
        rule = RULES[name].with_keep_fraction(np.minimum(best.keep, 1 - 1e-12))
        there = predict(Problem(Direct(rule), rho, psi, best.lam_per_row))
        assert_allclose(best.test_error, there.test_error, rtol=1e-9)
    hard, easy = (best.test_error for best in found.values())
    for i, (_, plain, *cells) in enumerate(table):
        static = optimum(0.0, psi=psi[i, 0]).query("strategy == 'static'")["test_error"]
        assert round(static.item(), 4) == float(plain)
        for j, cell in enumerate(cells):
            won, lost = (hard, easy) if cell[0] == "H" else (easy, hard)
            assert won[i, j] < lost[i, j]
            assert round(float(won[i, j]), 4) == float(cell[1:])


def test_a_phase_diagram_is_the_optimum_of_each_cell(patch):
    patch("dp_theory.budgets.optimum.CELLS_AT_ONCE", 4)  # several blocks
    rho, psi = np.array([0.5, 0.9]), np.array([[0.2], [0.5], [2.0]])
    for name, sizes in (("psi", psi), ("budget", 1 / psi)):
        table = optimum(rho, **{name: sizes})
        assert table["cell"].is_monotonic_increasing
        for cell, (i, j) in enumerate(np.ndindex(3, 2)):
            one = optimum(rho[j], **{name: sizes[i, 0]})
            here = table[table["cell"] == cell]
            assert (here["rho"] == rho[j]).all()
            pd.testing.assert_frame_equal(here[one.columns].reset_index(drop=True), one, rtol=1e-9)


# -- the keep-hard law


def test_the_truth_as_selector_of_a_pool_has_exponent_1():
    phi = 1e-4  # d/n of the pool; it has d/(phi p) kept rows per dimension
    best = least_error("keep-hard", 1.0, lambda p: phi / p, smallest_keep=phi)
    assert best.keep == pytest.approx(2 * phi, rel=1e-3)
    assert best.test_error / phi == pytest.approx(np.sqrt(2 / np.pi) / 3, rel=1e-4)


# -- finite dimension


@pytest.mark.parametrize(("psi", "winner"), [(0.5, "keep-hard"), (2.5, "keep-easy")])
def test_the_optimum_of_a_dimension_is_of_its_prediction(psi, winner):
    errors = {}
    for name, rule in RULES.items():
        best = least_error(name, 0.9, psi, d=300)
        problem = Problem(Direct(rule.with_keep_fraction(min(best.keep, 1 - 1e-12))), 0.9, psi, best.lam_per_row)
        assert best.test_error == pytest.approx(predict(problem, d=300).test_error, rel=1e-8)
        errors[name] = best.test_error
    assert min(errors, key=errors.get) == winner


# -- budgets


@pytest.mark.parametrize(("rho", "keep", "error"), [(0.6, 0.53, 0.0499), (0.99, 0.12, 0.0122)])
def test_pruning_under_a_budget(rho, keep, error):
    """Candidates at a tenth of a training row, 20 rows' worth per dimension."""
    table = optimum(rho, budget=200, training_cost=10.0)
    pruned = table.query("strategy == 'prune' and rule == 'keep-hard'").iloc[0]
    assert pruned["test_error"] == pytest.approx(error, abs=5e-5)
    assert pruned["keep"] == pytest.approx(keep, abs=0.01)
    assert table.query("strategy == 'static'")["test_error"].iloc[0] == pytest.approx(0.0573, abs=5e-5)
    assert_allclose(table["cost"], 200)
    assert_allclose(table["kept"] * table["psi"], 1)
    assert table["test_error"].is_monotonic_increasing


# -- input


HALF = partial(least_error, "keep-hard", rho=0.5, psi=0.5)
test_numbers_out_of_range_are_refused = out_of_range(
    (HALF, {"rho": 1.5, "psi": 0.0, "d": 2}),
    (partial(optimum, 0.5, budget=1.0), {"budget": -1.0, "direct_cost": -1.0, "training_cost": -1.0}),
)
test_bad_input_is_named = refused(
    {
        "unknown rule 'keep-medium'": lambda: least_error("keep-medium", 0.5, 0.5),
        "smallest_keep = 1 must lie": lambda: optimum(0.5, psi=0.5, smallest_keep=1.0),
        r"smallest_keep has shape \(2,\): it must be one number": lambda: optimum(
            0.5, psi=0.5, smallest_keep=[0.1, 0.2]
        ),
        "exactly one of psi": lambda: optimum(0.5),
        "costs nothing": lambda: optimum(0.5, budget=1.0, direct_cost=0.0, training_cost=0.0),
        "psi = 800 must be at most d = 400": lambda: optimum(0.9, psi=800.0, d=400),
        "d = 400.5 must be a whole number": lambda: optimum(0.9, psi=0.5, d=400.5),
    }
)


def test_a_finite_dimension_is_not_left_to_an_expansion_that_fails():
    """At psi = 1 the limit of hard rows by the truth itself has no error; experiments with d = 400 have a fourth."""
    found = least_error("keep-hard", 1.0, 1.0, d=400)
    p, lam = float(found.keep), float(found.lam_per_row)
    measured = simulate(Problem(KeepHard.with_keep_fraction(p), 1.0, p, lam * p), 400, 20)
    assert abs(found.test_error - measured.test_error) < 0.1
