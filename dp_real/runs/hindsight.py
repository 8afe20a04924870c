"""A finished run looked back on: what each learner along it makes of each round's examples (paper Fig. 6)."""

from pathlib import Path
from typing import Any

import torch

from dp_real.evaluation.assess import assess
from dp_real.config.config import load_config
from dp_real.data import load_data
from dp_real.learners import fresh_learner
from dp_real.pool.pool import Pool
from dp_real.runs.run import checkpoints, restore_learner


def hindsight(folder: Path) -> list[dict[str, Any]]:
    """A row for each checkpoint and each round, whether its examples were in the pool by then or not.

    Keys: step and pool_size of the checkpoint; round; added, the step at which the round was; entropy (nats) and wrong,
    the share that the learner gets wrong, over the round; wrong_again, that share among the examples which were wrong
    when added (None if there was none).
    """
    config = load_config(folder / "config.toml")
    space = load_data(config.data)
    pool = Pool.latest(folder / "pool", space.sample_shape)
    columns = pool.table()
    round_of = torch.from_numpy(columns["round"].to_numpy().copy())
    wrong_when_added = ~torch.tensor(columns["correct"].to_pylist())
    states, rows = [], []
    for checkpoint in checkpoints(folder):
        learner = fresh_learner(config, space)
        state, _ = restore_learner(learner, checkpoint)
        states.append(state)
        entropy, correct = assess(learner, pool, pool.y)
        for index in range(int(round_of.max()) + 1):
            members = round_of == index
            again = members & wrong_when_added
            rows.append(
                {
                    "step": state.step,
                    "pool_size": int((round_of < state.rounds).sum()),
                    "round": index,
                    "entropy": entropy[members].mean().item(),
                    "wrong": 1 - correct[members].double().mean().item(),
                    "wrong_again": 1 - correct[again].double().mean().item() if again.any() else None,
                }
            )
    added = {state.rounds: state.step for state in states} | {0: 0}  # a checkpoint stands before each addition
    return [row | {"added": added[row["round"]]} for row in rows]
