"""What each round of a run was like: harder than plain samples, worse, or narrower."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from dp_base.progress import Progress, silent
from dp_real.evaluation.assess import assess
from dp_real.evaluation.penultimate import penultimate
from dp_real.evaluation.quality import quality
from dp_real.examples import ExampleArray, RealData
from dp_real.pool import Pool
from dp_real.protocols import Learner

MOST = 2000
"""Examples that are taken of each set at most. All pairs of them are compared."""


def round_quality(
    learner: Learner, pool: Pool, data: RealData, most: int = MOST, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Compare each round of a pool with the real validation examples, by the penultimate features of one learner.

    As many examples are taken of each set, since the figures depend on their number: at most `most`. A test set of its
    own is the first row (round None): what real examples reach themselves. A row has round, examples, entropy (its mean
    in nats), wrong (the share of this learner's errors) and the fields of Quality. Raises InputError if the learner has
    no penultimate features, or if a round has too few examples.
    """
    round_of = torch.from_numpy(pool.table()["round"].to_numpy().copy())
    members: dict[int | None, Tensor] = {}
    if data.test is not data.validation:
        members[None] = torch.arange(len(data.test.y))
    for index in range(int(round_of.max()) + 1):
        members[index] = (round_of == index).nonzero()[:, 0]
    count = min(most, len(data.validation.y), *map(len, members.values()))
    shown = _spread(torch.arange(len(data.validation.y)), count)
    real = penultimate(learner, _taken(data.validation.x, shown))
    found = []
    with progress("rounds", len(members)) as advance:
        for index, rows in members.items():
            chosen = _spread(rows, count)
            if index is None:
                examples = _taken(data.test.x, chosen)
                y = data.test.y[chosen]
            else:
                examples, _ = pool.minibatch(chosen)
                y = pool.y[chosen]
            entropy, correct = assess(learner, examples, y)
            facts = {"round": index, "examples": count, "entropy": float(entropy.mean())}
            facts |= {"wrong": 1 - float(correct.double().mean())}
            found.append(facts | asdict(quality(penultimate(learner, examples), real)))
            advance(1)
    return found


def _spread(rows: Tensor, count: int) -> Tensor:
    """Rows at random, always the same ones, in order, since test sets may be sorted by class."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return rows[order[:count].sort().values]


def _taken(x: ExampleArray, rows: Tensor) -> Tensor:
    return torch.cat([x[row : row + 1] for row in rows.tolist()])
