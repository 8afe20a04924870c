"""The pipeline on the theory's own data: measured and predicted errors of static data and practice.

Rows are divided by `scale`, the standard deviation with which the sampler leaves a Gaussian: off the plane of w0 (the
first axis) and the learner they are then N(0, I), at a ridge lam/scale². Counts are in units of the first pool.

A row x that learner w_k guided is three numbers: t = x·w_k/|w_k|, its margin; ζ, its coordinate in the direction of w0
off w_k; y = ±1, its label. Errors are exact: angle(w, w0)/π.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from dp_figures.curves import draw_curves
from dp_figures.tables import measured, predicted
from joblib import cpu_count
from scipy.special import ndtri
from scipy.stats import sem

from dp_experiments.compare.compare import Comparison, run_arms
from dp_experiments.presets.presets import load_preset
from dp_experiments.studies.gaussian.exact_score import GaussianGenerator
from dp_real.config import Config
from dp_real.config.arms import arm_config
from dp_real.practice.section import PracticeConfig
from dp_real.runs.reader import Run
from dp_theory import predict
from dp_theory.loop import MeasuredRows, PracticeProblem, RoundPlan

OMEGA = 0.01
STATIC = "static"
PLAIN = "practice without guidance (ω = 0)"
GUIDED = f"practice, guided (ω = {OMEGA})"
GRID = 20_000  # points of noise that stand for all of it


def gaussian(*overrides: str) -> Config:
    return load_preset("gaussian", overrides)


# -- what the pipeline did --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trace:
    """Runs of one arm: test_error (seeds, stages); rows (seeds, rounds, increment, 3), t and ζ in units of scale."""

    test_error: np.ndarray
    rows: np.ndarray

    def of_round(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        t, zeta, y = self.rows[:, k].reshape(-1, 3).T
        return t, zeta, y


def traces(
    config: Config, arms: Sequence[str], seeds: int, folder: Path, workers: int = cpu_count()
) -> dict[str, Trace]:
    run_arms(config, arms, seeds, seeds, folder, workers)
    scale, _ = sampler_law(config)
    by_arm = {}
    for arm in arms:
        plan = arm_config(config, arm).practice
        folders = [Comparison(folder).run_folder(arm, seed) for seed in range(seeds)]
        errors, rows = zip(*(_trace(each, plan, scale) for each in folders), strict=True)
        by_arm[arm] = Trace(np.array(errors), np.array(rows))
    return by_arm


def _trace(folder: Path, plan: PracticeConfig, scale: float) -> tuple[np.ndarray, np.ndarray]:
    done = Run(folder)
    learners = [done.learner(at) for at in (*done.checkpoints, None)]
    weights = np.array([learner.tensors()["weight"].numpy() for learner in learners])
    units = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    along = units[:, 0]  # w0, the first axis
    off = np.linalg.norm(units[:, 1:], axis=1)
    pool = done.pool
    x = pool.x[plan.initial :].double().numpy().reshape(plan.additions, plan.increment, weights.shape[1]) / scale
    y = 2.0 * pool.y[plan.initial :].numpy().reshape(plan.additions, plan.increment) - 1
    t = np.einsum("krd,kd->kr", x, units[:-1])
    zeta = (x[:, :, 0] - units[:-1, :1] * t) / off[:-1, None]
    return np.arctan2(off, along) / np.pi, np.stack([t, zeta, y], axis=-1)


def measured_rows(kept: float, t: np.ndarray, zeta: np.ndarray, y: np.ndarray) -> MeasuredRows:
    """Rows that are known by the means over a sample of them."""
    view = np.stack([t, zeta])
    return MeasuredRows(kept, view @ y / len(y), view @ view.T / len(y))


def sampler_law(config: Config) -> tuple[float, MeasuredRows]:
    """`scale`, and the sampler's law along w0 in that unit, without sampling error."""
    generator = GaussianGenerator(2, config.sampling.steps, config.sampling.guidance_scale)
    noise = np.column_stack([ndtri((np.arange(GRID) + 0.5) / GRID), np.ones(GRID)])
    x = generator.from_noise(torch.from_numpy(noise), torch.ones(GRID, dtype=torch.int64)).numpy()
    scale = float(x[0, 1])
    return scale, measured_rows(1.0, x[:, 0] / scale, np.zeros(GRID), np.ones(GRID))


