"""What ridge regression makes of kept rows when all their second moments are measured, not those of a plane (ours).

Selection may leave kept rows that are not isotropic off the plane of selector and truth, and labels that pull there.
Both are in the kept rows' own moments. With E over kept rows, their mean length s̄, and n training rows,

    T = E[xxᵀ/(1 + sδ)],  R = (T + λ)^-1,  δ = tr(E[xxᵀ] R)/(n s̄)         the deterministic equivalent
    w = R E[yx/(1 + sδ)]                                                    the mean of ŵ
    V = R E[((y − x·w)² + sv) xxᵀ/(1 + sδ)²] R/n,  v = tr(E[xxᵀ] V)/s̄       its covariance

so that x·ŵ is normal about x·w with variance xᵀVx, for a row x. The moments are of N rows, whose own noise is in w:
scores are left out one by one (w is ridge regression on all kept rows with weights 1/(1 + sδ)), and of V a share n/N,
that noise, is there already. So this is the error of n rows drawn from the N without replacement, on rows not drawn.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import ndtr

from dp_theory.numerics.checks import Array
from dp_theory.rules import Rule
from dp_theory.validity.view import View

LEVELS = 16  # of s: rows of similar length share their mean
_CLOSE = 1e-12  # relative, of δ


class _Levels(NamedTuple):
    """Kept rows by their length."""

    of_row: np.ndarray  # (N,): which level
    length: Array  # (L,): s
    second: Array  # (L, d, d): E[xxᵀ; level]
    pull: Array  # (L, d): E[yx; level]


class KeptMoments:
    """The second moments of the rows of a view that a rule keeps."""

    def __init__(self, view: View, rule: Rule) -> None:
        self.view = view
        self.q = np.asarray(rule.keep_probability(view.plane[0]), float)
        self.kept_rows = float(self.q.sum())

    @property
    def independent(self) -> float:
        """How many rows the moments are as certain as: N where a rule keeps any row with the same probability."""
        return self.kept_rows**2 / max(float(np.square(self.q).sum()), 1e-300)

    @cached_property
    def _levels(self) -> _Levels:
        x, y, s, q = self.view.x, self.view.y, self.view.lengths, self.q / self.kept_rows
        level = np.searchsorted(np.quantile(s, np.arange(1, LEVELS) / LEVELS), s)
        members = [rows for index in range(LEVELS) if len(rows := np.flatnonzero(level == index))]
        return _Levels(
            np.unique(level, return_inverse=True)[1],
            np.array([s[rows].mean() for rows in members]),
            np.array([(q[rows] * x[rows].T) @ x[rows] for rows in members]),
            np.array([(q[rows] * y[rows]) @ x[rows] for rows in members]),
        )

    def error(self, n: float, lam: float) -> float:
        """P(error) after training on n of the kept rows, lam per row."""
        x, y, s, levels = self.view.x, self.view.y, self.view.lengths, self._levels
        second, mean_length = levels.second.sum(0), float(self.q @ s) / self.kept_rows
        soft, resolvent = self._equivalent(n, lam, second, mean_length)
        weight = self.q * soft[levels.of_row] / self.kept_rows
        leverage = weight * _quadratic(x, resolvent)
        score = (x @ (resolvent @ (soft @ levels.pull)) - leverage * y) / (1 - leverage)
        noise = weight * soft[levels.of_row]
        fixed, rising = (resolvent @ ((noise * part * x.T) @ x) @ resolvent / n for part in (np.square(y - score), s))
        own, more = (float(np.vdot(second, part)) / mean_length for part in (fixed, rising))
        unseen = max(0.0, 1 - n / self.independent)  # share of V that is not in the scores yet
        covariance = fixed + unseen * own / (1 - unseen * more) * rising
        variance = np.maximum(unseen * _quadratic(x, covariance), 1e-12 * np.square(score).mean())
        return float(ndtr(-y * score / np.sqrt(variance)).mean())

    def _equivalent(self, n: float, lam: float, second: Array, mean_length: float) -> tuple[Array, Array]:
        """1/(1 + sδ) of each level, and R."""
        levels, penalty = self._levels, lam * np.eye(len(second))

        def at(delta: float) -> tuple[Array, Array]:
            soft = 1 / (1 + delta * levels.length)
            return soft, np.linalg.inv(np.tensordot(soft, levels.second, axes=1) + penalty)

        def image(delta: float) -> float:
            return float(np.vdot(second, at(delta)[1])) / n / mean_length

        def excess(log: float) -> float:
            return float(np.log(image(np.exp(log))) - log)

        low, high = image(0.0), float(np.trace(second)) / lam / n / mean_length  # it rises: its least and its most
        ends = float(np.log(low)) - _CLOSE, float(np.log(high)) + _CLOSE
        return at(float(np.exp(root_scalar(excess, bracket=ends, xtol=_CLOSE).root)))


def _quadratic(x: Array, matrix: Array) -> Array:
    """xᵀMx of each row (N,)."""
    return np.asarray(((x @ matrix) * x).sum(1))
