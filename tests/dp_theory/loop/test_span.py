"""The span recipe against Theorem 1 and dense simulation."""

import numpy as np
import pytest
from scipy.stats import chi2, t

from dp_theory import (
    Entropy,
    Group,
    KeepAll,
    KeepEasy,
    KeepHard,
    Problem,
    Random,
    SpanProblem,
    predict,
    simulate,
)
from tests.dp_theory.agreement import outputs
from tests.dp_theory.loop.loops import selected
from tests.dp_theory.verification.beyond import OTHER, PRUNER, TRUTH, feature_cells
from tests.refusals import refused

CELLS = feature_cells(160)


# -- the paper's theorem ---------------------------------------------------------------------------------------------


def test_equals_the_closed_forms_over_their_whole_range():
    """Every rule, alignments up to ±1, λ from 0 to 1e3; the closed forms are dp_theory.ridge.theorem1's."""
    rng = np.random.default_rng(1)
    for i in range(100):
        alpha, phi = 10 ** rng.uniform((-2.5, -3), (0.8, 2))
        rho = rng.choice([rng.uniform(-1, 1), 1 - 10 ** rng.uniform(-12, 0), -1.0, 0.0, 1.0])
        lam = 10 ** rng.uniform(-8, 3) if i % 4 else 0.0
        rules = (KeepHard(alpha), KeepEasy(alpha), KeepAll(), Random(0.3), Entropy(3 * alpha, 2.0))
        problem = Problem(rules[i % 5], rho, phi, lam)
        ours, closed = predict(selected(rho, phi, lam, keep=problem.rule)), predict(problem)
        scale = np.array([closed.test_error, np.sqrt(closed.squared_norm), closed.squared_norm])
        np.testing.assert_array_less(abs(outputs(ours) - outputs(closed)) / scale, 2e-11, str(problem))
        assert ours.keep_fraction == pytest.approx(closed.keep_fraction, rel=1e-10)


# -- certificates, shapes, errors ------------------------------------------------------------------------------------


test_input_errors = refused(
    {
        "sees one direction, but along has none": lambda: Group(keep=KeepHard(1.0)),
        "along must be 4 finite numbers": lambda: SpanProblem(TRUTH, [Group(along=(PRUNER, OTHER))], 0.5),
        "groups is empty": lambda: SpanProblem(TRUTH, [], 0.5),
        "truth must be 4 finite numbers": lambda: SpanProblem(0 * TRUTH, [Group()], 0.5),
        "keep = 2 must lie in": lambda: Group(keep=2.0),
        "weight = -1 must be at least 0 and finite": lambda: Group(weight=-1.0),
        "no row is kept": lambda: predict(SpanProblem(TRUTH, [Group(weight=0.0)], 0.5)),
        "d = 3 must be at least 4": lambda: simulate(SpanProblem(TRUTH, [Group()], 0.5), 3, 1),
    }
)


# -- theory against experiment ---------------------------------------------------------------------------------------


def test_simulation():
    """Cells across all features: no |z| beyond its share of a level of 1e-3 in all, and a spread like that of noise."""
    seeds = np.random.SeedSequence(0).generate_state(len(CELLS)).tolist()
    z = {}
    for seed, (name, problem) in zip(seeds, CELLS.items(), strict=True):
        runs = simulate(problem, 160 if problem.spectrum is None else None, 16, seed=seed)
        z[name] = (outputs(runs) - outputs(predict(problem))) / outputs(runs, "_se")
    assert all(np.abs(of_cell).max() < t.isf(0.0005 / (3 * len(CELLS)), 15) for of_cell in z.values()), z
    spread = np.sum(np.square([test_error for test_error, _, _ in z.values()])) * 13 / 15  # the variance of Student's t
    assert 0.0005 < chi2.cdf(spread, len(CELLS)) < 0.9995
