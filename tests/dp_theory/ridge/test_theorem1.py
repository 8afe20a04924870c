"""Theorem 1 and Corollary 1 against an 80-digit transcription of the printed formulas, and against each other."""

import mpmath as mp
import numpy as np
import pytest

from dp_base.errors import ConvergenceError
from dp_theory import InputError, KeepAll, KeepEasy, KeepHard, Problem, Random, predict
from dp_theory.rules import Entropy, SymmetricRule
from tests.dp_theory.ridge.printed import printed_corollary1, printed_moments, printed_theorem1

RULE = {"keep-hard": KeepHard, "keep-easy": KeepEasy, "random": Random}


def random_points(count):
    rng = np.random.default_rng(0)
    low, high = np.log10([1e-6, 1e-6, 1e-12]), np.log10([8.0, 1e3, 1e6])
    for row in rng.random((count, 6)):
        value, phi, lam = 10 ** (low + (high - low) * row[:3])
        kind = ("keep-hard", "keep-easy", "random")[int(3 * row[3])]
        value = min(value, 1.0) if kind == "random" else value
        # half of the alignments lie within 10^-16…1 of ±1
        rho = 2 * row[4] - 1 if row[5] < 0.5 else np.sign(row[4] - 0.5) * (1 - 10 ** (-32 * (row[5] - 0.5)))
        yield kind, value, rho, phi, lam


def corners():
    values = {"keep-hard": (1e-6, 0.499, 1.0, np.inf), "keep-easy": (1e-6, 1.0, 8.0), "random": (1e-6, 1.0)}
    for kind in values:
        for value in values[kind]:
            p = float(RULE[kind](value).moments(0.0).p)
            for rho in (-1.0, -0.9, 0.0, 1e-9, 1 - 1e-12, 1.0):
                for phi in (1e-6, p, p * (1 + 1e-9), 1e3):
                    for lam in (1e-12, 1e-3, 1e6):
                        yield kind, value, rho, phi, lam


@pytest.mark.parametrize("points", [random_points(2200), corners()], ids=["random", "corners"])
def test_theorem1_agrees_with_the_printed_formulas_to_1e_9(points):
    points = list(points)
    with mp.workdps(80):
        want = []
        for kind, *point in points:
            value, rho, phi, lam = map(mp.mpf, point)
            want.append([float(x) for x in printed_theorem1(printed_moments(kind, value, rho), rho, phi, lam)])
    got = np.empty((len(points), 3))
    for kind, rule in RULE.items():
        mine = [i for i, point in enumerate(points) if point[0] == kind]
        value, rho, phi, lam = np.array([points[i][1:] for i in mine]).T
        prediction = predict(Problem(rule(value), rho, phi, lam))
        got[mine] = np.transpose([prediction.test_error, prediction.overlap, prediction.squared_norm])
        assert np.max(prediction.certificate) < 1e-9
    relative = np.abs(got / np.array(want) - 1)
    assert relative.max() < 1e-9, (points[relative.max(1).argmax()], relative.max(0))


@pytest.mark.parametrize("phi", [0.1, 0.35, 0.39, 0.41, 0.8, 50.0])
@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.6, 1.0])
def test_corollary1_agrees_with_the_printed_formulas_on_both_sides(phi, rho):
    for kind in ("keep-hard", "keep-easy", "random"):
        rule = RULE[kind].with_keep_fraction(0.4)
        value = mp.mpf(float(rule.p if kind == "random" else rule.alpha))
        with mp.workdps(50):
            want = float(printed_corollary1(printed_moments(kind, value, mp.mpf(rho)), mp.mpf(rho), mp.mpf(phi)))
        assert predict(Problem(rule, rho, phi, 0.0)).test_error == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("phi", [0.05, 0.3, 0.5, 3.0])
def test_theorem1_meets_corollary1_linearly_as_lam_goes_to_0(phi):
    lam = np.array([1e-4, 1e-6, 1e-8])
    for rule in (KeepHard(0.5), KeepEasy(0.5), Entropy(5.0), KeepAll()):
        limit, near = predict(Problem(rule, 0.8, phi, 0.0)), predict(Problem(rule, 0.8, phi, lam))
        for field in ("test_error", "overlap", "squared_norm"):
            gap = np.abs(getattr(near, field) / getattr(limit, field) - 1)
            assert gap[-1] < 1e-5
            assert np.all(gap[:-1] / gap[1:] > 50)  # 100 for a first-order approach


