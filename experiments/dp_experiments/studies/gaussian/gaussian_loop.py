"""Errors of the gaussian preset beside dp_theory's prediction of the same loop.

Rows are divided by `scale`, the standard deviation with which the sampler leaves a Gaussian: off the plane of w0 (the
first axis) and the learner they are then N(0, I), at a ridge lam/scale². Counts are in units of the first pool.

A row x that learner w_k guided is three numbers: t = x·w_k/|w_k|, its margin; ζ, its coordinate in the direction of w0
off w_k; y = ±1, its label. Errors are exact: angle(w, w0)/π.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from joblib import cpu_count
from scipy.optimize import root_scalar
from scipy.special import ndtr, ndtri

from dp_base.errors import InputError
from dp_experiments.comparing.compare import Comparison, run_arms
from dp_experiments.presets.presets import load_preset
from dp_experiments.studies.gaussian.exact_score import GaussianGenerator
from dp_experiments.studies.gaussian.source import GaussianDataConfig
from dp_experiments.terminal import progress
from dp_real.config import Config
from dp_real.config.arms import arm_config
from dp_real.learners.kinds import LinearConfig
from dp_real.runs.reader import Run
from dp_real.sections import PracticeConfig
from dp_theory import predict
from dp_theory.loop import Addition, MeasuredRows, PracticeProblem, RoundPlan
from dp_theory.rules import KeepHard, Rule, SymmetricRule

BINS = 30  # of a realised rule, of equal counts
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
    run_arms(config, arms, seeds, seeds, folder, workers, progress)
    scale, _ = sampler_law(config)
    found = {}
    for arm in arms:
        plan = arm_config(config, arm).practice
        folders = [Comparison(folder).run_folder(arm, seed) for seed in range(seeds)]
        errors, rows = zip(*(_trace(each, plan, scale) for each in folders), strict=True)
        found[arm] = Trace(np.array(errors), np.array(rows))
    return found


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


def sampler_law(config: Config) -> tuple[float, MeasuredRows]:
    """`scale`, and the sampler's law along w0 in that unit, without sampling error."""
    generator = GaussianGenerator(2, config.sampling.steps, config.sampling.guidance_scale)
    noise = np.column_stack([ndtri((np.arange(GRID) + 0.5) / GRID), np.ones(GRID)])
    x = generator.from_noise(torch.from_numpy(noise), torch.ones(GRID, dtype=torch.int64)).numpy()
    scale = float(x[0, 1])
    return scale, MeasuredRows.of(1.0, x[:, 0] / scale, np.zeros(GRID), np.ones(GRID))


# -- what the theory says of it ---------------------------------------------------------------------------------------


def predict_loop(config: Config, plans: Sequence[RoundPlan]) -> np.ndarray:
    data = config.data
    learner = config.learner
    if not (isinstance(data, GaussianDataConfig) and isinstance(learner, LinearConfig) and learner.loss == "ridge"):
        raise InputError("the theory of the loop is that of data.source = 'gaussian' and learner.loss = 'ridge'")
    scale, initial = sampler_law(config)
    sizes = 1 + config.practice.increment / config.practice.initial * np.arange(len(plans) + 1)
    phi = data.dimension / config.practice.initial
    lams = learner.lam / scale**2 * sizes
    return predict(PracticeProblem(phi, lams.tolist(), plans, initial)).test_error


def plain_rows(config: Config) -> RoundPlan:
    """An unguided round: the sampler's own law, as a learner of a given test error sees it."""
    _, law = sampler_law(config)
    kept = config.practice.increment / config.practice.initial

    def plan(test_error: float) -> MeasuredRows:
        w0 = np.array([np.cos(np.pi * test_error), np.sin(np.pi * test_error)])  # in the plane of (t, ζ)
        off = np.eye(2) - np.outer(w0, w0)
        return MeasuredRows(kept, law.linear[0] * w0, law.second[0, 0] * np.outer(w0, w0) + off)

    return plan


def keep_hard_threshold(t: np.ndarray) -> float:
    """The alpha at which keep-hard leaves of N(0, 1) their mean |t|; inf if that is the plain one."""

    def excess(alpha: float) -> float:
        return np.sqrt(2 / np.pi) * -np.expm1(-(alpha**2) / 2) / (2 * ndtr(alpha) - 1) - np.abs(t).mean()

    return root_scalar(excess, bracket=(1e-6, 10)).root if excess(10) > 0 else np.inf


def realised_rule(t: np.ndarray) -> SymmetricRule:
    """The rule q(|t|) that rows of margins t seem kept by: the histogram's ratio to N(0, 1), at most 1."""
    edges = np.unique(np.quantile(np.abs(t), np.linspace(0, 1, BINS + 1)))
    edges[0] = 0.0
    ratio = np.histogram(np.abs(t), edges)[0] / np.diff(2 * ndtr(edges))
    ratio = np.append(ratio / ratio.max(), 0.0)  # nothing beyond the last edge
    return SymmetricRule(lambda t: ratio[np.searchsorted(edges[1:], t)], tuple(edges[1:].tolist()))


def predictions(config: Config, trace: Trace) -> dict[str, np.ndarray]:
    """The stages' test error, predicted from ever more of what guided rows report.

    keep-hard: |t| ≤ alpha, their own threshold. rule: the realised q(t), with labels and ζ of plain rows. labels:
    keep-hard with the rows' agreement (mean y t). rows: the law of (t, ζ, y).
    """
    kept = config.practice.increment / config.practice.initial
    plans: dict[str, list[RoundPlan]] = {"keep-hard": [], "rule": [], "labels": [], "rows": []}
    for k in range(trace.rows.shape[1]):
        t, zeta, y = trace.of_round(k)
        hard = KeepHard(keep_hard_threshold(t))
        plans["keep-hard"].append(Addition(kept=kept, keep=hard))
        plans["rule"].append(Addition(kept=kept, keep=realised_rule(t)))
        plans["labels"].append(_relabelled(kept, hard, agreement=float(np.mean(y * t))))
        plans["rows"].append(MeasuredRows.of(kept, t, zeta, y))
    return {name: predict_loop(config, plan) for name, plan in plans.items()}


def _relabelled(kept: float, rule: Rule, agreement: float) -> RoundPlan:
    """The rows that a rule keeps, but with this mean of y t."""

    def plan(test_error: float) -> MeasuredRows:
        moments = rule.moments(np.cos(np.pi * test_error))
        linear = np.array([agreement, moments.beta / moments.p])
        return MeasuredRows(kept, linear, np.diag([moments.gamma / moments.p, 1.0]))

    return plan