# -- what the theory says of it ---------------------------------------------------------------------------------------


def predict_loop(config: Config, plans: Sequence[RoundPlan]) -> np.ndarray:
    """The stages' test error of ridge regression in rounds with these rows."""
    scale, initial = sampler_law(config)
    practice = config.practice
    sizes = 1 + practice.increment / practice.initial * np.arange(len(plans) + 1)
    phi = config.task.sample_shape[0] / practice.initial
    learner: Any = config.learner
    lams = learner.lam / scale**2 * sizes
    return predict(PracticeProblem(phi, lams.tolist(), plans, initial)).test_error


def plain_rows(config: Config) -> RoundPlan:
    """An unguided round: the sampler's own law, as a learner of a given test error sees it."""
    _, law = sampler_law(config)
    linear, second = np.asarray(law.linear), np.asarray(law.second)
    kept = config.practice.increment / config.practice.initial

    def plan(test_error: float) -> MeasuredRows:
        w0 = np.array([np.cos(np.pi * test_error), np.sin(np.pi * test_error)])  # in the plane of (t, ζ)
        off = np.eye(2) - np.outer(w0, w0)
        return MeasuredRows(kept, linear[0] * w0, second[0, 0] * np.outer(w0, w0) + off)

    return plan


def guided_rows(config: Config, trace: Trace) -> list[RoundPlan]:
    """The rounds' rows, by the law of (t, ζ, y) that they had."""
    kept = config.practice.increment / config.practice.initial
    return [measured_rows(kept, *trace.of_round(k)) for k in range(trace.rows.shape[1])]


# -- the figure -------------------------------------------------------------------------------------------------------


def compute(quick: bool) -> pd.DataFrame:
    seeds = 4 if quick else 16
    config = gaussian(f"guidance.omega={OMEGA}", "data.test=1000")  # few rows: errors are computed exactly
    sizes = config.practice.initial + config.practice.increment * np.arange(config.practice.additions + 1)
    static = {f"static-{size}": size for size in sizes[1::2]}
    with tempfile.TemporaryDirectory() as folder:
        by_arm = traces(config, [*static, "practice-unguided", "practice"], seeds, Path(folder))
    plain = predict_loop(config, [plain_rows(config)] * config.practice.additions)
    guided = predict_loop(config, guided_rows(config, by_arm["practice"]))
    parts = [_runs(STATIC, np.array([size]), by_arm[arm].test_error) for arm, size in static.items()]
    parts += [
        _runs(PLAIN, sizes, by_arm["practice-unguided"].test_error),
        _runs(GUIDED, sizes, by_arm["practice"].test_error),
        predicted(STATIC, sizes, 100 * plain),
        predicted(PLAIN, sizes, 100 * plain),
        predicted(GUIDED, sizes, 100 * guided),
    ]
    return pd.concat(parts, ignore_index=True)


def _runs(series: str, x: np.ndarray, errors: np.ndarray) -> pd.DataFrame:
    return measured(series, x, 100 * errors.mean(axis=0), 100 * sem(errors, axis=0), len(errors))


draw = partial(draw_curves, xlabel="samples generated", ylabel="test error (%)", logx=True, logy=True)


def caption(table: pd.DataFrame) -> str:
    return (
        "The gaussian preset, whose score is exact, learned by ridge regression: mean and one standard error over "
        f"{table['n_seeds'].max()} runs, with dp_theory's asymptotics of the loop. Static and unguided practice lie "
        f"on the line for the sampler's own law ({_off(table, STATIC, PLAIN):.1f} standard errors off, root mean "
        "square), guided practice on the line for the moments of its rows: margin, distance along w0 off the learner, "
        f"label ({_off(table, GUIDED):.1f})."
    )


def _off(table: pd.DataFrame, *series: str) -> float:
    z = []
    for name in series:
        rows = table[table["series"] == name].set_index("x")
        points = rows[rows["kind"] == "measured"]
        line = rows.loc[rows["kind"] == "predicted", "y"].reindex(points.index)
        z.append((points["y"] - line) / (points["y_high"] - points["y"]))
    return float(np.sqrt(np.mean(np.concatenate(z) ** 2)))
