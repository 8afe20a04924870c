"""One HTML file to look through a pool and to mark its wrong examples."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import pandas as pd
from PIL import Image

from dp_base.errors import InputError
from dp_experiments.show.report.pictures import examples_of, has_views, pictures, row_facts
from dp_experiments.terminal.lines import records, visible
from dp_experiments.terminal.pages import rendered
from dp_real.pool.marks import mark_of, read_marks
from dp_real.runs.reader import Run
from dp_real.text.codes import texts_of

MAX_EXAMPLES = 1000  # examples on a page
SIDE = 96  # pixels of a thumbnail at most; smaller images keep their size


def reviewed(run: Run, max_examples: int = MAX_EXAMPLES) -> list[dict[str, Any]]:
    """The `max_examples` hardest examples in order; entropy (nats) and `wrong` are of when an example was added."""
    config = run.config
    if not has_views(config):
        raise InputError(f"{run.path}: data.source = '{config.data.source}' has neither images nor texts to show")
    pool, names = run.pool, config.task.classes
    facts = row_facts(pool).sort_values("entropy", ascending=False, kind="stable")[:max_examples]
    x = examples_of(pool, facts)
    if config.data.modality == "text":
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


def encoded(image: Any) -> str:
    """An image in [0, 1] of shape (H, W) or (H, W, 3) as a PNG in base64."""
    picture = Image.fromarray((255 * image).round().astype("uint8"))
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def review_page(run: Run, items: Sequence[dict[str, Any]]) -> str:
    """The HTML that shows the examples of `reviewed`. All values are escaped."""
    return rendered(
        "dp_experiments.show",
        "review.html.jinja",
        visible,
        run=visible(str(run.path)),
        items=items,
        classes=pd.unique(pd.Series([item["class"] for item in items])),
        rounds=sorted({item["round"] for item in items}),
        earlier=sorted(read_marks(run.config.pool.marks)),
    )
