"""Where the Gaussian theory holds `check` must say so, where it does not it must say why, and predict from the rows."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from dp_theory import Features, InputError, KeepEasy, KeepHard, Random, check, predict, read_features
from dp_theory.validity import assumptions
from dp_theory.validity.experiment import measured_errors
from dp_theory.validity.moments import KeptMoments
from dp_theory.validity.recipe import LAWS, predicted_error
from dp_theory.validity.view import View

D, N, LAM = 100, 5000, 0.05
SPARSE = np.r_[1, 0.7, 0.5, np.zeros(D - 3)]
TESTS = ("normal_selector", "normal_truth", "normal_plane", "uniform_flips", "equal_lengths")


def rows(kind="normal", seed=0, flip=0.05, d=D, n=N, sparse=False):
    """X, y, w_s, w_g of linearly labelled rows of some kind."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(d) / np.sqrt(d)
    selector = truth + 0.6 * rng.standard_normal(d) / np.sqrt(d)
    x = rng.choice([-1.0, 1.0], (n, d)) if kind == "signs" else rng.standard_normal((n, d))
    if kind == "lengths":
        x *= np.sqrt(rng.choice([0.3, 1.7], (n, 1)))
    if kind == "spectrum":
        x *= np.arange(1, d + 1.0) ** -0.3
    if sparse:
        selector, truth = SPARSE[:d], 0.6 * truth
        truth[:3] += 0.45
    y = np.where(x @ truth > 0, 1.0, -1.0) * np.where(rng.random(n) < flip, -1, 1)
    return x, y, selector, truth


def features(kind="normal", known=False, **options):
    x, y, selector, truth = rows(kind, **options)
    return Features.of(x, y, w_s=selector, w_g=truth if known else None)


def verdicts(found):
    return dict(zip(found.assumptions["assumption"], found.assumptions["verdict"], strict=True))


# -- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["normal", "signs"])
def test_dense_directions_pass(kind):
    found = check(features(kind, seed=1), sizes=(50, 200), trials=16)
    assert set(verdicts(found).values()) <= {"holds", "fails, harmless"}
    assert list(verdicts(found).values()).count("holds") >= 8
    assert found.gaussian_holds
    assert found.law_holds


def test_few_normal_rows_pass():
    """Theory is judged by what such rows are on average, of which these are a sample."""
    found = [check(features(seed=seed, d=20, n=1000), ["keep-hard"], sizes=(20, 80), seed=seed) for seed in range(6)]
    assert all(one.gaussian_holds for one in found)


def test_a_sparse_selector_is_flagged_and_the_measured_law_predicts_its_errors():
    found = check(features("signs", sparse=True), sizes=(50, 200, 400), trials=20)
    said = verdicts(found)
    assert said["selector's score t is normal"] == "fails"
    assert said["kept labels do not pull off the plane"] == "fails"
    assert said["truth's score g is normal"] == said["rows are equally long off the plane"] == "holds"
    assert not found.gaussian_holds
    assert found.law_holds
    hard = found.curves.query("rule == 'keep-hard' and kept == 400").iloc[0]
    assert abs(hard["z"]) > 15
    assert abs(hard["z_law"]) < 4
    assert hard["gaussian"] < 0.75 * hard["measured"]


def test_a_selector_with_two_scores_keeps_no_row_and_is_flagged():
    x, y, _, _ = rows("signs")
    found = check(Features.of(x, y, w_s=np.eye(D)[0]), ["random", "keep-hard"], sizes=(100,), trials=4)
    hard = found.curves.query("rule == 'keep-hard'").iloc[0]
    assert hard["share"] == 0
    assert hard["selector"] == 0.5
    assert np.isnan(hard["measured"])
    assert not found.gaussian_holds


def test_where_nothing_is_measured_nothing_holds():
    with pytest.raises(InputError, match=r"keep = 0\.003: too few rows are kept to measure anything, 8 at most"):
        check(features(d=20), ["keep-hard"], keep=0.003)


def test_lengths_are_told_from_other_failures():
    found = check(features("lengths", n=8000), ["random"], sizes=(100, 300), trials=16)
    said = verdicts(found)
    assert said["rows are equally long off the plane"] == "fails"
    assert said["labels are sign(g), flips uniform"] == "holds"
    assert found.law_holds
    curves = found.curves
    assert (abs(curves["lengths"] / curves["measured"] - 1) < 0.06).all()
    assert (curves["labels"] / curves["lengths"] > 1.05).all()


