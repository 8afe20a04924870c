"""The practice loop itself at finite d, every row drawn: the reference that its theory is held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import solve

from dp_base.errors import InputError
from dp_theory.numerics.checks import LARGEST_D, Array, require_size, whole_rows
from dp_theory.numerics.parallel import run_jobs
from dp_theory.practice.additions import Addition
from dp_theory.practice.cohorts import weighted_moments
from dp_theory.practice.practice_problem import PracticeProblem, PracticeSimulation
from dp_theory.practice.prediction import ORDER, solve_stages
from dp_theory.ridge.simulators.trials import check_size, mean_and_se
from dp_theory.span.experiment import fit_convex
from dp_theory.span.flips import Flips, draw_labels
from dp_theory.span.losses import Square

if TYPE_CHECKING:
    from jaxtyping import Float

MOST_CANDIDATES = 1 << 20  # drawn at a time


def simulate_practice(
    problem: PracticeProblem, d: int | None, trials: int, *, seed: int, workers: int | None = 1
) -> PracticeSimulation:
    """Run the loop `trials` times in dimension d, by default the spectrum's length; trial k draws from
    SeedSequence(seed, spawn_key=(k,)).

    The theory resolves plans first, so that both use the same thresholds and sizes. Arrays of parameters are simulated
    cell by cell with common random numbers. Raises InputError where d or trials is too small, and for rows that are
    known by their moments alone.
    """
    size = None if problem.spectrum is None else len(problem.eigenvalues)
    d = check_size(size if d is None else d, trials)
    require_size("d", d, 3, LARGEST_D, "it is the dimension")
    if size is not None and d != size:
        raise InputError(f"d = {d} must be the length of the spectrum, {size}")
    jobs = []
    for cell in problem.cells():
        rounds = _resolved_rounds(cell)
        jobs += [(cell, rounds, d, seed, trial) for trial in range(trials)]
    runs = run_jobs(practice_trial, jobs, workers)
    outputs, row_errors, kept = (
        np.reshape(part, (*problem.shape, trials, *np.shape(part)[1:])) for part in zip(*runs, strict=True)
    )
    mean, se = mean_and_se(outputs, axis=-3)
    return PracticeSimulation(
        test_error=mean[..., 0, :],
        test_error_se=se[..., 0, :],
        overlap=mean[..., 1, :],
        overlap_se=se[..., 1, :],
        squared_norm=mean[..., 2, :],
        squared_norm_se=se[..., 2, :],
        d=d,
        trials=trials,
        seed=seed,
        test_errors=outputs[..., 0, :],
        row_errors=row_errors,
        kept=kept,
    )


def _resolved_rounds(cell: PracticeProblem) -> list[Addition]:
    """The rows that each stage of a loop with scalar rules is the first to have, with plans resolved."""
    rounds = (cell.initial_rows, *solve_stages(cell).additions)
    drawn = [rows for rows in rounds if isinstance(rows, Addition)]
    if len(drawn) < len(rounds):
        raise InputError("rows that are known by their moments alone cannot be drawn: simulate takes rules")
    return drawn


def practice_trial(
    problem: PracticeProblem, rounds: Sequence[Addition], d: int, seed: int, trial: int
) -> tuple[Float[np.ndarray, "3 stages"], Float[np.ndarray, "rounds stages"], Float[np.ndarray, " stages"]]:
    """One run of a loop with scalar rules, whose rounds are resolved, in the whitened eigenbasis of Σ.

    Returns test error, overlap and squared norm of each stage; the errors of each stage on the rows of each round that
    were misclassified when they were added; and the rows kept so far, in units of n.
    """
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(trial,))))
    n = d / problem.phi
    labeller, truth = _directions(problem, d)
    pool = _Pool(problem, n, d)
    stages = len(rounds)
    thetas = np.zeros((0, d))
    kept = np.zeros(stages)
    wrong_rows = []
    for stage, addition in enumerate(rounds):
        selector = thetas[-1] if stage else None
        rows = draw_rows(addition, addition.flips(problem.flip), n, labeller, selector, rng)
        kept[stage] = len(rows.y) / n
        wrong = rows.y * rows.t < 0
        wrong_rows.append((rows.z[wrong], rows.y[wrong]))
        pool.add(rows)
        thetas = np.vstack([thetas, pool.fit(stage)])
    outputs = np.array([_measure(theta, truth) for theta in thetas]).T
    row_errors = [_errors(z, y, thetas) for z, y in wrong_rows[1:]]
    return outputs, np.reshape(row_errors, (-1, stages)), np.cumsum(kept)


def _directions(problem: PracticeProblem, d: int) -> tuple[Array, Array]:
    """The unit vectors (d,) along Σ^½w_g and Σ^½w0."""
    if problem.spectrum is not None:
        return problem.labeller_direction, problem.truth_direction
    cosine = problem.truth_direction[0]
    labeller = np.eye(d)[0]
    return labeller, cosine * labeller + np.sqrt(1 - cosine**2) * np.eye(d)[1]


class KeptRows(NamedTuple):
    """The kept rows of a round."""

    z: Float[np.ndarray, "rows d"]  # the rows, whitened
    y: Float[np.ndarray, " rows"]  # observed labels
    t: Float[np.ndarray, " rows"]  # scores of the selector
    weight: Float[np.ndarray, " rows"]  # in the training loss


class _Pool:
    """The rows that the next stage trains on: for the square loss their moments, for others the rows themselves."""

    def __init__(self, problem: PracticeProblem, n: float, d: int) -> None:
        self._problem = problem
        self._n = n
        self._eigenvalues = problem.eigenvalues if problem.spectrum is not None else np.ones(d)
        self._gram = np.zeros((d, d))
        self._moment = np.zeros(d)
        self._rows: list[tuple[Array, Array, Array]] = []  # rows, labels and weights

    def add(self, rows: KeptRows) -> None:
        if not self._problem.accumulate:
            self._gram[:] = 0.0
            self._moment[:] = 0.0
            self._rows.clear()
        x = rows.z * np.sqrt(self._eigenvalues)
        if isinstance(self._problem.loss, Square):
            self._gram += (x * rows.weight[:, None]).T @ x
            self._moment += x.T @ (rows.weight * rows.y)
        else:
            self._rows.append((x, rows.y, rows.weight / self._n))

    def fit(self, stage: int) -> Array:
        ridge = self._problem.ridges[stage]
        if not isinstance(self._problem.loss, Square):
            x, y, weights = (np.concatenate(part) for part in zip(*self._rows, strict=True))
            w = fit_convex(x, y, weights, ridge, self._problem.loss)
        elif ridge:
            penalised = self._gram + self._n * ridge * np.eye(len(self._gram))
            w = solve(penalised, self._moment, assume_a="pos")
        else:  # the shortest w where the rows do not determine it
            w = np.linalg.lstsq(self._gram, self._moment)[0]
        return np.sqrt(self._eigenvalues) * w


def _measure(theta: Array, unit: Array) -> Array:
    """Angle to the unit vector over π, accurate when small; component along it; squared length: (3,)."""
    along = theta @ unit
    return np.array([np.arctan2(np.linalg.norm(theta - along * unit), along) / np.pi, along, theta @ theta])


def _errors(z: Array, y: Array, thetas: Array) -> Array:
    """The share of rows z (rows, d) with labels y that each learner gets wrong (stages,), nan if there are none."""
    if not len(y):
        return np.full(len(thetas), np.nan)
    return np.mean(y[:, None] * (z @ thetas.T) < 0, axis=0)


def draw_rows(
    addition: Addition,
    flip: Flips,
    n: float,
    labeller: Float[np.ndarray, " d"],
    selector: Float[np.ndarray, " d"] | None,
    rng: np.random.Generator,
) -> KeptRows:
    """Draw the rows that a round keeps. `labeller` is the unit vector along Σ^½w_g.

    `selector` is the θ that selects, or None for the first pool, whose scores are the labeller's. Only (t, ζ), in the
    plane of the two, decides what is kept; the rest is drawn for kept rows alone, and candidates in parts that fit into
    memory.
    """
    view = labeller if selector is None else selector / np.linalg.norm(selector)
    cosine = float(np.clip(view @ labeller, -1, 1))
    off = labeller - cosine * view
    sine = np.linalg.norm(off) if selector is not None else 0.0
    if sine > 0:
        off = off / sine
    keep_fraction = weighted_moments(addition, flip, cosine, ORDER)[1].sum()
    candidates = whole_rows("candidates", addition.candidates_at(keep_fraction) * n)
    parts = []
    for start in range(0, max(candidates, 1), MOST_CANDIDATES):
        t, zeta = rng.standard_normal((2, min(MOST_CANDIDATES, candidates - start)))
        y = draw_labels(flip, cosine * t + sine * zeta, rng)
        keep, weight = addition.select(t, y)
        chosen = rng.random(len(t)) < keep
        parts.append((t[chosen], zeta[chosen], y[chosen], weight[chosen]))
    t, zeta, y, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    z = rng.standard_normal((len(t), len(labeller)))
    z += np.outer(t - z @ view, view)
    if sine > 0:
        z += np.outer(zeta - z @ off, off)
    return KeptRows(z, y, t, weight)
