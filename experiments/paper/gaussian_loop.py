"""Where theory and practice meet: errors of the gaussian preset beside dp_theory's prediction of the same loop.

Units. Sampled rows are divided by `scale`, the standard deviation that the sampler leaves a Gaussian with; off the
plane of w0 and the learner they are then the theory's N(0, I), at a ridge lam/scale². w0 is the first axis. Of a row
that learner w_k guided: t = x·w_k/|w_k|, ζ its coordinate in the direction of w0 off w_k, y = ±1. Errors are exact,
angle(w, w0)/π; n counts in units of the first pool.
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
from dp_real.config import Config
from dp_real.config.arms import arm_config
from dp_real.data.gaussian import GaussianDataConfig
from dp_real.generators.models.gaussian import GaussianGenerator
from dp_real.learners.linear import LinearConfig
from dp_real.runs.reader import Run
from dp_real.sections import PracticeConfig
from dp_theory import predict
from dp_theory.practice import Addition, MeasuredRows, PracticeProblem, RoundPlan
from dp_theory.rules import KeepHard, Rule, SymmetricRule
from experiments.comparing.compare import Comparison, run_arms
from experiments.presets.presets import load_preset
from experiments.terminal import progress

BINS = 30  # of a realised rule, of equal counts


def gaussian(*overrides: str) -> Config:
    """The preset with overrides."""
    return load_preset("gaussian", overrides)


# -- what the pipeline did --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trace:
    """Runs of one arm. test_error (seeds, stages); rows (seeds, rounds, increment, 3): t, ζ, y, in units of scale."""

    test_error: np.ndarray
    rows: np.ndarray

    def of_round(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """t, ζ, y of what addition k brought, all seeds together."""
        t, zeta, y = self.rows[:, k].reshape(-1, 3).T
        return t, zeta, y


def traces(
    config: Config, arms: Sequence[str], seeds: int, folder: Path, workers: int = cpu_count()
) -> dict[str, Trace]:
    """Run arms (experiments.comparing.compare) in `folder`, and read their learners and pools."""
    run_arms(config, arms, seeds, seeds, folder, workers, progress)
    scale, _ = sampler_law(config)
    found = {}
    for arm in arms:
        plan = arm_config(config, arm).practice
        runs = [_trace(Comparison(folder).run_folder(arm, seed), plan, scale) for seed in range(seeds)]
        found[arm] = Trace(*(np.array(part) for part in zip(*runs, strict=True)))
    return found


def _trace(folder: Path, plan: PracticeConfig, scale: float) -> tuple[np.ndarray, np.ndarray]:
    done = Run(folder)
    learners = [done.learner(at) for at in (*done.checkpoints, None)]
    weights = np.array([learner.tensors()["weight"].numpy() for learner in learners])
    units = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    off = np.linalg.norm(units[:, 1:], axis=1)  # from w0, the first axis
    pool = done.pool
    x = pool.x[plan.initial :].double().numpy().reshape(plan.additions, plan.increment, weights.shape[1]) / scale
    y = 2.0 * pool.y[plan.initial :].numpy().reshape(plan.additions, plan.increment) - 1
    t = np.einsum("krd,kd->kr", x, units[:-1])
    zeta = (x[:, :, 0] - units[:-1, :1] * t) / off[:-1, None]
    return np.arctan2(off, units[:, 0]) / np.pi, np.stack([t, zeta, y], axis=-1)


def sampler_law(config: Config, grid: int = 20_000) -> tuple[float, MeasuredRows]:
    """What the sampler makes of plain noise, without sampling error: `scale`, and its rows along w0 in that unit.

    DDIM with the exact score would give scale 1 and a half-normal law in infinitely many steps.
    """
    generator = GaussianGenerator(2, config.sampling.steps, config.sampling.guidance_scale)
    noise = np.column_stack([ndtri((np.arange(grid) + 0.5) / grid), np.ones(grid)])
    x = generator.from_noise(torch.from_numpy(noise), torch.ones(grid, dtype=torch.int64)).numpy()
    scale = float(x[0, 1])
    return scale, MeasuredRows.of(1.0, x[:, 0] / scale, np.zeros(grid), np.ones(grid))


# -- what the theory says of it ---------------------------------------------------------------------------------------


def predict_loop(config: Config, plans: Sequence[RoundPlan]) -> np.ndarray:
    """Test error of each stage, for ridge regression, when the rounds add what `plans` say.

    Raises InputError for other data or another learner.
    """
    data, learner, plan = config.data, config.learner, config.practice
    if not (isinstance(data, GaussianDataConfig) and isinstance(learner, LinearConfig) and learner.loss == "ridge"):
        raise InputError("the theory of the loop is that of data.source = 'gaussian' and learner.loss = 'ridge'")
    scale, initial = sampler_law(config)
    sizes = 1 + plan.increment / plan.initial * np.arange(len(plans) + 1)
    phi = data.dimension / plan.initial
    return predict(PracticeProblem(phi, (learner.lam / scale**2 * sizes).tolist(), plans, initial)).test_error


def plain_rows(config: Config) -> RoundPlan:
    """The plan of an unguided round: the sampler's own law, seen by a learner of a given test error."""
    _, law = sampler_law(config)
    kept = config.practice.increment / config.practice.initial

    def plan(test_error: float) -> MeasuredRows:
        w0 = np.array([np.cos(np.pi * test_error), np.sin(np.pi * test_error)])  # in the plane of (t, ζ)
        off = np.eye(2) - np.outer(w0, w0)
        return MeasuredRows(kept, law.linear[0] * w0, law.second[0, 0] * np.outer(w0, w0) + off)

    return plan


