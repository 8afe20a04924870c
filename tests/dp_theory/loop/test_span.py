"""The span recipe against Theorem 1, Corollary 1, its own symmetries and dense simulation."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2, t

from dp_theory import (
    Agree,
    Entropy,
    Group,
    KeepAll,
    KeepEasy,
    KeepHard,
    Problem,
    Random,
    SpanProblem,
    Verifier,
    predict,
    simulate,
)
from tests.dp_theory.agreement import assert_same, outputs
from tests.dp_theory.loop.loops import selected
from tests.dp_theory.verification.beyond import LABELLER, OTHER, PRUNER, TRUTH, feature_cells, interpolating
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


# -- limits and symmetries that the recipe must have, whatever the feature -------------------------------------------

GROUPS = (
    Group(0.7, labeller=LABELLER, flip=0.1, along=PRUNER, keep=KeepHard(1.2), weight=Verifier(2)),
    Group(0.8, along=OTHER, keep=Agree(), weight=interpolating(-0.3, 2)),
)
MIXTURE = SpanProblem(TRUTH, GROUPS, 0.4, 0.03)


def changed(**changes):
    """The groups of the mixture with fields changed by functions of the group."""
    return [replace(group, **{name: change(group) for name, change in changes.items()}) for group in GROUPS]


TURN = np.linalg.qr(np.random.default_rng(0).standard_normal((7, 7)))[0][:, :4]
TURNED = changed(
    labeller=lambda g: 3 * TURN @ np.asarray(TRUTH if g.labeller is None else g.labeller),
    along=lambda g: 0.2 * TURN @ np.asarray(g.along),
)
ALIKE = {
    "q → cq, λ → cλ": (
        replace(MIXTURE, groups=changed(weight=lambda g: lambda t, y: 5 * g.weight(t, y)), lam=0.15),
        1e-12,
    ),
    "Σ → cΣ, λ → cλ": (replace(MIXTURE, spectrum=[7.0] * 4, lam=0.21), 1e-12),
    "n → cn": (replace(MIXTURE, groups=changed(ratio=lambda g: g.ratio / 5), phi=0.08, lam=0.006), 1e-12),
    "rotations and lengths": (SpanProblem(TURN @ TRUTH, TURNED, MIXTURE.phi, MIXTURE.lam), 1e-11),
}


@pytest.mark.parametrize(("problem", "rtol"), ALIKE.values(), ids=ALIKE)
def test_what_leaves_the_learner_alone(problem, rtol):
    assert_same(predict(problem), predict(MIXTURE), rtol)


@pytest.mark.parametrize("weight", [Verifier(2), interpolating(-0.5)])
@pytest.mark.parametrize("phi", [0.4, 2.0])
def test_ridgeless_limit_of_soft_weights(weight, phi):
    """λ = 0 is the limit: what λ changes is proportional to λ. Interpolation forgets the weights."""
    group = Group(labeller=LABELLER, along=PRUNER, weight=weight)
    limit = outputs(predict(SpanProblem(TRUTH, [group], phi)))
    steps = np.array([outputs(predict(SpanProblem(TRUTH, [group], phi, lam))) - limit for lam in (1e-7, 1e-8)])
    np.testing.assert_allclose(steps[0] / steps[1], 10, rtol=0.01)
    plain = outputs(predict(SpanProblem(TRUTH, [replace(group, weight=1.0)], phi)))
    assert np.allclose(limit, plain, rtol=1e-12) == (phi > 1)


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
        "d = 3 must be at least 4": lambda: simulate(MIXTURE, 3, 1),
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
