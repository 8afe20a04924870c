"""Analyses after a run: its learner on further sets and on each round, and its features."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dp_base.errors import InputError, MissingError
from dp_base.progress import progress
from dp_real.data.examples import ExampleSet
from dp_real.data.sets.images import decode_ahead
from dp_real.evaluate.assess import evaluate_sets, penultimate
from dp_real.guidance.entropy import assess
from dp_real.runs.prepare import load_data, load_generator
from dp_real.runs.reader import Run
from dp_real.runtime.distributed import slices
from dp_real.runtime.seeds import row_seeds

log = logging.getLogger(__name__)
FEATURES_ROUND = 1 << 31  # seeds the noise of samples for features: no round of a run has this number


def evaluate(run: Run, sets: Mapping[str, str | Path]) -> list[dict[str, Any]]:
    """The accuracy on each of the run's sets and of `sets`, or only `sets` if the run's are missing."""
    if not run.complete:
        raise InputError(f"{run.path}: not finished, so there is no learner yet; continue it by {run.files.resume}")
    source = run.config.data
    shape = run.config.task.sample_shape
    if sets and source.modality == "array" and (len(shape) != 3 or shape[1] != shape[2]):
        raise InputError(
            f"{run.path}: {', '.join(sets)}: images cannot be read as its examples, of shape {list(shape)}"
        )
    further = {name: source.read_set(name, str(where)) for name, where in sets.items()}  # first, for early errors
    own: dict[str, ExampleSet] = {}
    try:
        data = load_data(run.config, test=False, further=further) if further else run.config.real_data()
        own = {"validation": data.validation, "test": data.test, **data.sets}
    except MissingError as error:
        if not further:
            raise
        decode_ahead(further)
        log.warning("the run's own sets are left out: %s", error)
    for name in own.keys() & further.keys():
        raise InputError(f"{name}={sets[name]}: the run has a set called {name}; give this one another name")
    return evaluate_sets(run.learner(), own | further)


def hindsight(run: Run) -> list[dict[str, Any]]:
    """A row for each checkpoint and each round, later ones too (paper Fig. 6). Entropy is the mean in nats.

    wrong_again is the share of errors among samples wrong when added; None without any.
    """
    pool = run.pool
    checkpoints = run.checkpoints
    columns = pool.table()
    round_of = torch.tensor(columns["round"].to_numpy())
    wrong_when_added = ~torch.tensor(columns["correct"].to_pylist())
    added = run.rounds.set_index("round")["step"].to_dict()
    rows = []
    for at in checkpoints:
        entropy, correct = assess(run.learner(at).logits, pool.x, pool.y)
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


def features(run: Run, rows: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Penultimate features [n, d] and labels [n] of `rows` new plain samples, or of all real examples."""
    config, learner = run.config, run.learner()
    if rows is None:
        data = load_data(config)
        sets = (data.validation,) if data.test is data.validation else (data.validation, data.test)
        x = np.concatenate([penultimate(learner, examples.x) for examples in sets])
        return x, torch.cat([examples.y for examples in sets]).numpy()
    generator = load_generator(config)
    labels = torch.arange(rows) % config.task.n_classes
    parts = []
    with torch.no_grad(), progress("drawing samples", rows) as advance:
        for block in slices(slice(0, rows), config.sampling.block_size):
            seeds = row_seeds(config.seed, FEATURES_ROUND, range(block.start, block.stop))
            parts.append(penultimate(learner, generator.sample(labels[block], seeds, None)))
            advance(len(seeds))
    return np.concatenate(parts), labels.numpy()
