"""Label agreement: the share of generated rows that a classifier of real images takes for what was asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from dp_base.errors import InputError
from dp_experiments.looking.judge import Judge
from dp_real.evaluation.sets import standard_error
from dp_real.examples import ExampleArray, ExampleSet
from dp_real.runs.reader import Run
from dp_real.runtime.pixels import to_float
from dp_real.runtime.processes import slices

ROWS = 256  # that are judged together


class Trust(NamedTuple):
    """A judge's own accuracy on `images` real images, and its standard error."""

    accuracy: float
    se: float
    images: int


def confirmed(judge: Judge, x: ExampleArray, labels: np.ndarray) -> np.ndarray:
    """Whether the judge takes each example for one of its class, bool [n]. Raises InputError for a class unknown to it.

    x: [n, C, H, W]. labels: int64 [n].
    """
    unknown = next((label for label in np.unique(labels) if not judge.accepted[label]), None)
    if unknown is not None:
        raise InputError(f"the judge knows no class that means class {unknown}: name one of these classes as --judge")
    with torch.no_grad():
        parts = [judge.logits(to_float(x[rows])).argmax(1).tolist() for rows in slices(slice(0, len(labels)), ROWS)]
    answers = [answer for part in parts for answer in part]
    return np.array([answer in judge.accepted[label] for answer, label in zip(answers, labels, strict=True)], bool)


def trust(judge: Judge, images: ExampleSet) -> Trust:
    """How often the judge is right about real images."""
    accuracy = float(confirmed(judge, images.x, images.y.numpy()).mean())
    n = len(images.y)
    return Trust(accuracy, standard_error(accuracy, n), n)


def judged_rows(run: Run, judge: Judge) -> pd.DataFrame:
    """The rows of a run's pool: round, omega, entropy in nats and missed, by the learner of the time; and confirmed."""
    pool = run.pool
    rows = pool.table().select(["round", "label", "omega", "entropy", "correct"]).to_pandas()
    rows["missed"] = ~rows.pop("correct")
    rows["confirmed"] = confirmed(judge, pool.x, rows.pop("label").to_numpy())
    return rows


def agreement(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per round: samples, mean omega and entropy, the share missed by the learner of the time, the share
    confirmed, and the share confirmed of those missed (None if none was).
    """
    table = rows.groupby("round").agg(
        samples=("omega", "size"),
        omega=("omega", "mean"),
        entropy=("entropy", "mean"),
        missed=("missed", "mean"),
        confirmed=("confirmed", "mean"),
    )
    table["confirmed_of_missed"] = rows[rows["missed"]].groupby("round")["confirmed"].mean()
    table = table.reset_index().astype(object)
    return [
        {str(key): value for key, value in row.items()} for row in table.where(table.notna(), None).to_dict("records")
    ]