def test_labels_that_err_near_the_boundary_are_told_from_uniform_flips():
    x, _, selector, truth = rows()
    margin = x @ truth / np.linalg.norm(truth)
    rng = np.random.default_rng(1)
    near = np.sign(margin + 0.3 * rng.standard_normal(len(x)))
    even = np.sign(margin) * np.where(rng.random(len(x)) < np.mean(near != np.sign(margin)), -1, 1)
    p = [assumptions.uniform_flips(View.of(Features.of(x, y, w_s=selector), LAM)).p_value for y in (near, even)]
    assert p[0] < 1e-6
    assert p[1] > 1e-3


# -- tests ------------------------------------------------------------------------------------------------------------


def test_p_values_of_normal_rows_are_uniform():
    """40 sets of rows: no test rejects more often than its level says, give or take what 40 can show."""
    rules = [KeepHard.with_keep_fraction(0.3), KeepEasy.with_keep_fraction(0.3)]
    found = []
    for seed in range(40):
        view = View.of(features(seed=seed, d=40, n=1500), LAM)
        p = [getattr(assumptions, name)(view).p_value for name in TESTS]
        found.append([*p, assumptions.no_pull(view, rules).p_value, assumptions.isotropic_rest(view, rules).p_value])
    rejected = (np.array(found) < 0.1).sum(0)
    assert (rejected <= stats.binom.ppf(0.999, 40, 0.1)).all(), rejected
    assert np.array(found).min() > 1e-4


@pytest.mark.parametrize("known", [True, False])
def test_labels_of_many_normal_rows_pass(known):
    """Many rows show how sharply labels change: the edge of a group there, or a blur of usual size, would not do."""
    views = [View.of(features(seed=seed, d=40, n=6000, known=known), LAM) for seed in range(80)]
    combined: Any = stats.combine_pvalues([assumptions.uniform_flips(view).p_value for view in views])
    assert 1e-3 < combined.pvalue < 1 - 1e-3


@pytest.mark.parametrize("known", [True, False])
def test_a_truth_that_was_fitted_does_not_pull(known):
    """Nor does the noise shrink, which it would by a third if the labels that fitted it were not taken out."""
    p = []
    for seed in range(12):
        view = View.of(features(seed=seed, d=150, n=1500, known=known), LAM)
        p.append(assumptions.no_pull(view, [KeepHard.with_keep_fraction(0.3)]).p_value)
    combined: Any = stats.combine_pvalues(p, "stouffer")
    assert 1e-3 < combined.pvalue < 1 - 1e-3


@pytest.mark.parametrize(("square", "p"), [(0.340, 0.4928), (0.631, 0.1), (0.752, 0.05), (1.035, 0.01)])
def test_anderson_darling_has_stephens_points(square, p):
    assert assumptions.anderson_p(square) == pytest.approx(p, rel=0.03)


# -- predictions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [Random(0.4), KeepHard(0.5), KeepEasy(0.9)])
@pytest.mark.parametrize("kind", ["normal", "spectrum"])
def test_every_law_of_normal_rows_is_the_gaussian_theory(rule, kind):
    """Of a known truth, up to the noise of 40,000 rows; with the recipe of dp_theory.span at the same angles."""
    view = View.of(features(kind, known=True, d=60, n=40_000), LAM)
    p = rule.moments(0.0).p
    for kept in (40, 300):
        limit = predict(view.problem(rule, 60 / kept * p, LAM * p)).test_error
        gaussian = view.flips + (1 - 2 * view.flips) * limit
        found = [predicted_error(view, law(view), rule, kept, LAM) for law in LAWS.values()]
        assert_allclose([*found, KeptMoments(view, rule).error(kept, LAM)], gaussian, rtol=0.025)


def test_an_estimated_truth_predicts_as_a_known_one():
    """With 20 rows a direction the truth is off by an angle of .17, which alone would be an error of .055."""
    known, estimated = (View.of(features(known=known, d=150, n=3000, flip=0.0), LAM) for known in (True, False))
    assert estimated.tangent > 0.15
    assert estimated.rho == pytest.approx(known.rho, abs=0.02)
    assert known.flips == pytest.approx(estimated.flips, abs=0.002)
    for law in LAWS.values():
        errors = [predicted_error(view, law(view), Random(0.3), 1000, LAM) for view in (known, estimated)]
        assert errors[1] == pytest.approx(errors[0], rel=0.04)


def test_kept_moments_are_those_of_ridge_regression_on_many_rows():
    """With all kept rows but for one, and no noise left, the score is that of the fit itself."""
    view = View.of(features(d=20, n=4000), LAM)
    moments = KeptMoments(view, KeepHard(0.7))
    errors = measured_errors(view, KeepHard(0.7), np.array([40, 400]), LAM, 60, 0)
    for place, kept in enumerate((40, 400)):
        se = errors[:, place].std(ddof=1) / np.sqrt(60)
        assert abs(errors[:, place].mean() - moments.error(kept, LAM)) < 4 * se


