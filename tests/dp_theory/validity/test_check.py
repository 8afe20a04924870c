"""Where the Gaussian theory holds `check` must say so, where it does not it must say why, and predict from the rows."""

from functools import partial

import numpy as np
from numpy.testing import assert_allclose

from dp_theory import Features, check
from dp_theory.validity import assumptions
from dp_theory.validity.view import FeatureView
from tests.dp_theory.validity.rows import LAM_PER_ROW, make_features, make_rows
from tests.refusals import out_of_range, refused

# -- verdicts


def test_the_theory_holds_once_that_is_shown(patch):
    """Trials are added until it is, unless there is no time."""
    asked = partial(check, make_features(seed=1, d=20, n=60_000), ["random"], kept=(20,), trials=25)
    found = asked()
    assert found.gaussian == found.law == "holds"
    assert found.needed == (0, 0)
    assert found.trials > 25
    patch("dp_theory.validity.check.SECONDS", 0)
    hasty = asked()
    assert (hasty.gaussian, hasty.trials) == ("undecided", 25)
    assert hasty.needed.trials > 0


def test_a_sparse_selector_is_flagged_and_the_measured_law_predicts_its_errors():
    found = check(make_features(kind="signs", sparse=True), kept=(50, 200, 400), trials=20)
    said = found.assumptions.set_index("assumption")["verdict"]
    assert said["selector's score t is normal"] == "rejected"
    assert said["truth's score g is normal"] == "not rejected"
    assert said["rows are equally long off the plane"] == "not rejected"
    assert found.gaussian != "holds"
    assert found.law != "fails"
    hard = found.curves.query("rule == 'keep-hard' and kept == 400").iloc[0]
    assert abs(hard["z"]) > 15
    assert abs(hard["z_law"]) < 4
    assert hard["gaussian"] < 0.75 * hard["measured"]


def test_lengths_are_told_from_other_failures():
    found = check(make_features(kind="lengths", n=8000), ["random"], kept=(100, 300), trials=16)
    said = found.assumptions.set_index("assumption")["verdict"]
    assert said["rows are equally long off the plane"] == "rejected"
    assert said["labels are sign(g), flips uniform"] == "not rejected"
    assert found.law == "holds"


def test_labels_that_err_near_the_boundary_are_told_from_uniform_flips():
    """Which pass in test_assumptions.py."""
    rows = make_rows()
    margin = rows.x @ rows.truth / np.linalg.norm(rows.truth)
    near = np.sign(margin + 0.3 * np.random.default_rng(1).standard_normal(len(margin)))
    view = FeatureView.of(Features.of(rows.x, near, w_s=rows.selector), LAM_PER_ROW)
    assert assumptions.uniform_flips(view).p_value < 1e-6


# -- experiments


def test_curves_do_not_depend_on_units_or_a_rotation():
    rows = make_rows("spectrum", d=20, n=2000)
    turn, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((20, 20)))
    features = Features.of(rows.x, rows.y, w_s=rows.selector)
    turned = Features.of(7 * rows.x @ turn + 3, rows.y, w_s=rows.selector @ turn)
    one, other = (check(each, ["keep-hard"], kept=(30, 100), trials=4) for each in (features, turned))
    assert_allclose(other.curves.drop(columns="rule"), one.curves.drop(columns="rule"), rtol=1e-6)


def test_test_rows_test_and_no_prediction_knows_of_them():
    """Rows that only test: the same curves as the rows' own, and half of them flipped errs on half."""
    rows = make_rows("spectrum", d=20, n=4000)
    x_test = rows.x[2500:]
    y_test = rows.y[2500:]
    half_flipped = y_test * np.resize([1, -1], 1500)

    def checked(test):
        features = Features.of(rows.x[:2500], rows.y[:2500], w_s=rows.selector, test=test)
        return check(features, ["random", "keep-hard"], kept={50, 400}, trials=8)

    alone = checked(None)
    fresh = checked((x_test, y_test))
    flipped = checked((x_test, half_flipped))
    predictions = ["gaussian", "measured law"]
    for found in (fresh, flipped):
        assert found.curves[predictions].equals(alone.curves[predictions])
    assert_allclose(fresh.curves["measured"], alone.curves["measured"], atol=0.03)
    assert (fresh.curves["measured"] != alone.curves["measured"]).all()
    assert (fresh.curves["se"] > 0.005).all()  # as certain as 1,500 rows
    assert fresh.law != "fails"
    assert_allclose(flipped.curves["measured"], 0.5, atol=0.05)
    assert flipped.law == "fails"


FEW = partial(check, make_features(d=20), "keep-hard")
test_numbers_out_of_range_are_refused = out_of_range(
    (FEW, {"trials": 2, "keep": 2.0, "lam_per_row": 0.0, "seed": -1, "tolerance": 0.0})
)
test_wrong_options_are_refused = refused(
    {
        "each once": lambda: check(make_features(d=20), ["random", "random"]),
        "kept = 4999 must be at most 3750": lambda: FEW(kept=[4999]),
        r"keep = 0\.003: too few rows are kept to measure anything, 8 at most": lambda: FEW(keep=0.003),
    }
)
