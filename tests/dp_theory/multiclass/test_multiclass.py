"""K classes: two of them are logistic regression, three and more meet other solvers and the experiment."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import softmax
from scipy.stats import entropy

from dp_theory import (
    LOGISTIC,
    ConvergenceError,
    KeepAll,
    KeepEasy,
    KeepHard,
    SoftmaxProblem,
    make_selection,
    predict,
    simulate,
)
from dp_theory.multiclass.curves import softmax_curves
from dp_theory.multiclass.prediction import disagreement
from dp_theory.multiclass.selection import Share
from tests.dp_theory.loop.loops import selected
from tests.refusals import out_of_range, refused

NOISE = 4.5  # standard errors that a right answer may be off in any of these comparisons

# -- pieces -----------------------------------------------------------------------------------------------------------


def test_disagreement():
    cosines = np.array([-0.9, -0.3, 0.0, 0.2, 0.999])
    two = [disagreement(2, cosine) for cosine in cosines]
    assert_allclose(two, np.arccos(cosines) / np.pi, atol=1e-12)
    assert disagreement(7, 0.0) == pytest.approx(6 / 7, abs=1e-9)
    assert_allclose([disagreement(7, end) for end in (1.0, -1.0)], [0.0, 1.0], atol=1e-12)
    assert disagreement(100, 1 - 1e-6) == pytest.approx(0.0019995776251, rel=1e-9)  # by 40 panels of 20 points
    assert disagreement(100, 1 - 1e-8) == pytest.approx(2.0006509593e-4, rel=1e-7)


@pytest.mark.parametrize("classes", [2, 5])
def test_thresholds_keep_what_they_should(classes):
    s = np.random.default_rng(0).standard_normal((100_000, classes))
    for rule, mean in (("keep-hard", np.less), ("keep-easy", np.greater)):
        selection = make_selection(rule, classes, keep=0.3)
        kept = selection.keep_probability(s)
        assert selection.keep_fraction(classes).mean() == pytest.approx(0.3, abs=1e-9)
        assert kept.mean() == pytest.approx(0.3, abs=0.006)
        assert mean(
            entropy(softmax(s, axis=1)[kept == 0], axis=1).mean(), entropy(softmax(s, axis=1)[kept == 1], axis=1).mean()
        )


def test_the_reach_is_found_where_newtons_method_cycles():
    selection = make_selection("keep-easy", 10, keep=0.05)
    assert selection.keep_fraction(10).mean() == pytest.approx(0.05, rel=1e-8)


# -- two classes ------------------------------------------------------------------------------------------------------

KEPT = float(KeepHard(0.7).moments(0.0).p)


@pytest.mark.parametrize(
    ("selection", "rule"),
    [
        (Share(), KeepAll()),
        (make_selection("keep-hard", 2, keep=KEPT), KeepHard(0.7)),
        (make_selection("keep-easy", 2, keep=1 - KEPT), KeepEasy(0.7)),
    ],
)
def test_two_classes_are_logistic_regression(selection, rule):
    """The span recipe integrates along one line, to eight digits."""
    binary = predict(selected(0.8, 0.4, 0.01, LOGISTIC, keep=rule))
    ours = predict(SoftmaxProblem(2, selection, 0.8, 0.4, 0.02))
    for name, scale in {"test_error": 1, "overlap": np.sqrt(2), "squared_norm": 2, "keep_fraction": 1}.items():
        noise = NOISE * scale * getattr(ours, f"{name}_se", 0.0) + 1e-9 * (name == "keep_fraction")
        assert scale * getattr(ours, name) == pytest.approx(getattr(binary, name), rel=1e-9, abs=noise), name
    assert ours.test_error_se < 2e-3 * ours.test_error


# -- more classes -----------------------------------------------------------------------------------------------------


def test_the_experiment_agrees():
    problem = SoftmaxProblem(5, make_selection("keep-hard", 5, keep=0.4), 0.8, 0.3, 0.02)
    theory = predict(problem)
    runs = simulate(problem, d=150, trials=16)
    for name in ("test_error", "cross_entropy", "overlap", "squared_norm"):
        se = np.hypot(getattr(theory, f"{name}_se"), getattr(runs, f"{name}_se"))
        assert abs(getattr(theory, name) - getattr(runs, name)) < 4 * se, name


def test_curves_compare_at_equal_rows():
    found = softmax_curves(
        [3], ["random", "keep-hard", "keep-easy"], [0.5], [8.0], [1e-4], tolerance=0.03, trials=3, d=40
    )
    found = found.set_index("rule")
    assert found["test_error"].idxmin() == "keep-hard"
    assert found["test_error"].idxmax() == "keep-easy"
    assert found["generated"].to_numpy() == pytest.approx(16.0)
    assert np.all(found["z"].abs() < 6)


NINE = SoftmaxProblem(9, Share(), 0.5, 1.0, 1.0)
test_numbers_out_of_range_are_refused = out_of_range(
    (partial(replace, NINE), {"classes": 1, "rho": 1.5, "phi": 0.0, "lam": 0.0}),
    (partial(simulate, NINE, trials=2), {"d": 10}),
)
test_bad_input_is_refused = refused(
    {
        "kept = 0 must be positive": lambda: softmax_curves([3], ["random"], [0.5], [0.0], [0.1]),
        "lam = -1 must be positive": lambda: softmax_curves([3], ["random"], [0.5], [1.0], [-1.0]),
        "must be a selection of K classes": lambda: replace(NINE, selection=KeepHard(1.0)),
        "classes = 9 must be the selection's": lambda: replace(
            NINE, selection=make_selection("keep-hard", 3, keep=0.5)
        ),
        "rule keep-hard takes a keep": lambda: make_selection("keep-hard", 3),
        "further from 0 and 1": lambda: make_selection("keep-hard", 3, keep=1e-30),
        "rule keep-all takes no keep": lambda: make_selection("keep-all", 2, keep=0.5),
    }
)


def test_a_missed_tolerance_is_an_error():
    with pytest.raises(ConvergenceError, match="131072 points; tolerance = 1e-09 must be at least"):
        predict(SoftmaxProblem(2, Share(), 0.5, 1.0, 1.0), tolerance=1e-9)
    with pytest.raises(ConvergenceError, match=r"points the selection leaves fewer than 256; keep more"):
        predict(SoftmaxProblem(2, make_selection("keep-hard", 2, keep=1e-4), 0.9, 5e-5, 5e-6), tolerance=5e-3)


def test_as_many_rows_as_dimensions_have_a_solution():
    """Whose search starts at ln(phi) = 2e-16, which is 0 but for rounding."""
    (row,) = softmax_curves({4}, ["keep-easy"], [0.5], [1.0], [0.1], tolerance=0.1, trials=0).to_dict("records")
    assert 0.42 < row["test_error"] < 0.46
