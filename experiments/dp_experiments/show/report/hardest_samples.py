"""The samples of a run that its learner found hardest when they were added."""

import base64
import io
from typing import Any

import pandas as pd
import torch
from PIL import Image

from dp_base.errors import InputError, MissingError
from dp_experiments.show.report.pictures import examples_of, pictures, row_facts
from dp_experiments.terminal.lines import records, say
from dp_real.guidance.entropy import cpu_logits
from dp_real.pool import Pool
from dp_real.pool.marks import mark_of
from dp_real.runs.reader import Run
from dp_real.text.codes import texts_of

IMAGES = 96  # half of them wrong when they were added
SIDE = 96  # pixels of a thumbnail at most; smaller images keep their size
TEXTS = 20
MAX_CHARACTERS = 300  # characters of a text


def shown(run: Run, pool: Pool, facts: pd.DataFrame) -> list[dict[str, Any]]:
    """These rows of `row_facts` with their examples; `wrong` is of when an example was added."""
    x, names = examples_of(pool, facts), run.config.task.classes
    if run.config.data.modality == "text":
        views = [{"text": text} for text in texts_of(x)]
    else:
        views = [{"picture": encoded(picture)} for picture in pictures(x)]
    items = []
    for row, example, view in zip(records(facts), x, views, strict=True):
        name = names[row["label"]]
        likelihood = None if pool.posterior is None else float(pool.posterior[row["row"], row["label"]])
        own = {"class": name, "wrong": not row["correct"], "likelihood": likelihood, "mark": mark_of(example, name)}
        items.append(row | own | view)
    return items


def hardest_images(run: Run, pool: Pool) -> list[dict[str, Any]]:
    """Hardest first; none if the pool has no images or nothing was added."""
    if len(run.config.task.sample_shape) != 3:
        return []
    facts = row_facts(pool)
    added = facts[facts["round"] > 0].sort_values("entropy", ascending=False)
    halves = [added[added["correct"] == right].head(IMAGES // 2) for right in (False, True)]
    hardest = pd.concat(halves).sort_values("entropy", ascending=False)
    return [] if hardest.empty else shown(run, pool, hardest)


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
    names = run.config.task.classes
    try:
        learner = run.learner()
        with torch.no_grad():
            answers = cpu_logits(learner.logits, examples_of(pool, hardest)).argmax(1)
        predicted = [names[label] for label in answers.tolist()]
    except (InputError, MissingError) as error:
        say(f"what the learner now predicts is left out: {error}")
        predicted = [None] * len(hardest)
    return [
        {
            "text": item["text"] if len(item["text"]) <= MAX_CHARACTERS else f"{item['text'][:MAX_CHARACTERS]} …",
            "label": item["class"],
            "predicted": answer,
            "entropy": item["entropy"],
            "right when added": "no" if item["wrong"] else "yes",
            "round": item["round"],
        }
        | ({} if item["likelihood"] is None else {"p(label)": item["likelihood"]})
        for item, answer in zip(shown(run, pool, hardest), predicted, strict=True)
    ]
