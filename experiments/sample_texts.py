"""Texts of any configuration's generator, plain and chosen among candidates, as a learner finds them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dp_base.errors import InputError
from dp_base.files import filled
from dp_base.progress import Progress
from dp_real.config import Config
from dp_real.evaluation.assess import logits
from dp_real.guidance.entropy import entropy
from dp_real.pool import texts_of
from dp_real.pool.storage import Storage
from dp_real.protocols import Learner
from dp_real.rounds.blocks import Blocks
from dp_real.rounds.source import GeneratedRounds
from dp_real.runs.prepare import load_generator
from dp_real.runs.reader import Run
from dp_real.runtime.seeds import row_seeds

OMEGAS = [0.0, 5.0, 20.0]
CANDIDATES = 4  # for a configuration that has none


def load_judge(run: Path, config: Config) -> Learner:
    """The latest learner of a run. Raises InputError unless it learns the texts of these classes."""
    own = Run(run)
    if not own.config.data.text or own.config.task.classes != config.task.classes:
        raise InputError(f"--classifier {run}: it does not learn texts of these {config.task.n_classes} classes")
    return own.learner()


def draw_texts(
    config: Config,
    judge: Learner | None,
    omegas: list[float],
    labels: list[int],
    seed: int,
    out: Path,
    progress: Progress,
) -> pd.DataFrame:
    """Write samples.csv, a row per text; returns that table.

    At each strength, a text is chosen among the same candidates of its row: guidance.candidates, or CANDIDATES. Without
    a judge, the first candidate is taken. The i-th text of a class is drawn from the same seed as the i-th one in the
    initial round of a run with this seed.
    """
    task, count = config.task, max(config.guidance.candidates, CANDIDATES if judge is not None else 1)
    rounds = GeneratedRounds(
        config, load_generator(config, progress=progress), Storage(config.pool, task.sample_shape), Blocks(1)
    )
    numbers = [labels[:place].count(label) for place, label in enumerate(labels)]  # within a class
    rows = [number * task.n_classes + label for number, label in zip(numbers, labels, strict=True)]
    step = (max(rows) // task.n_classes + 1) * task.n_classes
    seeds = [row_seeds(seed, 0, [row + step * k for row in rows]) for k in range(count)]
    y, parts = torch.tensor(labels), []
    with filled(out) as staged:
        with progress("texts", len(omegas)) as advance:
            for omega in omegas:
                strength = np.full(len(y), omega, np.float32)
                if judge is None:
                    sampled = rounds.plain(y, seeds[0], "samples")
                else:
                    sampled = rounds.chosen(judge, y, seeds, strength, "samples")
                facts = {"omega": omega, "class": [task.classes[label] for label in labels], "label": labels}
                facts |= {"number": numbers, "seed": sampled.seeds, "text": texts_of(sampled.x)}
                parts.append(pd.DataFrame(facts | _verdicts(judge, sampled.x, y, task.classes)))
                advance(1)
        samples = pd.concat(parts, ignore_index=True)
        samples.to_csv(staged / "samples.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)  # a text may have any sign
    return samples


@torch.no_grad()
def _verdicts(judge: Learner | None, x: torch.Tensor, y: torch.Tensor, names: tuple[str, ...]) -> dict:
    """Columns: a text's entropy in nats, its predicted class, and whether that is as asked, where known."""
    if judge is None:
        return {"entropy": np.nan, "predicted": None, "as_asked": None}
    answers = logits(judge, x)
    best = answers.argmax(1)
    predicted = [names[label] for label in best.tolist()]
    return {"entropy": entropy(answers).numpy(), "predicted": predicted, "as_asked": (best == y).tolist()}
