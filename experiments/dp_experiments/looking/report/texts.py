"""The texts of a run that its learner found hardest when they were added."""

from typing import Any

import torch

from dp_base.errors import DamagedError, InputError, MissingError
from dp_experiments.looking.report.pictures import examples_of, told_of
from dp_real.evaluate.assess import logits
from dp_real.pool import Pool
from dp_real.runs.reader import Run
from dp_real.text.codes import texts_of

SHOWN = 20  # texts
LONGEST = 300  # characters of each


def hardest_texts(run: Run, pool: Pool) -> list[dict[str, Any]]:
    """The added texts of the highest entropy (nats), else initial ones.

    `right` is of when a text was added, `predicted` of now.
    """
    facts = told_of(pool)
    added = facts[facts["round"] > 0] if facts["round"].any() else facts
    hardest = added.sort_values("entropy", ascending=False, kind="stable")[:SHOWN]
    x = examples_of(pool, hardest)
    names = run.config.task.classes
    try:
        learner = run.learner()
        with torch.no_grad():
            predicted = [names[label] for label in logits(learner, x).argmax(1).tolist()]
    except (InputError, DamagedError, MissingError):
        predicted = [None] * len(hardest)
    return [
        {
            "text": text if len(text) <= LONGEST else f"{text[:LONGEST]} …",
            "label": names[row.label],
            "predicted": answer,
            "entropy": row.entropy,
            "right when added": "yes" if row.correct else "no",
            "round": row.round,
        }
        | ({} if pool.posterior is None else {"p(label)": likelihood(pool, row.row)})
        for text, answer, row in zip(texts_of(x), predicted, hardest.itertuples(), strict=True)
    ]


def likelihood(pool: Pool, row: int) -> float | None:
    """The generator's own probability of a row's label, if the pool has soft labels."""
    return None if pool.posterior is None else float(pool.posterior[row, int(pool.y[row])])
