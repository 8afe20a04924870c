"""Rows that the tests of this room check: linearly labelled, of laws that the theory fits or does not."""

from typing import NamedTuple

import numpy as np

from dp_theory import Features
from dp_theory.validity.view import FeatureView

COLUMNS = 100
ROWS = 5000
LAM_PER_ROW = 0.05


class Rows(NamedTuple):
    """A matrix (n, d), its labels ±1 (n,), the selector (d,) and the truth (d,)."""

    x: np.ndarray
    y: np.ndarray
    selector: np.ndarray
    truth: np.ndarray


def make_rows(kind="normal", seed=0, flip=0.05, d=COLUMNS, n=ROWS, sparse=False):
    """Rows with flipped labels.

    kind: "normal", random "signs", normal ones of two "lengths", or with a "spectrum". sparse: whether the selector
    looks at three columns only, which count for the truth as well.
    """
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(d) / np.sqrt(d)
    selector = truth + 0.6 * rng.standard_normal(d) / np.sqrt(d)
    x = rng.choice([-1.0, 1.0], (n, d)) if kind == "signs" else rng.standard_normal((n, d))
    if kind == "lengths":
        x *= np.sqrt(rng.choice([0.3, 1.7], (n, 1)))
    if kind == "spectrum":
        x *= np.arange(1, d + 1.0) ** -0.3
    if sparse:
        selector = np.append([1.0, 0.7, 0.5], np.zeros(d - 3))
        truth = 0.6 * truth
        truth[:3] += 0.45
    flips = np.where(rng.random(n) < flip, -1, 1)
    return Rows(x, np.where(x @ truth > 0, 1.0, -1.0) * flips, selector, truth)


def make_features(**options):
    """The features of rows with the options of `make_rows`."""
    rows = make_rows(**options)
    return Features.of(rows.x, rows.y, w_s=rows.selector)


def make_view(lam=LAM_PER_ROW, **options):
    """What the theory sees of such features."""
    return FeatureView.of(make_features(**options), lam)