def keep_hard_threshold(t: np.ndarray) -> float:
    """The alpha at which keep-hard leaves N(0, 1) with the mean |t| of these rows; inf if that is as large as plain."""

    def excess(alpha: float) -> float:
        return np.sqrt(2 / np.pi) * -np.expm1(-(alpha**2) / 2) / (2 * ndtr(alpha) - 1) - np.abs(t).mean()

    return root_scalar(excess, bracket=(1e-6, 10)).root if excess(10) > 0 else np.inf


def realised_rule(t: np.ndarray) -> SymmetricRule:
    """q(|t|) as a histogram: how much more often rows lie at a margin than N(0, 1) does, at most 1."""
    edges = np.unique(np.quantile(np.abs(t), np.linspace(0, 1, BINS + 1)))
    edges[0] = 0.0
    ratio = np.histogram(np.abs(t), edges)[0] / np.diff(2 * ndtr(edges))
    ratio = np.append(ratio / ratio.max(), 0.0)  # nothing beyond the last edge
    return SymmetricRule(lambda t: ratio[np.searchsorted(edges[1:], t)], tuple(edges[1:].tolist()))


def predictions(config: Config, trace: Trace) -> dict[str, np.ndarray]:
    """Test error of each stage of a guided loop from what its rows report, ever more of it.

    keep-hard: rounds keep |t| ≤ alpha, the rows' own threshold. rule: rounds keep by the realised q(t), with labels and
    ζ as plain rows have them there. labels: keep-hard, but labels agree with the learner, mean y t, as little as those
    of the rows do. rows: the law of (t, ζ, y) as it is.
    """
    kept = config.practice.increment / config.practice.initial
    views = [trace.of_round(k) for k in range(trace.rows.shape[1])]
    hard = [KeepHard(keep_hard_threshold(t)) for t, *_ in views]
    plans: dict[str, list[RoundPlan]] = {
        "keep-hard": [Addition(kept=kept, keep=rule) for rule in hard],
        "rule": [Addition(kept=kept, keep=realised_rule(t)) for t, *_ in views],
        "labels": [_relabelled(kept, rule, float(np.mean(y * t))) for rule, (t, _, y) in zip(hard, views, strict=True)],
        "rows": [MeasuredRows.of(kept, *view) for view in views],
    }
    return {name: predict_loop(config, plan) for name, plan in plans.items()}


def _relabelled(kept: float, rule: Rule, agreement: float) -> RoundPlan:
    """The rows that a rule keeps, but with this mean of y t."""

    def plan(test_error: float) -> MeasuredRows:
        p, gamma, beta, _ = rule.moments(np.cos(np.pi * test_error))
        return MeasuredRows(kept, np.array([agreement, beta / p]), np.diag([gamma / p, 1.0]))

    return plan
