"""The loop itself, every row drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve

from dp_base.errors import InputError
from dp_theory.checks import require
from dp_theory.parallel import run_jobs
from dp_theory.practice.cohorts import atoms
from dp_theory.practice.prediction import predict
from dp_theory.practice.problem import Addition, PracticeProblem


@dataclass(frozen=True)
class PracticeSimulation:
    """Independent runs of the loop in dimension d.

    test_errors: (trials, stages); their mean and standard error as properties. row_errors: (trials, rounds, stages),
    the share of the misclassified rows of a round that each stage gets wrong (see the function `row_errors`), 0 if
    it brought none.
    """

    test_errors: np.ndarray
    row_errors: np.ndarray
    kept: np.ndarray  # (trials, stages), rows so far in units of n
    d: int
    seed: int

    @property
    def test_error(self) -> np.ndarray:
        return self.test_errors.mean(axis=0)

    @property
    def test_error_se(self) -> np.ndarray:
        return self.test_errors.std(axis=0, ddof=1) / np.sqrt(len(self.test_errors))


def simulate(
    practice: PracticeProblem, d: int, trials: int, *, seed: int = 0, workers: int | None = 1
) -> PracticeSimulation:
    """Run the loop `trials` times with every row drawn; with a spectrum d must be its length.

    Plans are resolved by the theory first, so that theory and experiment use the same thresholds and sizes.
    Trial k draws from SeedSequence(seed, spawn_key=(k,)). Raises InputError where d or trials is too small.
    """
    require("trials", trials, trials >= 2, "be at least 2: one run has no standard error")
    require("d", d, d >= 3, "be at least 3")
    if practice.spectrum is not None and d != len(practice.modes[0]):
        raise InputError(f"d = {d} must be the length of the spectrum, {len(practice.modes[0])}")
    rounds = (practice.initial_rows, *predict(practice).additions)
    drawn = [rows for rows in rounds if isinstance(rows, Addition)]
    if len(drawn) < len(rounds):
        raise InputError("rows that are known by their moments alone cannot be drawn: simulate takes rules")
    runs = run_jobs(_run, [(practice, drawn, d, seed, trial) for trial in range(trials)], workers)
    return PracticeSimulation(*(np.array(part) for part in zip(*runs, strict=True)), d=d, seed=seed)  # pyright: ignore


def _run(
    practice: PracticeProblem, rounds: Sequence[Addition], d: int, seed: int, trial: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One run. Everything is written in the whitened eigenbasis, where rows are z ~ N(0, I) and learners θ."""
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(trial,))))
    n = d / practice.phi
    e, v = practice.modes
    e, v = (e, v) if practice.spectrum is not None else (np.ones(d), np.eye(d)[0])
    truth = practice.labeller * v + np.sqrt(1 - practice.labeller**2) * np.eye(d)[1] if practice.labeller < 1 else v
    stages = len(rounds)
    gram, moment = np.zeros((d, d)), np.zeros(d)
    thetas, wrong_rows = np.zeros((0, d)), []
    kept = np.zeros(stages)
    for s, addition in enumerate(rounds):
        z, y, t, weight = _rows(addition, practice.flip, n, v, thetas[-1] if s else None, rng)
        kept[s] = len(y) / n
        wrong_rows.append((z[y * t < 0], y[y * t < 0]))
        if not practice.accumulate:
            gram[:], moment[:] = 0.0, 0.0
        x = z * np.sqrt(e)
        gram += (x * weight[:, None]).T @ x
        moment += x.T @ (weight * y)
        w = solve(gram + n * practice.ridges[s] * np.eye(d), moment, assume_a="pos")
        thetas = np.vstack([thetas, np.sqrt(e) * w])
    test_errors = np.array([_angle(theta, truth) for theta in thetas])
    errors = [np.sum(y[:, None] * (z @ thetas.T) < 0, axis=0) / max(len(y), 1) for z, y in wrong_rows[1:]]
    return test_errors, np.reshape(errors, (-1, stages)), np.cumsum(kept)


def _angle(theta: np.ndarray, unit: np.ndarray) -> float:
    """Angle over π, accurate when small."""
    along = theta @ unit
    return float(np.arctan2(np.linalg.norm(theta - along * unit), along) / np.pi)


def _rows(
    addition: Addition, flip: float, n: float, v: np.ndarray, theta: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows z, labels, projections t and weights of those that the learner theta keeps; v is the labeller.

    Only (t, ζ), in the plane of learner and labeller, decides what is kept; the rest is drawn for kept rows alone.
    """
    view = v if theta is None else theta / np.linalg.norm(theta)
    cosine = float(np.clip(view @ v, -1, 1))
    off = v - cosine * view
    sine = np.linalg.norm(off) if theta is not None else 0.0
    off = off / sine if sine > 0 else off
    size = addition.size(atoms(addition, flip, cosine)[1].sum())
    t, zeta = rng.standard_normal((2, round(size * n)))
    y = np.where(cosine * t + sine * zeta > 0, 1.0, -1.0) * np.where(rng.random(len(t)) < flip, -1.0, 1.0)
    keep, weight = addition.select(t, y)
    chosen = rng.random(len(t)) < keep
    t, zeta, y, weight = t[chosen], zeta[chosen], y[chosen], weight[chosen]
    z = rng.standard_normal((len(t), len(v)))
    z += np.outer(t - z @ view, view)
    if sine > 0:
        z += np.outer(zeta - z @ off, off)
    return z, y, t, weight