def test_the_ridgeless_norm_diverges_at_the_interpolation_threshold():
    rule = Random(0.25)
    peak = predict(Problem(rule, 0.5, 0.25, 0.0))
    assert peak.squared_norm == np.inf
    assert peak.test_error == 0.5
    assert np.isfinite(peak.overlap)
    beside = predict(Problem(rule, 0.5, 0.25 * (1 + np.array([-1e-9, 1e-9])), 0.0))
    assert np.allclose(beside.test_error, 0.5, atol=1e-4)


def test_limits_of_the_ridge_and_of_the_aspect_ratio():
    rule, rho = KeepHard(0.8), 0.6
    p, gamma, beta, beta_tilde = rule.moments(rho)
    # lam → ∞: w_hat ∝ the class mean c, plus its noise phi·p/|c|²
    c = np.array([beta_tilde, beta])
    along = rho * c[0] + 0.8 * c[1]
    want = np.arctan2(np.sqrt(c @ c - along**2 + 0.5 * p), along) / np.pi
    assert predict(Problem(rule, rho, 0.5, 1e6)).test_error == pytest.approx(want, rel=1e-5)
    # phi → 0 at lam → 0: population least squares on the kept rows
    a = np.array([beta_tilde / gamma, beta / p])
    assert predict(Problem(rule, rho, 1e-12, 0.0)).overlap == pytest.approx(rho * a[0] + 0.8 * a[1], rel=1e-9)
    # plain data, the scaling law E ≈ √(phi (π/2 - 1))/π
    assert predict(Problem(KeepAll(), 0.0, 1e-6, 0.0)).test_error == pytest.approx(
        np.sqrt(1e-6 * (np.pi / 2 - 1)) / np.pi, rel=1e-5
    )


def test_batch_equals_loop_on_every_field():
    alpha, rho = np.array([0.3, 0.9, np.inf]), np.array([[-0.5], [1.0]])
    batch = predict(Problem(KeepHard(alpha), rho, 0.4, np.array([0.0, 1e-3, 1.0])))
    cells = list(Problem(KeepHard(alpha), rho, 0.4, np.array([0.0, 1e-3, 1.0])).cells())
    assert len(cells) == 6
    for field, values in vars(batch).items():
        assert values.shape == (2, 3)
        assert values.ravel().tolist() == [getattr(predict(cell), field) for cell in cells]


def test_no_quadrature_rule_differs_from_its_closed_form():
    rho, phi, lam = 0.7, 0.6, 0.01
    by_quadrature = SymmetricRule(lambda t: t <= 0.5, breaks=(0.5,))
    one, other = (predict(Problem(rule, rho, phi, lam)) for rule in (by_quadrature, KeepHard(0.5)))
    assert one.test_error == pytest.approx(other.test_error, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rho": 1.5}, "rho = 1.5 must lie in"),
        ({"rho": np.nan}, "rho = nan"),
        ({"phi": 0.0}, "phi = 0 must be positive"),
        ({"phi": np.inf}, "phi = inf"),
        ({"lam": -1e-9}, "lam = -1e-09 must be at least 0"),
        ({"lam": np.array([0.0, np.nan])}, "lam = nan"),
    ],
)
def test_problem_refuses_what_is_outside_its_domain(change, message):
    with pytest.raises(InputError, match=message):
        Problem(**{"rule": KeepAll(), "rho": 0.5, "phi": 0.5, "lam": 0.1} | change)


def test_an_unresolved_jump_is_an_error_not_a_wrong_number():
    with pytest.raises(ConvergenceError, match="certain to"):
        predict(Problem(SymmetricRule(lambda t: t <= 0.7), 0.5, 0.5, 0.1))


def test_blocks_are_seamless():
    """More cells than are evaluated at a time, broadcast, with and without a ridge: each as if alone."""
    rng = np.random.default_rng(0)
    alpha, rho = rng.uniform(0.1, 3, 9000), rng.uniform(-1, 1, (2, 1))
    phi, lam = rng.uniform(0.1, 3, 9000), rng.choice([0.0, 0.1], 9000)
    whole = predict(Problem(KeepHard(alpha), rho, phi, lam))
    for i, j in [(0, 0), (0, 8191), (0, 8192), (1, 0), (1, 8999)]:
        alone = predict(Problem(KeepHard(alpha[j]), rho[i, 0], phi[j], lam[j]))
        for field in vars(whole):
            assert getattr(whole, field).shape == (2, 9000)
            assert getattr(whole, field)[i, j] == pytest.approx(getattr(alone, field), rel=1e-13, abs=1e-14)


def test_a_rule_by_its_name_is_refused():
    with pytest.raises(InputError, match="must be a rule"):
        Problem("keep-hard", 0.9, 0.5, 0.1)  # the mistake
