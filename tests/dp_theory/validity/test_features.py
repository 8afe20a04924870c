"""Features are read from files and from matrices; what is wrong with them is told in a line."""

import numpy as np
import pytest
from dp_experiments.cli.theory.check import read_features

from dp_theory import Features, check
from tests.dp_theory.validity.rows import make_features, make_rows
from tests.refusals import refusal, refused


def test_several_classes_are_taken_in_pairs_or_unions():
    rng = np.random.default_rng(0)
    means = np.array([[0, 0, 9, 0], [0, 0, 0, 9], [9, 0, 0, 0], [9, 2, 0, 0]])
    label = rng.integers(4, size=2000)
    x = means[label] + rng.standard_normal((2000, 4))
    names = np.array(["ant", "bee", "cat", "dog"])[label]
    assert Features.of(x, names).classes == ("cat", "dog")
    union = Features.of(x, names, classes={"ant+cat": 1, "bee": -1}.keys())
    assert union.classes == ("ant+cat", "bee")
    assert len(union.y) == round(0.9 * np.isin(label, (0, 1, 2)).sum())
    assert np.mean(union.y > 0) == pytest.approx(2 / 3, abs=0.05)
    assert Features.of(x, label.astype(float), classes=("1", "2")).classes == ("1.0", "2.0")
    with refusal(r"classes = ant,cow: must be two of ant, bee, cat, dog"):
        Features.of(x, names, classes=("ant", "cow"))


ROWS = make_rows(d=20, n=500)
X = ROWS.x
Y = ROWS.y


def arrays_with(**changed):
    """The arrays of a file that can be read, but for what is changed."""
    return {"X": X, "y": Y, "w_s": ROWS.selector} | changed


@pytest.mark.parametrize(
    ("message", "arrays"),
    {
        "lacks y": {"X": X},
        "has z: its arrays must be": arrays_with(z=X),
        "X has nan or inf, first in row": arrays_with(X=np.where(X > 3, np.nan, X)),
        "X has 50 rows: a check takes at least 100": arrays_with(X=X[:50], y=Y[:50]),
        r"y has shape \(499,\): X has 500 rows, so that it must be \(500,\)": arrays_with(y=np.ones(499)),
        "there must be two classes": arrays_with(y=np.ones(500)),
        "classes = 500 must be at most a tenth of the rows": arrays_with(y=np.arange(500)),
        "lacks y_test: its arrays must be": arrays_with(X_test=X),
        "X_test has 3 columns: it must have the 20 of X": arrays_with(X_test=X[:, :3], y_test=Y),
        "X has no variance": arrays_with(X=np.ones((500, 20))),
        "spreads over": arrays_with(X=1e200 * X),
    }.items(),
)
def test_wrong_files_are_told_in_a_line(tmp_path, arrays, message):
    np.savez(tmp_path / "f.npz", **arrays)
    with refusal(message):
        check(read_features(tmp_path / "f.npz"))


def test_a_file_of_another_kind_is_told(tmp_path):
    (tmp_path / "f.npz").write_bytes(b"PK\3\4 no archive")
    np.save(tmp_path / "f.npy", X)
    (tmp_path / "texts.npz").write_text("a text, no pickle\n")
    for name in ("f.npz", "f.npy", "texts.npz"):
        with refusal(r"no \.npz file of plain arrays: File is not a zip file; numpy.savez"):
            read_features(tmp_path / name)


ALONE = X.copy()
ALONE[:, 0] = 0
ALONE[7, 0] = 30.0
CHANCE = np.random.default_rng(1).choice([-1.0, 1.0], 500)
test_rows_that_cannot_be_checked_are_told = refused(
    {
        r"y_test must hold both of the classes 1\.0, -1\.0 of y: it has 1\.0": lambda: Features.of(
            X, Y, w_s=ROWS.selector, test=(X + 1, np.ones(500))
        ),
        r"X has 600 rows in 100 directions: .* 60 principal components": lambda: check(make_features(d=100, n=600)),
        "y has nothing to do with X": lambda: check(Features.of(X, CHANCE, w_s=ROWS.selector)),
        r"the smaller class has 3\.6% of the rows": lambda: Features.of(X, (np.arange(500) < 18) * 1.0),
        "X has 300 distinct rows of 500": lambda: Features.of(X[np.arange(500) % 300], np.arange(500) % 2.0),
        "X_test has 0 distinct rows of 200 that X lacks": lambda: Features.of(X, Y, test=(X[:200], Y[:200])),
        "X_test has 9 distinct rows of 200": lambda: Features.of(X, Y, test=(X[np.arange(200) % 9] + 1, Y[:200])),
        "y has nan or what is masked": lambda: Features.of(X, np.ma.masked_array(Y, np.arange(500) < 3)),
        "must hold a class for each row": lambda: Features.of(X, [np.nan, *np.where(Y[1:] > 0, "ant", "bee")]),
        "row 7 of those used has a direction of X to itself": lambda: check(Features.of(ALONE, Y, w_s=ROWS.selector)),
        r"w_s has shape \(3,\): with 20 columns in X it must be \(20,\)": lambda: Features.of(X, Y, w_s=np.ones(3)),
        "lam_per_row = -1 must be positive": lambda: Features.of(X, Y, lam_per_row=-1),
    }
)