def test_curves_do_not_depend_on_units_or_a_rotation():
    x, y, selector, truth = rows("spectrum", d=20, n=2000)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((20, 20)))[0]
    one, other = (
        check(Features.of(a, y, w_s=s, w_g=g), ["keep-hard"], sizes=(30, 100), trials=4)
        for a, s, g in ((x, selector, truth), (7 * x @ turn + 3, selector @ turn, truth @ turn))
    )
    assert_allclose(other.curves.drop(columns="rule"), one.curves.drop(columns="rule"), rtol=1e-6)


def test_test_rows_test_and_no_prediction_knows_of_them():
    """Rows that only test: the same curves as the rows' own, and half of them flipped errs on half."""
    x, y, selector, truth = rows("spectrum", d=20, n=4000)
    given = {"w_s": selector, "w_g": truth}
    alone, fresh, flipped = (
        check(Features.of(x[:2500], y[:2500], test=test, **given), ["random", "keep-hard"], sizes=(50, 400), trials=8)
        for test in (None, (x[2500:], y[2500:]), (x[2500:], y[2500:] * np.resize([1, -1], 1500)))
    )
    predictions = ["gaussian", "measured law"]
    for found in (fresh, flipped):
        assert found.curves[predictions].equals(alone.curves[predictions])
    assert_allclose(fresh.curves["measured"], alone.curves["measured"], atol=0.03)
    assert (fresh.curves["measured"] != alone.curves["measured"]).all()
    assert (fresh.curves["se"] > 0.005).all()  # as certain as 1,500 rows
    assert fresh.law_holds
    assert_allclose(flipped.curves["measured"], 0.5, atol=0.05)
    assert not flipped.law_holds


# -- input ------------------------------------------------------------------------------------------------------------


def test_several_classes_are_taken_in_pairs_or_unions(tmp_path):
    rng = np.random.default_rng(0)
    means = np.array([[0, 0, 9, 0], [0, 0, 0, 9], [9, 0, 0, 0], [9, 2, 0, 0]])
    label = rng.integers(4, size=2000)
    x = means[label] + rng.standard_normal((2000, 4))
    names = np.array(["ant", "bee", "cat", "dog"])[label]
    np.savez(tmp_path / "f.npz", X=x, y=names)
    assert read_features(tmp_path / "f.npz").classes == ("cat", "dog")
    union = read_features(tmp_path / "f.npz", classes=("ant+cat", "bee"))
    assert union.classes == ("ant+cat", "bee")
    assert Features.of(x, label.astype(float), classes=("1", "2")).classes == ("1.0", "2.0")
    assert len(union.y) == round(0.9 * np.isin(label, (0, 1, 2)).sum())
    assert np.mean(union.y > 0) == pytest.approx(2 / 3, abs=0.05)
    assert read_features(tmp_path / "f.npz", components=3).x.shape[1] == 3
    with pytest.raises(InputError, match=r"classes = ant,cow: must be two of ant, bee, cat, dog"):
        read_features(tmp_path / "f.npz", classes=("ant", "cow"))


def broken(**changed):
    x, y, selector, _ = rows(d=20, n=500)
    return {"X": x, "y": y, "w_s": selector} | changed


X = broken()["X"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X}, "lacks y"),
        (broken(z=X), "has z: its arrays must be"),
        (broken(X=X[0]), r"X has shape \(20,\): it must be \(rows, columns\)"),
        (broken(X=np.where(X > 3, np.nan, X)), "X has nan or inf, first in row"),
        (broken(X=X[:50], y=np.ones(50)), "X has 50 rows: a check takes at least 100"),
        (broken(y=np.ones(499)), r"y has shape \(499,\): X has 500 rows, so that it must be \(500,\)"),
        (broken(y=np.ones(500)), "there must be two classes"),
        (broken(y=np.full(500, np.nan)), "y has nan or inf"),
        (broken(y=np.arange(500)), "classes = 500 must be at most a tenth of the rows"),
        (broken(X_test=X), "lacks y_test: its arrays must be"),
        (broken(X_test=X[:, :3], y_test=broken()["y"]), "X_test has 3 columns: it must have the 20 of X"),
        (broken(X_test=X, y_test=np.ones(500)), "y_test is 1 in all rows"),
        (broken(w_s=np.ones(3)), r"w_s has shape \(3,\): with 20 columns in X it must be \(20,\)"),
        (broken(w_s=np.zeros(20)), "w_s must be finite and not zero"),
        (broken(X=np.ones((500, 20))), "X has no variance"),
        (broken(X=np.repeat(X, 8, axis=1) + 1e-3 * np.random.default_rng(0).standard_normal((500, 160))), None),
    ],
)
def test_wrong_files_are_told_in_a_line(tmp_path, arrays, message):
    np.savez(tmp_path / "f.npz", **arrays)
    if message is None:
        arrays = {name: value for name, value in arrays.items() if name != "w_s"}
        np.savez(tmp_path / "f.npz", **arrays)
        assert View.of(read_features(tmp_path / "f.npz"), LAM).dimension == 20  # the ridge hides the others
        return
    with pytest.raises(InputError, match=message) as raised:
        check(read_features(tmp_path / "f.npz"))
    assert "\n" not in str(raised.value)


