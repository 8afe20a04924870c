"""The practice loop: reference values, limits that other theory knows, and the experiment itself."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from dp_base.errors import ConvergenceError, InputError
from dp_theory import Problem, predict, simulate
from dp_theory.practice import Addition, MeasuredRows, PracticeProblem, Window, prediction, row_errors
from dp_theory.practice.exponents import scaling
from dp_theory.rules import Entropy, KeepAll, KeepEasy, KeepHard
from dp_theory.span import Agree, Group, Interpolating, SpanProblem, Verifier

HARD = KeepHard(0.3)
HARD_ROWS = Addition(1, keep=HARD)
R11 = PracticeProblem(0.5, 0.01, [Addition(2, keep=HARD)] * 3)
R13 = PracticeProblem(0.25, 1e-6, [Window(1, power=2)] * 7)
R15 = PracticeProblem(0.5, 0.02, [Addition(1, weight=Interpolating(1, 3.0))] * 2, flip=0.05, labeller=0.9)
R15_VERIFIER = PracticeProblem(0.5, 0.02, [Addition(1, weight=Verifier(2.0))] * 2, flip=0.05, labeller=0.9)
L1 = PracticeProblem(0.5, 0.02, [Addition(1, keep=KeepHard(0.5))])


@pytest.mark.parametrize(
    ("practice", "errors"),
    [
        (R11, [0.203146, 0.139504, 0.101217, 0.077529]),
        (R13, [0.017771, 0.027178, 0.013302, 0.009691]),
        (R15, [0.271840, 0.219542, 0.193294]),
        (R15_VERIFIER, [0.208016]),
        (L1, [0.148435]),
        (PracticeProblem(0.25, 1e-6, [Window(1)] * 7), [0.014968]),
    ],
    ids=["R11", "R13", "R15", "R15 verifier", "L1", "window"],
)
def test_reference_values(practice, errors):
    """Evaluated elsewhere, and simulated there at d = 300 to 1000; the last stages, to all printed digits."""
    prediction = predict(practice)
    np.testing.assert_allclose(prediction.test_error[-len(errors) :], errors, atol=5.1e-7)
    assert np.all(prediction.certificate < 1e-12)


def test_figure_6_reference_values():
    """R11, the second round's rows that were wrong when added: evaluated and simulated elsewhere."""
    np.testing.assert_allclose(row_errors(predict(R11), 1), [0.591590, 1, 0.057692, 0.088830], atol=5.1e-7)


# -- limits that other theory knows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.0, 1e-9, 0.01, 1.0])
@pytest.mark.parametrize("rule", [KeepHard(0.4), KeepEasy(0.8), Entropy(4.0, 2.0)], ids=str)
def test_fresh_data_is_a_recursion_of_predict(rule, lam):
    """Each stage: Theorem 1 (Corollary 1) with rho = cos(π E) of the stage before."""
    practice = PracticeProblem(0.2, lam, [Addition(3, keep=rule)] * 5, initial=0.5, accumulate=False)
    errors = [predict(Problem(KeepAll(), 1.0, 0.2 / 0.5, lam / 0.5)).test_error]
    for _ in range(5):
        errors.append(predict(Problem(rule, np.cos(np.pi * errors[-1]), 0.2 / 3, lam / 3)).test_error)
    np.testing.assert_allclose(predict(practice).test_error, errors, rtol=1e-10)


def test_small_errors_keep_their_digits():
    """Windows shrink with the error, which contracts by √(ψ(π/2 − 1)/(1 − ψ)) a round as they get narrow."""
    errors = predict(PracticeProblem(0.25, 0.0, [Window(0.02)] * 10, accumulate=False)).test_error
    assert errors[-1] < 1e-4
    np.testing.assert_allclose(errors[3:] / errors[2:-1], np.sqrt(0.25 * (np.pi / 2 - 1) / 0.75), rtol=2e-3)
    errors = predict(PracticeProblem(0.25, 0.0, [Window(1)] * 14, accumulate=False)).test_error
    stage = [errors[0]]
    for _ in range(14):
        rule = KeepHard(np.tan(np.pi * stage[-1]))
        phi = 0.25 * rule.moments(0.0).p
        stage.append(predict(Problem(rule, np.cos(np.pi * stage[-1]), phi, 0.0)).test_error)
    np.testing.assert_allclose(errors, stage, rtol=1e-7)


