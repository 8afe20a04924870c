"""The theory of the loop against the experiment, every row drawn."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from dp_theory import LOGISTIC, Addition, Direct, Group, KeepHard, PracticeProblem, SpanProblem, predict, simulate
from tests.dp_theory.agreement import largest_z, outputs
from tests.dp_theory.loop.loops import HARD_ROWS, L1
from tests.dp_theory.verification.beyond import loops

ONE_SIDE = Addition(1, keep=lambda t, y: (t > 0.3) * np.where(y > 0, 1.0, 0.4))  # q(-t, -y) is not q(t, y)
LOOPS = [
    *loops().values(),
    PracticeProblem(0.5, 0.02, [ONE_SIDE] * 2),
    PracticeProblem(0.5, 0.02, [Addition(1, keep=Direct(KeepHard(0.5)))] * 2),
    PracticeProblem(0.5, [0.01, 0.5, 0.1], [HARD_ROWS] * 2),
]
TRIALS = 24


@pytest.mark.parametrize("loop", LOOPS)
def test_simulation_agrees(loop):
    """The quantities of every stage. Bonferroni over all."""
    run = simulate(loop, 150 if loop.spectrum is None else None, TRIALS, seed=1)
    assert largest_z(run, predict(loop)) < t.isf(1e-4, TRIALS - 1)


def test_simulation_sees_the_naive_mixture():
    """Treating the selector as independent of the rows that trained it is off by .0106 at L1, far from the runs."""
    answer = predict(L1)
    angle = answer.test_error[0] * np.pi
    groups = [Group(), Group(along=(np.cos(angle), np.sin(angle)), keep=KeepHard(0.5))]
    naive = float(predict(SpanProblem([1.0, 0.0], groups, 0.5, 0.02)).test_error)
    assert naive - answer.test_error[1] == pytest.approx(0.0106, abs=1e-4)
    run = simulate(L1, 300, 30, seed=3)
    assert (naive - run.test_error[1]) / run.test_error_se[1] > 5
    assert largest_z(run, answer) < 3.5


def test_a_plan_hears_the_error_of_the_loss():
    """The square's is .188."""
    heard = []
    loop = PracticeProblem(0.5, 0.5, [lambda error: heard.append(error) or HARD_ROWS], loss=LOGISTIC)
    simulate(loop, 20, 1)
    assert heard[-1] == predict(loop).test_error[0] == pytest.approx(0.205, abs=1e-3)


def test_a_labeller_with_a_spectrum_starts_as_the_span_recipe_and_goes_on_as_the_experiment():
    entries = np.arange(60)
    spectrum = np.geomspace(4, 0.05, 60)
    truth = np.cos(entries)
    labeller = np.cos(entries) + 0.7 * np.sin(entries) / spectrum**0.3
    tilted = PracticeProblem(0.5, 0.02, [HARD_ROWS] * 2, spectrum=spectrum, truth=truth, labeller=labeller, flip=0.05)
    limit = predict(tilted)
    plain = Group(labeller=labeller, flip=0.05)
    first_stage = predict(SpanProblem(truth, [plain], 0.5, 0.02, spectrum=spectrum))
    np.testing.assert_allclose(outputs(limit)[:, 0], outputs(first_stage), rtol=1e-8)
    wide = replace(tilted, spectrum=np.repeat(spectrum, 4), truth=np.repeat(truth, 4), labeller=np.repeat(labeller, 4))
    assert largest_z(simulate(wide, trials=30), limit) < 4
