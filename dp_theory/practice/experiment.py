"""The practice loop itself at finite d, every row drawn: the reference that its theory is held to."""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import solve

from dp_base.errors import InputError
from dp_theory.numerics.checks import LARGEST_D, Array, require_size, whole_rows
from dp_theory.numerics.parallel import run_jobs
from dp_theory.practice.cohorts import weighted_moments
from dp_theory.practice.practice_problem import Addition, PracticeProblem, PracticeSimulation
from dp_theory.practice.prediction import ORDER, solve_stages
from dp_theory.ridge.simulators.trials import check_size, mean_and_se
from dp_theory.span.experiment import fit_convex
from dp_theory.span.flips import Flips, draw_labels
from dp_theory.span.losses import Square

TOGETHER = 1 << 20  # candidates drawn at a time


def simulate_practice(
    problem: PracticeProblem, d: int | None, trials: int, *, seed: int, workers: int | None = 1
) -> PracticeSimulation:
    """Run the loop `trials` times in dimension d; with a spectrum d is its length, which is then the default.

    Plans are resolved by the theory first, so that theory and experiment use the same thresholds and sizes. Arrays are
    simulated cell by cell with common random numbers: trial k draws from SeedSequence(seed, spawn_key=(k,)). Raises
    InputError where d or trials is too small, and for rows that are known by their moments alone.
    """
    size = None if problem.spectrum is None else len(problem.modes[0])
    d = check_size(size if d is None else d, trials)
    require_size("d", d, 3, LARGEST_D, "it is the dimension")
    if size is not None and d != size:
        raise InputError(f"d = {d} must be the length of the spectrum, {size}")
    cells = [(cell, _drawn_rows(cell)) for cell in problem.cells()]
    jobs = [(cell, rounds, d, seed, trial) for cell, rounds in cells for trial in range(trials)]
    outputs, row_errors, kept = (
        np.reshape(part, (*problem.shape, trials, *np.shape(part)[1:]))
        for part in zip(*run_jobs(practice_trial, jobs, workers), strict=True)
    )
    mean, se = mean_and_se(outputs, axis=-3)
    columns = [x[..., i, :] for i in range(3) for x in (mean, se)]
    return PracticeSimulation(
        *columns, d=d, trials=trials, seed=seed, test_errors=outputs[..., 0, :], row_errors=row_errors, kept=kept
    )


def _drawn_rows(cell: PracticeProblem) -> list[Addition]:
    """The rows of every stage of a loop with scalar rules, its plans resolved."""
    rounds = (cell.initial_rows, *solve_stages(cell).additions)
    drawn = [rows for rows in rounds if isinstance(rows, Addition)]
    if len(drawn) < len(rounds):
        raise InputError("rows that are known by their moments alone cannot be drawn: simulate takes rules")
    return drawn


def practice_trial(
    problem: PracticeProblem, rounds: Sequence[Addition], d: int, seed: int, trial: int
) -> tuple[Array, Array, Array]:
    """One run: (test_error, overlap, squared_norm) (3, stages), row errors (rounds, stages) and kept rows (stages,).

    Everything is written in the whitened eigenbasis, where rows are z ~ N(0, I) and learners θ.
    """
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(trial,))))
    n = d / problem.phi
    e, v = problem.modes
    e, v = (e, v) if problem.spectrum is not None else (np.ones(d), np.eye(d)[0])
    cosine = problem.target[0]
    truth = problem.target if problem.spectrum is not None else cosine * v + np.sqrt(1 - cosine**2) * np.eye(d)[1]
    stages = len(rounds)
    gram, moment = np.zeros((d, d)), np.zeros(d)
    pool: list[tuple[Array, Array, Array]] = []  # rows, labels and weights, for losses that need them all
    thetas, wrong_rows = np.zeros((0, d)), []
    kept = np.zeros(stages)
    for s, addition in enumerate(rounds):
        z, y, t, weight = _rows(addition, addition.flips(problem.flip), n, v, thetas[-1] if s else None, rng)
        kept[s] = len(y) / n
        wrong_rows.append((z[y * t < 0], y[y * t < 0]))
        if not problem.accumulate:
            gram[:], moment[:] = 0.0, 0.0
            pool.clear()
        x = z * np.sqrt(e)
        if isinstance(problem.loss, Square):
            gram += (x * weight[:, None]).T @ x
            moment += x.T @ (weight * y)
            ridge = n * problem.ridges[s]  # without one, the shortest w where rows do not determine it
            w = solve(gram + ridge * np.eye(d), moment, assume_a="pos") if ridge else np.linalg.lstsq(gram, moment)[0]
        else:
            pool.append((x, y, weight / n))
            rows, labels, weights = (np.concatenate(part) for part in zip(*pool, strict=True))
            w = fit_convex(rows, labels, weights, problem.ridges[s], problem.loss)
        thetas = np.vstack([thetas, np.sqrt(e) * w])
    outputs = np.array([_measure(theta, truth) for theta in thetas]).T
    nothing = np.full(stages, np.nan)
    errors = [np.mean(y[:, None] * (z @ thetas.T) < 0, axis=0) if len(y) else nothing for z, y in wrong_rows[1:]]
    return outputs, np.reshape(errors, (-1, stages)), np.cumsum(kept)


def _measure(theta: Array, unit: Array) -> Array:
    """Angle over π, accurate when small; component along the unit vector; squared length (3,)."""
    along = theta @ unit
    return np.array([np.arctan2(np.linalg.norm(theta - along * unit), along) / np.pi, along, theta @ theta])


def _rows(
    addition: Addition, flip: Flips, n: float, v: Array, theta: Array | None, rng: np.random.Generator
) -> tuple[Array, Array, Array, Array]:
    """Rows z, labels, projections t and weights of those that the learner theta keeps; v is the labeller.

    Only (t, ζ), in the plane of learner and labeller, decides what is kept; the rest is drawn for kept rows alone.
    Candidates are drawn in parts, so that memory holds them however few are kept.
    """
    view = v if theta is None else theta / np.linalg.norm(theta)
    cosine = float(np.clip(view @ v, -1, 1))
    off = v - cosine * view
    sine = np.linalg.norm(off) if theta is not None else 0.0
    off = off / sine if sine > 0 else off
    size = addition.size(weighted_moments(addition, flip, cosine, ORDER)[1].sum())
    candidates = whole_rows("candidates", size * n)
    parts = []
    for start in range(0, max(candidates, 1), TOGETHER):
        t, zeta = rng.standard_normal((2, min(TOGETHER, candidates - start)))
        y, passed = draw_labels(flip, cosine * t + sine * zeta, rng)
        keep, weight = addition.select(t, y)
        chosen = (rng.random(len(t)) < keep) & passed
        parts.append((t[chosen], zeta[chosen], y[chosen], weight[chosen]))
    t, zeta, y, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    z = rng.standard_normal((len(t), len(v)))
    z += np.outer(t - z @ view, view)
    if sine > 0:
        z += np.outer(zeta - z @ off, off)
    return z, y, t, weight
