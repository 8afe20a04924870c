"""What the loop is asked: rows known by their moments, and problems, rounds and questions that are refused."""

from dataclasses import replace
from functools import partial

import numpy as np

from dp_theory import LOGISTIC, Addition, KeepHard, MeasuredRows, PracticeProblem, Window, predict, simulate
from tests.dp_theory.loop.loops import HARD_ROWS, one_round
from tests.refusals import out_of_range, refused


def test_measured_rows_stand_for_the_rule_that_they_were_measured_on():
    """The rows of a keep-hard rule as moments."""
    rule = KeepHard(0.3)
    kept = 0.7

    def moments(test_error):
        p, gamma, beta, beta_tilde = rule.moments(np.cos(np.pi * test_error))
        return MeasuredRows(kept, np.array([beta_tilde, beta]) / p, np.diag([gamma / p, 1.0]))

    plain = MeasuredRows(1.0, (np.sqrt(2 / np.pi), 0.0), np.eye(2))
    by_rule = predict(PracticeProblem(0.5, 0.02, [Addition(kept=kept, keep=rule)] * 4))
    by_moments = predict(PracticeProblem(0.5, 0.02, [moments] * 4, initial=plain))
    np.testing.assert_allclose(by_moments.test_error, by_rule.test_error, rtol=1e-10)
    np.testing.assert_allclose(by_moments.kept, by_rule.kept)


MEASURED = PracticeProblem(0.5, 0.1, [MeasuredRows(1.0, (0.0, 0.8), np.eye(2))])
test_moments_do_not_suffice_to_draw_rows_nor_for_a_fit = refused(
    {
        "moments alone": lambda: simulate(MEASURED, 20, 2),
        "cannot be drawn or fitted": lambda: predict(replace(MEASURED, loss=LOGISTIC)),
    }
)
PROBLEM = partial(replace, PracticeProblem(0.5, 0.1))
test_numbers_out_of_range_are_refused = out_of_range(
    (partial(Addition, candidates=1), {"candidates": 0.0, "weight": -1.0}),
    (Window, {"kappa": np.nan, "kept": -1.0}),
    (PROBLEM, {"phi": 0.0, "lam": -1.0, "initial": 0.0, "flip": 2.0, "labeller": 2.0}),
)
test_bad_problems_additions_and_questions_are_refused = refused(
    {
        "exactly one of candidates and kept": lambda: Addition(),
        "must be symmetric and positive semidefinite": lambda: MeasuredRows(1.0, (1.0, 1.0), np.eye(2)),
        "no rows have these": lambda: MeasuredRows(1.0, (0.1, 0.2), [[1, 0.5], [0, 1]]),
        "has the shape": lambda: predict(one_round(lambda error: Addition(1, keep=KeepHard([0.1, 0.2])))),
        "stage 0 of a run at d = 3 has no row": lambda: simulate(PracticeProblem(30.0, 0.1, [HARD_ROWS]), 3, 1),
        r"have shapes \(\) and \(2, 2\)": lambda: MeasuredRows(1.0, 0.5, np.eye(2)),
        "weight = .* must be between": lambda: Addition(1, weight=1e300),
        "keeps no row": lambda: predict(one_round(Addition(1, keep=lambda t, y: 0 * t))),
        "lam has 2 values": lambda: PROBLEM(lam=[0.1, 0.2]),
        "more rows than dimensions: stage 0 has 1·n": lambda: predict(PracticeProblem(1.0, 0.0, [HARD_ROWS])),
        "labeller has shape": lambda: PROBLEM(labeller=[0.6, 0.8]),
        "truth needs spectrum": lambda: PROBLEM(truth=[1.0]),
        "must be a list, with one addition for each round": lambda: PROBLEM(additions=Addition(1.0)),
        "spectrum = -1 must be positive": lambda: PROBLEM(spectrum=[1.0, -1.0]),
        r"spectrum has shape \(\)": lambda: PROBLEM(spectrum=2.0),
        "labeller must be 1 finite numbers": lambda: PROBLEM(spectrum=[1.0], labeller=0.5),
        "a positive cosine to truth": lambda: PROBLEM(spectrum=[1.0, 2.0], labeller=[1, -1.0]),
    }
)
