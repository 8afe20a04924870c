"""The theory of the loop against the experiment, every row drawn."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, t

from dp_base.errors import InputError
from dp_theory import predict, simulate
from dp_theory.loop import Addition, Agree, Group, PracticeProblem, PracticeSimulation, SpanProblem, Window, row_errors
from dp_theory.rules import Entropy, KeepEasy, KeepHard
from tests.dp_theory.loop.loops import HARD, HARD_ROWS, L1, R11, R15, R15_VERIFIER, one_round

POWER_LAW = np.arange(1, 251) ** -0.7
SELF_VERIFICATION = "self-verification, flips"  # it adds no row that is wrong when added
LOOPS = {
    "keep-hard": R11,
    "keep-easy": PracticeProblem(0.5, 0.02, [Addition(1, keep=KeepEasy(0.5))] * 2),
    SELF_VERIFICATION: PracticeProblem(0.5, 0.02, [Addition(1, keep=Agree())] * 2, flip=0.1),
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
def runs() -> dict[str, PracticeSimulation]:
    return {name: simulate(loop, 250, 40, seed=1) for name, loop in LOOPS.items()}


@pytest.mark.parametrize("name", LOOPS)
def test_simulation_agrees(runs: dict[str, PracticeSimulation], name: str):
    """Test error and kept rows of every stage; error on the wrong rows of every round. Bonferroni over all."""
    answer = predict(LOOPS[name])
    run = runs[name]
    scores = [(run.test_error - answer.test_error) / run.test_error_se]
    rounds = () if name == SELF_VERIFICATION else range(len(answer.additions))
    for addition in rounds:
        assert np.all(run.row_errors[:, addition, addition] == 1)
        others = np.delete(run.row_errors[:, addition], addition, axis=1)
        expected = np.delete(row_errors(answer, addition), addition)
        scores.append((others.mean(axis=0) - expected) / others.std(axis=0, ddof=1) * np.sqrt(len(others)))
    z = np.concatenate(scores)
    assert np.abs(z).max() < norm.isf(1e-3 / len(z))
    np.testing.assert_allclose(run.kept.mean(axis=0), answer.kept, rtol=0.02)


def test_simulation_sees_the_naive_mixture():
    """Treating the selector as independent of the rows that trained it is off by .0106 at L1, far from the runs."""
    answer = predict(L1)
    angle = answer.test_error[0] * np.pi
    groups = [Group(), Group(along=[[np.cos(angle), np.sin(angle)]], keep=KeepHard(0.5))]
    naive = float(predict(SpanProblem([1.0, 0.0], groups, 0.5, 0.02)).test_error)
    assert naive - answer.test_error[1] == pytest.approx(0.0106, abs=1e-4)
    run = simulate(L1, 300, 40, seed=3)
    assert (naive - run.test_error[1]) / run.test_error_se[1] > 5
    assert abs(answer.test_error[1] - run.test_error[1]) / run.test_error_se[1] < 3


def test_runs_do_not_depend_on_workers():
    one = simulate(L1, 40, 4, seed=3, workers=1)
    two = simulate(L1, 40, 4, seed=3, workers=2)
    np.testing.assert_array_equal(one.test_errors, two.test_errors)
    assert not np.array_equal(one.test_errors, simulate(L1, 40, 4, seed=4).test_errors)


def test_one_run_has_no_standard_error():
    runs = simulate(one_round(HARD_ROWS), 10, 1)
    assert np.all(np.isinf(runs.test_error_se))


def test_a_labeller_with_a_spectrum_starts_as_the_span_recipe_and_goes_on_as_the_experiment():
    entries = np.arange(60)
    spectrum = np.geomspace(4, 0.05, 60)
    truth = np.cos(entries)
    labeller = np.cos(entries) + 0.7 * np.sin(entries) / spectrum**0.3
    tilted = PracticeProblem(0.5, 0.02, [HARD_ROWS] * 2, spectrum=spectrum, truth=truth, labeller=labeller, flip=0.05)
    limit = predict(tilted)
    plain = Group(labeller=labeller, flip=0.05)
    first_stage = predict(SpanProblem(truth, [plain], 0.5, 0.02, spectrum=spectrum))
    for field in ("test_error", "overlap", "squared_norm"):
        assert getattr(limit, field)[0] == pytest.approx(getattr(first_stage, field), rel=1e-8)
    wide = replace(tilted, spectrum=np.repeat(spectrum, 4), truth=np.repeat(truth, 4), labeller=np.repeat(labeller, 4))
    seen = simulate(wide, trials=30)
    for field in ("test_error", "overlap"):
        z = (getattr(limit, field) - getattr(seen, field)) / getattr(seen, field + "_se")
        assert np.abs(z).max() < 4


def test_a_ridge_for_each_stage():
    simulation = simulate(PracticeProblem(0.5, [0.01, 0.5, 0.1], [HARD_ROWS] * 2), 200, 60)
    answer = predict(PracticeProblem(0.5, [0.01, 0.5, 0.1], [HARD_ROWS] * 2))
    z = (simulation.test_error - answer.test_error) / simulation.test_error_se
    assert np.abs(z).max() < 4
    one_ridge = predict(PracticeProblem(0.5, 0.01, [HARD_ROWS] * 2)).test_error
    assert abs(one_ridge[1] / simulation.test_error[1] - 1) > 0.02


def test_rules_that_prefer_a_side_or_a_label():
    """q(−t, −y) ≠ q(t, y): against the experiment, errors on the added rows too; and its mirror image."""
    one_side = Addition(1, keep=lambda t, y: (t > 0.3) * np.where(y > 0, 1.0, 0.4))
    other_side = Addition(1, keep=lambda t, y: (t < -0.3) * np.where(y < 0, 1.0, 0.4))
    loop = PracticeProblem(0.5, 0.02, [one_side] * 2)
    limit = predict(loop)
    seen = simulate(loop, 150, 40, seed=4)
    assert np.all(np.abs(limit.test_error - seen.test_error) < 4 * seen.test_error_se)
    of_rows = seen.row_errors[:, 0]
    noise = 4 * of_rows.std(0, ddof=1) / np.sqrt(40) + 0.01
    assert np.all(np.abs(row_errors(limit, 0) - of_rows.mean(0)) < noise)
    mirrored = predict(PracticeProblem(0.5, 0.02, [other_side] * 2))
    np.testing.assert_allclose(limit.test_error, mirrored.test_error, rtol=1e-9)


def test_a_band_from_few_dimensions_holds_single_runs_in_more():
    loop = PracticeProblem(0.5, 0.1, [Addition(kept=0.5, keep=HARD)] * 2, flip=0.05)
    answer, small = predict(loop), simulate(loop, 60, 200, seed=3)
    low, high = answer.band(small, 240)
    runs = simulate(loop, 240, 200, seed=4).test_errors
    assert 0.9 < np.mean((low <= runs) & (runs <= high)) < 0.99
    low, high = answer.band(small, 240, level=0.5)
    assert 0.4 < np.mean((low <= runs) & (runs <= high)) < 0.6


def test_the_band_in_the_simulated_dimension_is_students_for_one_more_run(runs: dict[str, PracticeSimulation]):
    answer, run = predict(R11), runs["keep-hard"]
    expected = np.array([t.interval(0.9, 39, x.mean(), x.std(ddof=1) * np.sqrt(1 + 1 / 40)) for x in run.test_errors.T])
    np.testing.assert_allclose(answer.band(run, 250, 0.9), expected.T, rtol=1e-12)


def test_refuses_bands_that_nothing_is_known_of(runs: dict[str, PracticeSimulation]):
    answer, run = predict(LOOPS["spectrum"]), runs["spectrum"]
    answer.band(run, 250)
    with pytest.raises(InputError, match="length of the spectrum, 250"):
        answer.band(run, 500)
    with pytest.raises(InputError, match="trials = 3 must be 20 or more"):
        predict(R11).band(simulate(R11, 30, 3, seed=0), 100)
    with pytest.raises(InputError, match="level = 1"):
        answer.band(run, 250, 1)