def test_classes_and_ridges_that_leave_nothing_are_named():
    x, y, selector, _ = rows(d=20, n=1000)
    with pytest.raises(InputError, match=r"y_test holds none of the classes 1\.0, -1\.0 of y: it has -7\.0, 7\.0"):
        Features.of(x, y, w_s=selector, test=(x, 7 * y))
    with pytest.raises(InputError, match=r"lam = 1e\+09 hides 20 of the 20 directions"):
        View.of(Features.of(x, y, w_s=selector), 1e9)


def test_too_few_rows_a_direction_or_labels_of_chance_are_refused(tmp_path):
    x, y, selector, _ = rows(d=100, n=600)
    with pytest.raises(InputError, match=r"X has 600 rows in 100 directions: .* fewer components \(60\)"):
        check(Features.of(x, y, w_s=selector))
    chance = np.random.default_rng(1).choice([-1.0, 1.0], 600)
    with pytest.raises(InputError, match="y has nothing to do with X"):
        check(Features.of(x[:, :20], chance, w_s=selector[:20]))
    alone = np.zeros((600, 20))
    alone[:, 1:], alone[7, 0] = x[:, 1:20], 30.0
    with pytest.raises(InputError, match="row 7 of those used has a direction of X to itself"):
        check(Features.of(alone, y, w_s=selector[:20]))
    (tmp_path / "f.npz").write_bytes(b"PK\3\4 no archive")
    np.save(tmp_path / "f.npy", x)
    for name in ("f.npz", "f.npy"):
        with pytest.raises(InputError, match=r"is no \.npz file of plain arrays"):
            read_features(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"w_s": np.ones(3), "components": 5}, r"w_s has shape \(3,\): with 20 columns in X"),
     ({"lam": -1}, "lam = -1 must be positive"), ({"seed": -1}, "seed = -1 must be at least 0")],
)  # fmt: skip
def test_wrong_options_of_features_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Features.of(*rows(d=20, n=500)[:2], **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"lam": 0}, "lam = 0 must be positive"), ({"rules": ["keep-hrad"]}, "unknown rule"), ({"trials": 2}, "trials"),
     ({"sizes": []}, "sizes is empty"), ({"sizes": [4999]}, "sizes = 4999 must be at most 3750"),
     ({"keep": 2}, "keep = 2 must lie in"),
     ({"rules": ["random", "random"]}, "each once"), ({"level": 1}, "level = 1 must lie in")],
)  # fmt: skip
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        check(features(d=20), **options)


def test_the_order_of_the_classes_does_not_matter():
    x, y, selector, truth = rows(seed=2)
    views = [View.of(Features.of(x, sign * y, w_s=selector, w_g=truth), LAM) for sign in (1.0, -1.0)]
    assert views[1].flips == pytest.approx(views[0].flips)
    assert abs(views[1].rho) == pytest.approx(abs(views[0].rho))
    assert views[0].flips < 0.1


@pytest.mark.parametrize("lam", [1e-3, 1e-6])
def test_kept_moments_with_hardly_any_ridge(lam):
    """As many directions as rows: δ rises as 1/λ, and a damped iteration is slow to find it."""
    view = View.of(features(flip=0.0, d=20, n=1000), lam)
    assert 0.05 < KeptMoments(view, Random(1.0)).error(20, lam) < 0.45


def test_three_test_rows_without_an_error_are_no_proof():
    x, y, selector, _ = rows(d=20, n=1000, flip=0.0)
    best, y_test = np.linalg.lstsq(x, y, rcond=None)[0], np.array([1.0, 1.0, -1.0])
    test = np.outer(y_test, best) / (best @ best), y_test  # any learner is right on these
    found = check(Features.of(x, y, w_s=selector, test=test), ["random"], sizes=[100], trials=4)
    assert found.curves["measured"].iloc[0] == 0
    assert abs(found.curves["z"].iloc[0]) < 2
