"""The samples of a run that its learner found hardest when they were added."""

import base64
import io
from typing import Any

import pandas as pd
import torch
from PIL import Image

from dp_base.errors import InputError, MissingError
from dp_experiments.show.report.pictures import examples_of, pictures, row_facts
from dp_experiments.terminal.lines import say
from dp_real.pool import Pool
from dp_real.practice.assess import cpu_logits
from dp_real.runs.reader import Run
from dp_real.text.codes import texts_of

IMAGES = 96  # half of them wrong when they were added
SIDE = 96  # pixels of a thumbnail at most; smaller images keep their size
TEXTS = 20
MAX_CHARACTERS = 300  # characters of a text


def hardest_images(run: Run, pool: Pool) -> list[dict[str, Any]]:
    """Hardest first; none if the pool has no images or nothing was added."""
    task = run.config.task
    if len(task.sample_shape) != 3:
        return []
    facts = row_facts(pool)
    added = facts[facts["round"] > 0].sort_values("entropy", ascending=False)
    halves = [added[added["correct"] == right].head(IMAGES // 2) for right in (False, True)]
    hardest = pd.concat(halves).sort_values("entropy", ascending=False)
    if hardest.empty:
        return []
    images = pictures(examples_of(pool, hardest))
    return [
        {
            "class": task.classes[row.label],
            "round": int(row.round),
            "entropy": float(row.entropy),
            "omega": float(row.omega),
            "wrong": not row.correct,
            "picture": encoded(image),
        }
        for row, image in zip(hardest.itertuples(), images, strict=True)
    ]


def encoded(image: Any) -> str:
    """An image in [0, 1] of shape (H, W) or (H, W, 3) as a PNG in base64."""
    picture = Image.fromarray((255 * image).round().astype("uint8"))
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def hardest_texts(run: Run, pool: Pool) -> list[dict[str, Any]]:
    """The added texts of the highest entropy (nats), else initial ones.

    `right` is of when a text was added, `predicted` of now.
    """
    facts = row_facts(pool)
    added = facts[facts["round"] > 0] if facts["round"].any() else facts
    hardest = added.sort_values("entropy", ascending=False, kind="stable")[:TEXTS]
    x = examples_of(pool, hardest)
    names = run.config.task.classes
    try:
        learner = run.learner()
        with torch.no_grad():
            predicted = [names[label] for label in cpu_logits(learner.logits, x).argmax(1).tolist()]
    except (InputError, MissingError) as error:
        say(f"what the learner now predicts is left out: {error}")
        predicted = [None] * len(hardest)
    return [
        {
            "text": text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} …",
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