@pytest.mark.parametrize(
    "addition",
    [
        Addition(2, keep=HARD, weight=3.0),
        Addition(2, keep=Agree()),
        Addition(2, weight=Interpolating(2, 3.0)),
        Addition(2, keep=Entropy(3.0, 2.0), weight=Verifier(4.0)),
    ],
    ids=str,
)
@pytest.mark.parametrize("flip", [0.0, 0.1])
def test_fresh_data_is_the_span_recipe(addition, flip):
    """Second stage, every kind of rule: the same problem in the span recipe's own words."""
    prediction = predict(PracticeProblem(0.5, 0.02, [addition], accumulate=False, flip=flip))
    first = prediction.test_error[0] * np.pi
    group = Group(2.0, flip=flip, along=[[np.cos(first), np.sin(first)]], keep=addition.keep, weight=addition.weight)
    expected = predict(SpanProblem([1.0, 0.0], [group], 0.5, 0.02))
    assert prediction.test_error[1] == pytest.approx(float(expected.test_error), rel=1e-9)


def test_keeping_all_is_plain_data():
    """Rows that nobody selected: Theorem 1 on the pooled rows, whoever looked at them."""
    prediction = predict(PracticeProblem(0.5, 0.02, [Addition(1), Addition(2)]))
    pools = np.array([1.0, 2.0, 4.0])
    expected = predict(Problem(KeepAll(), 1.0, 0.5 / pools, 0.02 / pools))
    np.testing.assert_allclose(prediction.test_error, expected.test_error, rtol=1e-11)
    np.testing.assert_allclose(prediction.overlap, expected.overlap, rtol=1e-11)
    np.testing.assert_allclose(prediction.kept, pools)


@pytest.mark.parametrize("flip", [0.0, 0.1])
@pytest.mark.parametrize("rule", [KeepHard(0.7), KeepEasy(0.7)], ids=str)
def test_quadrature_meets_the_lemmas(rule, flip):
    """The same rule as a bare function goes by the nodes; as a rule, by closed forms."""
    named = PracticeProblem(0.5, 0.02, [Addition(1, keep=rule, weight=2.0)] * 3, flip=flip)
    bare = Addition(1, keep=lambda t, y: rule.keep_probability(t), weight=2.0, breaks=(0.7,))
    unnamed = PracticeProblem(0.5, 0.02, [bare] * 3, flip=flip)
    np.testing.assert_allclose(predict(unnamed).test_error, predict(named).test_error, rtol=1e-11)
    np.testing.assert_allclose(row_errors(predict(unnamed), 1), row_errors(predict(named), 1), rtol=1e-9)


def test_more_nodes_change_nothing(monkeypatch):
    coarse, rows = predict(R15).test_error, row_errors(predict(R15), 0)
    monkeypatch.setattr(prediction, "ORDERS", (40, 48, 56))
    np.testing.assert_allclose(predict(R15).test_error, coarse, rtol=1e-12)
    np.testing.assert_allclose(row_errors(predict(R15), 0), rows, rtol=1e-10)


def test_flat_spectrum_is_isotropic():
    additions = [Addition(1, keep=KeepHard(0.5)), Addition(1, keep=Agree())]
    flat = PracticeProblem(0.5, 0.02, additions, spectrum=np.ones(50), truth=np.arange(1.0, 51.0))
    np.testing.assert_allclose(
        predict(flat).test_error, predict(PracticeProblem(0.5, 0.02, additions)).test_error, rtol=1e-11
    )


def test_spectrum_at_the_first_stage_is_the_span_recipe():
    spectrum = np.arange(1, 201) ** -1.0
    truth = np.cos(np.arange(200.0))
    prediction = predict(PracticeProblem(0.5, 0.003, initial=1.0, spectrum=spectrum, truth=truth))
    expected = predict(SpanProblem(truth, [Group()], 0.5, 0.003, spectrum=spectrum))
    assert prediction.test_error[0] == pytest.approx(float(expected.test_error), rel=1e-9)


