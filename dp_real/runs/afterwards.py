"""A run looked back on: its learner on further images, and what each learner along it makes of each round."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dp_base.errors import InputError
from dp_real.evaluation.assess import assess
from dp_real.evaluation.sets import evaluate_sets
from dp_real.examples import ExampleSet
from dp_real.runs.reader import Run


def evaluate(run: Run, sets: Mapping[str, str | Path]) -> list[dict[str, Any]]:
    """One row a set, see evaluate_sets: the run's validation and test, its further sets, and these (name: where).

    Raises InputError for a run that is not finished or not of images, and what DataConfig.read_set does.
    """
    if not run.complete:
        raise InputError(
            f"{run.path}: not finished, so there is no learner yet; go on with it by dp real resume {run.path}"
        )
    source, shape = run.config.data, run.config.task.sample_shape
    if len(shape) != 3 or shape[1] != shape[2]:
        raise InputError(f"{run.path}: its examples are no square images but have shape {list(shape)}")
    further = {name: source.read_set(name, str(where)) for name, where in sets.items()}  # first: it is soon done
    data = source.load()
    own: dict[str, ExampleSet] = {"validation": data.validation, "test": data.test, **data.sets}
    for name in own.keys() & further.keys():
        raise InputError(f"{name}={sets[name]}: the run has a set called {name}; give this one another name")
    return evaluate_sets(run.learner(), own | further)


def hindsight(run: Run) -> list[dict[str, Any]]:
    """A row for each checkpoint and each round, whether its examples were in the pool by then or not (paper Fig. 6).

    Keys: step and pool_size of the checkpoint; round; added, the step at which the round was; entropy (nats) and wrong,
    the share that the learner gets wrong, over the round; wrong_again, that share among the examples which were wrong
    when added (None if there was none).
    """
    pool, checkpoints = run.pool, run.checkpoints
    columns = pool.table()
    round_of = torch.from_numpy(columns["round"].to_numpy().copy())
    wrong_when_added = ~torch.tensor(columns["correct"].to_pylist())
    added = {at.state.rounds: at.state.step for at in checkpoints} | {0: 0}  # a checkpoint stands before each addition
    rows = []
    for at in checkpoints:
        entropy, correct = assess(run.learner(at), pool.x, pool.y)
        for index in range(int(round_of.max()) + 1):
            members = round_of == index
            again = members & wrong_when_added
            rows.append(
                {
                    "step": at.state.step,
                    "pool_size": int((round_of < at.state.rounds).sum()),
                    "round": index,
                    "entropy": entropy[members].mean().item(),
                    "wrong": 1 - correct[members].double().mean().item(),
                    "wrong_again": 1 - correct[again].double().mean().item() if again.any() else None,
                    "added": added[index],
                }
            )
    return rows
