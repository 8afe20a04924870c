"""One HTML file to look through a pool and to mark its wrong examples."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dp_base.errors import InputError
from dp_experiments.show.report.hardest_samples import encoded, likelihood
from dp_experiments.show.report.pictures import examples_of, pictures, row_facts
from dp_experiments.terminal.lines import visible
from dp_experiments.terminal.pages import rendered
from dp_real.pool.marks import mark_of, read_marks
from dp_real.runs.reader import Run
from dp_real.text.codes import texts_of

MAX_EXAMPLES = 1000  # examples on a page


def reviewed(run: Run, max_examples: int = MAX_EXAMPLES) -> list[dict[str, Any]]:
    """The `max_examples` hardest examples in order; entropy (nats) and `wrong` are of when an example was added."""
    config = run.config
    is_text = config.data.modality == "text"
    if not is_text and len(config.task.sample_shape) != 3:
        raise InputError(f"{run.path}: data.source = '{config.data.source}' has neither images nor texts to show")
    pool = run.pool
    hardest = row_facts(pool).sort_values("entropy", ascending=False, kind="stable")[:max_examples]
    x = examples_of(pool, hardest)
    shown = (
        [{"text": visible(text)} for text in texts_of(x)] if is_text else [{"picture": encoded(p)} for p in pictures(x)]
    )
    names = config.task.classes
    items = []
    for row, example, view in zip(hardest.to_dict("records"), x, shown, strict=True):
        name = names[row["label"]]
        facts = {key: row[key] for key in ("row", "round", "entropy")}
        facts |= {"class": name, "wrong": not row["correct"], "likelihood": likelihood(pool, row["row"])}
        items.append(facts | view | {"mark": mark_of(example, name)})
    return items


def review_page(run: Run, items: Sequence[dict[str, Any]]) -> str:
    """The HTML that shows the examples of `reviewed`. All values are escaped."""
    return rendered(
        "dp_experiments.show",
        "review.html.jinja",
        run=visible(str(run.path)),
        items=items,
        classes=pd.unique(pd.Series([item["class"] for item in items])),
        rounds=sorted({item["round"] for item in items}),
        earlier=sorted(read_marks(run.config.pool.marks)),
    )