# -- the experiment ---------------------------------------------------------------------------------------------------

POWER_LAW = np.arange(1, 251) ** -0.7
LOOPS = {
    "keep-hard": R11,
    "keep-easy": PracticeProblem(0.5, 0.02, [Addition(1, keep=KeepEasy(0.5))] * 2),
    "self-verification, flips": PracticeProblem(0.5, 0.02, [Addition(1, keep=Agree())] * 2, flip=0.1),
    "entropy, few rows": PracticeProblem(1.2, 0.2, [Addition(2, keep=Entropy(4.0, 3.0))] * 2),
    "soft, labeller, flips": R15,
    "verifier, labeller, flips": R15_VERIFIER,
    "window, weights": PracticeProblem(0.25, 1e-6, [Window(1, power=2)] * 4),
    "newest rows": PracticeProblem(0.25, 1e-3, [Addition(kept=1, keep=HARD)] * 3, accumulate=False),
    "spectrum": PracticeProblem(
        0.5, 0.02, [Addition(1, keep=KeepHard(0.5))] * 2, spectrum=POWER_LAW / POWER_LAW.mean()
    ),
}


@pytest.fixture(scope="module")
def runs():
    return {name: simulate(loop, 250, 40, seed=1) for name, loop in LOOPS.items()}


@pytest.mark.parametrize("name", LOOPS)
def test_simulation_agrees(runs, name):
    """Test error and kept rows of every stage; error on the wrong rows of every round. Bonferroni over all."""
    prediction, run = predict(LOOPS[name]), runs[name]
    z = [(run.test_error - prediction.test_error) / run.test_error_se]
    for addition in range(len(prediction.additions)) if name != "self-verification, flips" else ():
        assert np.all(run.row_errors[:, addition, addition] == 1)
        rows = np.delete(run.row_errors[:, addition], addition, axis=1)
        expected = np.delete(row_errors(prediction, addition), addition)
        z.append((rows.mean(axis=0) - expected) / rows.std(axis=0, ddof=1) * np.sqrt(len(rows)))
    z = np.concatenate(z)
    assert np.abs(z).max() < norm.isf(1e-3 / len(z))
    np.testing.assert_allclose(run.kept.mean(axis=0), prediction.kept, rtol=0.02)


def test_simulation_sees_the_naive_mixture():
    """Treating the selector as independent of the rows that trained it is off by .0106 at L1, far from the runs."""
    angle = predict(L1).test_error[0] * np.pi
    groups = [Group(), Group(along=[[np.cos(angle), np.sin(angle)]], keep=KeepHard(0.5))]
    naive = float(predict(SpanProblem([1.0, 0.0], groups, 0.5, 0.02)).test_error)
    assert naive - predict(L1).test_error[1] == pytest.approx(0.0106, abs=1e-4)
    run = simulate(L1, 300, 40, seed=3)
    assert (naive - run.test_error[1]) / run.test_error_se[1] > 5
    assert abs(predict(L1).test_error[1] - run.test_error[1]) / run.test_error_se[1] < 3


def test_runs_do_not_depend_on_workers():
    one, two = (simulate(L1, 40, 4, seed=3, workers=workers) for workers in (1, 2))
    np.testing.assert_array_equal(one.test_errors, two.test_errors)
    assert not np.array_equal(one.test_errors, simulate(L1, 40, 4, seed=4).test_errors)


# -- exponents --------------------------------------------------------------------------------------------------------


def test_exponents_per_axis():
    """Static −1/2; pooled practice −1.13 per kept row, −.51 per candidate; newest rows geometric, −1 per candidate."""
    table = scaling(PracticeProblem(0.25, 0.0, [Window(1)] * 10)).exponents.set_index(["series", "axis"])
    exponent, steepening = table["exponent"], table["steepening"]
    for axis in ("kept", "generated", "compute"):
        assert exponent["static", axis] == pytest.approx(-0.5, abs=0.01)
    assert exponent["practice", "kept"] == exponent["practice", "generated"] == pytest.approx(-1.138, abs=2e-3)
    assert exponent["prune each round", "generated"] == pytest.approx(-0.509, abs=2e-3)
    assert exponent["prune, newest rows", "generated"] == pytest.approx(-1, abs=0.01)
    assert steepening["practice, newest rows", "kept"] == pytest.approx(1, abs=0.01)
    assert abs(steepening["practice", "kept"]) < 0.01


