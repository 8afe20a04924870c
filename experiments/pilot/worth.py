"""How many plain samples those of practice are worth, from small runs: error ~ n^-b, with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import chi2

from experiments.comparing.ratios import LEVEL

COVERED = (1 - LEVEL) / 2, (1 + LEVEL) / 2  # the quantiles of an interval
DRAWS = 4000


class Interval(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class Worth(NamedTuple):
    """exponent: the b of static error ~ n^-b. ratio: how many plain samples one of practice is worth.

    The ratio is inf if practice gains and static does not, and its interval may end in 0 or inf.
    """

    exponent: Interval
    ratio: Interval


def worth(static: Mapping[Any, Sequence[float]], practice: Sequence[float], made: float, images: int) -> Worth:
    """From the errors of static runs by pool size, at least two, and of practice with `made` samples.

    All have the same seeds, and were measured on as many images. A line is fitted to the logarithms of the static
    errors; practice is worth exp(gain / b), the gain being its distance from the line. The interval is that of the
    spread from run to run, taken as equal for all sizes; with one seed, that of the images.
    """
    sizes = sorted(static)
    errors = np.log([[_positive(error, images) for error in each] for each in (*(static[n] for n in sizes), practice)])
    arms, seeds = errors.shape
    x = np.log(sizes)
    rng = np.random.default_rng(0)
    if seeds > 1:
        freedom = arms * (seeds - 1)
        spread = np.sqrt(
            errors.var(axis=1, ddof=1).mean() * freedom / chi2.rvs(freedom, size=(DRAWS, 1), random_state=rng)
        )
        smallest = 1 / (12**0.5 * images * np.exp(errors.mean(axis=1)))  # what counting whole images leaves open
        spread = np.maximum(spread, smallest) / np.sqrt(seeds)
    else:
        share = np.exp(errors[:, 0])
        spread = np.sqrt((1 - share) / (share * images))
    means = errors.mean(axis=1)
    drawn = means + spread * rng.standard_normal((DRAWS, arms))
    exponents, ratios = _read_off(x, np.log(made), drawn)
    (exponent,), (ratio,) = _read_off(x, np.log(made), means[None])
    return Worth(*(_interval(value, each) for value, each in ((exponent, exponents), (ratio, ratios))))


def _positive(error: float, images: int) -> float:
    """The error, or half an image of it if there was none."""
    return max(error, 0.5 / images)


def _read_off(x: np.ndarray, x_practice: float, log_errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exponents and ratios [draws], from log sizes x [sizes], and log errors [draws, sizes and practice]."""
    slope, height = np.polyfit(x, log_errors[:, :-1].T, 1)
    gain = slope * x_practice + height - log_errors[:, -1]
    with np.errstate(divide="ignore", over="ignore"):
        ratio = np.exp(np.clip(gain / -slope, -50, 50))
    return -slope, np.where(slope < 0, ratio, np.where(gain > 0, np.inf, 0.0))


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.quantile(drawn, COVERED, method="nearest")
    return Interval(float(value), float(low), float(high))
