"""The arm `covariance`: of over-generated static samples those whose features vary as real ones do.

Greedy covariance matching by class (Rezaei et al. 2026, arXiv 2510.08123). For linear models they show that the error
depends on the covariance of the samples, and not on their mean.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int64

from dp_base.errors import InputError
from dp_real.config import Config
from dp_real.config.arms import PRUNED, arm, oversample, static
from dp_real.practice.rounds import KEEP, Rounds, decoded
from dp_real.runtime import distributed

DIRECTIONS = 32  # principal ones of a class's real features, in which covariances are compared


@arm("covariance", "static; over-generated, and those kept whose features vary as real validation images do")
def settings(config: Config, samples: int) -> Mapping[str, Mapping[str, Any]]:
    """Static data, over-generated. InputError without features to compare."""
    from dp_experiments.compare.arms.encoders import check_features

    check_features(config)
    selected = {"keep": "covariance", "oversample": oversample(config)}
    return {"guidance": PRUNED, "practice": {**static(config, samples)["practice"], **selected}}


@KEEP.named("covariance")
def covariance(rounds: Rounds, batch: pa.Table, counts: Int64[np.ndarray, " classes"]) -> Int64[np.ndarray, " kept"]:
    """The rows whose features vary as those of the validation examples of their class do.

    Raises InputError for a class with fewer than two validation examples.
    """
    from dp_experiments.compare.arms.encoders import features_of

    if rounds.data is None or not isinstance(rounds.config, Config):
        raise InputError("practice.keep = 'covariance' looks at real validation images, which a run has")
    validation = rounds.data.few or rounds.data.validation
    labels = validation.y.numpy()
    scarce = np.flatnonzero((np.bincount(labels, minlength=len(counts)) < 2) & (counts > 0))
    for label in scarce[:1]:
        name = rounds.config.task.classes[label]
        raise InputError(f"practice.keep = 'covariance': {name!r} has fewer than two validation examples")
    features = features_of(rounds.config, rounds.data.train)
    real = features(validation.x)
    # Of many processes, some draw nothing.
    mine = features(decoded(batch, rounds.pool.storage)) if len(batch) else real[:0]
    parts = distributed.gather([(batch["row"].to_numpy(), batch["label"].to_numpy(), mine)])
    rows, label, drawn = (np.concatenate(part) for part in zip(*parts, strict=True))
    selected = [
        rows[of_class][matching(drawn[of_class], real[labels == number], count)]
        for number, count in enumerate(counts)
        if (of_class := np.flatnonzero(label == number)).size
    ]
    return distributed.from_main(np.concatenate(selected))


def matching(
    drawn: Float[np.ndarray, "drawn features"], real: Float[np.ndarray, "real features"], count: int
) -> Int64[np.ndarray, " count"]:
    """Choose samples one after the other, each so that the covariance of the chosen comes closest to that of real ones.

    Parameters
    ----------
    drawn
        Features of the samples, at least `count`.
    real
        Features of at least two real examples. Their first DIRECTIONS principal directions count, or as many as there
        are.
    count
        How many to choose.

    Returns
    -------
    Int64[np.ndarray, " count"]
        The rows of `drawn`, in the order in which they were chosen: first the one nearest to the real mean, which the
        method leaves open, then each argmin of |cov(chosen and it) − cov(real)| in the Frobenius norm.
    """
    middle = real.mean(axis=0, dtype=np.float64)
    _, spread, axes = np.linalg.svd(real - middle, full_matrices=False)
    axes = axes[: min(DIRECTIONS, int((spread > 1e-9 * spread[0]).sum()))]
    points = (drawn - middle) @ axes.T
    target = np.cov((real - middle) @ axes.T, rowvar=False).reshape(len(axes), len(axes))
    selected = [int((points**2).sum(axis=1).argmin())]
    left = np.ones(len(points), bool)
    mean, own = points[selected[0]], np.zeros_like(target)
    for n in range(1, count):
        left[selected[-1]] = False
        # One point x more makes the covariance (n-1)/n·own + d·dᵀ/(n+1), with d = x - mean.
        away, shrunk = points - mean, (n - 1) / n * own
        distance = 2 * ((away @ (shrunk - target)) * away).sum(axis=1) + (away**2).sum(axis=1) ** 2 / (n + 1)
        best = int(np.where(left, distance, np.inf).argmin())
        own = shrunk + np.outer(away[best], away[best]) / (n + 1)
        mean = mean + away[best] / (n + 1)
        selected.append(best)
    return np.array(selected[:count], np.int64)