def test_simulated_exponents_agree():
    result = scaling(PracticeProblem(0.25, 0.0, [Window(1)] * 5), d=150, trials=12, seed=5)
    kept = result.exponents.query("axis == 'kept'")
    assert np.abs((kept["simulated"] - kept["exponent"]) / kept["simulated_se"]).max() < 4
    assert set(result.curves["kind"]) == {"predicted", "simulated"}
    assert len(result.curves) == 2 * 3 * 6 * 6  # kinds, axes, strategies, stages


# -- bad input --------------------------------------------------------------------------------------------------------

FLAT = PracticeProblem(0.5, 0.1, spectrum=np.ones(9))


def one_round(addition):
    return PracticeProblem(0.5, 0.1, [addition])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PracticeProblem(0.0, 0.1), "phi = 0 must be positive"),
        (lambda: PracticeProblem(0.5, -1.0), "lam = -1 must be at least 0"),
        (lambda: predict(PracticeProblem(1.0, 0.0)), "lam = 0 needs more rows than dimensions: stage 0 has 1·n"),
        (lambda: predict(PracticeProblem(1.0, 0.0, [HARD_ROWS], initial=2, accumulate=False)), "stage 1 has 0.236·n"),
        (lambda: predict(one_round(Addition(1, keep=lambda t, y: 2 + 0 * t))), "keep = 2 must lie in"),
        (lambda: PracticeProblem(0.5, 0.1, flip=2.0), "flip = 2 must lie in"),
        (lambda: PracticeProblem(0.5, 0.1, labeller=0.0), "labeller = 0 must lie in"),
        (lambda: PracticeProblem(0.5, 0.1, spectrum=[1.0, -1.0]), "spectrum = -1 must be positive"),
        (lambda: PracticeProblem(0.5, 0.1, spectrum=[1.0], labeller=0.5), "labeller must be 1 finite numbers"),
        (lambda: PracticeProblem(0.5, 0.1, spectrum=[1.0, 2.0], labeller=[1.0]), "labeller must be 2 finite numbers"),
        (lambda: PracticeProblem(0.5, 0.1, spectrum=[1.0, 2.0], labeller=[1, -1.0]), "a positive cosine to truth"),
        (lambda: PracticeProblem(0.5, 0.1, labeller=[0.6, 0.8]), "labeller has shape"),
        (lambda: PracticeProblem(0.5, 0.1, truth=[1.0]), "truth needs spectrum"),
        (lambda: Addition(), "exactly one of candidates and kept"),
        (lambda: Addition(kept=0), "kept = 0 must be positive"),
        (lambda: Addition(1, weight=-1.0), "weight = -1 must be positive"),
        (lambda: Window(np.nan), "kappa = nan must be positive"),
        (lambda: predict(one_round(Addition(1, keep=lambda t, y: 0 * t))), "keeps no row"),
        (lambda: row_errors(predict(one_round(HARD_ROWS)), -1), "addition = -1 must be at least 0 and below 1"),
        (lambda: row_errors(predict(one_round(HARD_ROWS)), 1), "addition = 1 must be at least 0 and below 1"),
        (lambda: PracticeProblem(0.5, 0.1, Addition(1.0)), "must be a list, with one addition for each round"),
        (lambda: PracticeProblem(0.5, 0.1, spectrum=2.0), r"spectrum has shape \(\)"),
        (lambda: PracticeProblem(0.5, 0.1, spectrum=[]), r"spectrum has shape \(0,\)"),
        (lambda: PracticeProblem(0.5, 0.1, spectrum=np.ones((2, 2))), r"spectrum has shape \(2, 2\)"),
        (lambda: one_round(Addition(1, keep=KeepHard(np.array([])))), "without a number nothing is practised"),
        (lambda: predict(one_round(Window(power=500.0))), "weight = .* must be between"),
        (lambda: predict(one_round(Window(power=5000.0))), "weight = inf must be positive and finite"),
        (lambda: scaling(PracticeProblem(0.5, 0.1, [Addition(1, keep=KeepHard(np.ones(2)))] * 4)), "one practice"),
        (lambda: simulate(FLAT, 8, 2), "d = 8 must be the length of the spectrum"),
        (lambda: row_errors(predict(one_round(Addition(1, keep=Agree()))), 0), "no row that is wrong"),
        (lambda: scaling(L1), "at least 4 rounds"),
        (lambda: scaling(replace(L1, additions=[HARD_ROWS] * 4), direct_cost=-1), "direct cost = -1 must be"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_one_run_has_no_standard_error():
    runs = simulate(one_round(HARD_ROWS), 10, 1)
    assert np.all(np.isinf(runs.test_error_se))
    points = scaling(replace(L1, additions=[HARD_ROWS] * 4), d=10, trials=1).curves.query("kind == 'simulated'")
    assert points["y"].notna().all()
    assert points[["y_low", "y_high"]].isna().all(axis=None)


def test_what_double_precision_cannot_resolve_is_refused():
    with pytest.raises(ConvergenceError, match=r"stage 16: test error .* ask for fewer rounds"):
        predict(PracticeProblem(0.25, 0.0, [Window(1)] * 30, accumulate=False))


def test_a_missed_equation_is_reported(monkeypatch):
    monkeypatch.setattr(prediction, "TOLERANCE", 0.0)
    with pytest.raises(ConvergenceError, match=r"phi = 0\.5, lam = 0\.02, stage 0: relative residual"):
        predict(L1)


# -- a labeller in the eigenbasis of a covariance ---------------------------------------------------------------------

SPECTRUM = np.geomspace(4, 0.05, 60)
TILTED = PracticeProblem(
    0.5, 0.02, [HARD_ROWS] * 2, spectrum=SPECTRUM, truth=np.cos(np.arange(60)), flip=0.05,
    labeller=np.cos(np.arange(60)) + 0.7 * np.sin(np.arange(60)) / SPECTRUM**0.3,
)  # fmt: skip


def test_a_labeller_with_a_spectrum_starts_as_the_span_recipe_and_goes_on_as_the_experiment():
    limit = predict(TILTED)
    plain = Group(labeller=TILTED.labeller, flip=TILTED.flip)
    one = predict(SpanProblem(np.cos(np.arange(60)), [plain], 0.5, 0.02, spectrum=SPECTRUM))
    for field in ("test_error", "overlap", "squared_norm"):
        assert getattr(limit, field)[0] == pytest.approx(getattr(one, field), rel=1e-8)
    wide = replace(TILTED, **{n: np.repeat(getattr(TILTED, n), 4) for n in ("spectrum", "truth", "labeller")})
    seen = simulate(wide, trials=30)
    for field in ("test_error", "overlap"):
        z = (getattr(limit, field) - getattr(seen, field)) / getattr(seen, field + "_se")
        assert np.abs(z).max() < 4


def test_a_flat_spectrum_is_the_cosine():
    cosine = 0.8
    flat = PracticeProblem(0.5, 0.1, [HARD_ROWS], labeller=[0.8, 0.6], spectrum=[1.0, 1.0], truth=[1.0, 0.0])
    want = predict(PracticeProblem(0.5, 0.1, [HARD_ROWS], labeller=cosine))
    np.testing.assert_allclose(predict(flat).test_error, want.test_error, rtol=1e-9)


# -- rows known by their moments --------------------------------------------------------------------------------------


def test_measured_rows_stand_for_the_rule_that_they_were_measured_on():
    """The rows of a keep-hard rule as moments, and as a sample of the plane."""
    rule, kept = KeepHard(0.3), 0.7

    def moments(test_error: float) -> MeasuredRows:
        p, gamma, beta, beta_tilde = rule.moments(np.cos(np.pi * test_error))
        return MeasuredRows(kept, np.array([beta_tilde, beta]) / p, np.diag([gamma / p, 1.0]))

    plain = MeasuredRows(1.0, np.array([np.sqrt(2 / np.pi), 0.0]), np.eye(2))
    by_rule = predict(PracticeProblem(0.5, 0.02, [Addition(kept=kept, keep=rule)] * 4))
    by_moments = predict(PracticeProblem(0.5, 0.02, [moments] * 4, initial=plain))
    np.testing.assert_allclose(by_moments.test_error, by_rule.test_error, rtol=1e-10)
    np.testing.assert_allclose(by_moments.kept, by_rule.kept)

    rng, angle = np.random.default_rng(0), np.pi * by_rule.test_error[0]
    t, zeta = rule.draw(rng, 10**6), rng.standard_normal(10**6)
    sample = MeasuredRows.of(kept, t, zeta, np.sign(np.cos(angle) * t + np.sin(angle) * zeta))
    np.testing.assert_allclose(sample.linear, moments(angle / np.pi).linear, atol=4e-3)
    np.testing.assert_allclose(sample.second, moments(angle / np.pi).second, atol=6e-3)


def test_a_ridge_for_each_stage():
    """Plain rounds at a ridge per row of the pool: every stage is Theorem 1; and an experiment with guided ones."""
    sizes = np.arange(1, 5)
    plain = predict(PracticeProblem(0.5, list(0.1 * sizes), [Addition(1)] * 3)).test_error
    np.testing.assert_allclose(plain, predict(Problem(KeepAll(), 1.0, 0.5 / sizes, 0.1)).test_error, rtol=1e-10)
    practice = PracticeProblem(0.5, [0.01, 0.5, 0.1], [HARD_ROWS] * 2)
    simulation = simulate(practice, 200, 60)
    z = (simulation.test_error - predict(practice).test_error) / simulation.test_error_se
    assert np.abs(z).max() < 4
    assert abs(predict(PracticeProblem(0.5, 0.01, [HARD_ROWS] * 2)).test_error[1] / simulation.test_error[1] - 1) > 0.02


def test_moments_do_not_suffice_to_draw_rows_nor_for_a_fit():
    rows = MeasuredRows(1.0, np.array([0.0, 0.8]), np.eye(2))
    with pytest.raises(InputError, match="cannot be drawn"):
        simulate(PracticeProblem(0.5, 0.1, [rows]), 20, 2)
    with pytest.raises(InputError, match="moments alone"):
        row_errors(predict(PracticeProblem(0.5, 0.1, [rows])), 0)
    with pytest.raises(InputError, match="kept = 0 must be positive"):
        MeasuredRows(0.0, rows.linear, rows.second)
    with pytest.raises(InputError, match="lam has 2 values"):
        PracticeProblem(0.5, [0.1, 0.2])


def test_rules_that_prefer_a_side_or_a_label():
    """q(−t, −y) ≠ q(t, y): against the experiment, errors on the added rows too; and its mirror image."""
    one_side = Addition(1, keep=lambda t, y: (t > 0.3) * np.where(y > 0, 1.0, 0.4))
    other = Addition(1, keep=lambda t, y: (t < -0.3) * np.where(y < 0, 1.0, 0.4))
    problem = PracticeProblem(0.5, 0.02, [one_side] * 2)
    limit, seen = predict(problem), simulate(problem, 150, 40, seed=4)
    assert np.all(np.abs(limit.test_error - seen.test_error) < 4 * seen.test_error_se)
    errors, mean = row_errors(limit, 0), seen.row_errors[:, 0]
    assert np.all(np.abs(errors - mean.mean(0)) < 4 * mean.std(0, ddof=1) / np.sqrt(40) + 0.01)
    mirrored = predict(PracticeProblem(0.5, 0.02, [other] * 2))
    np.testing.assert_allclose(limit.test_error, mirrored.test_error, rtol=1e-9)
    halves = (lambda t, y: t > 0), (lambda t, y: t < 0)  # of rows as good as any: half of them at random
    random = predict(PracticeProblem(0.5, 0.02, [Addition(1, keep=lambda t, y: 0.5 + 0 * t)]))
    for half in halves:
        np.testing.assert_allclose(
            predict(PracticeProblem(0.5, 0.02, [Addition(1, keep=half)])).test_error, random.test_error, rtol=1e-9
        )
