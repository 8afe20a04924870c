"""One HTML file to look through a pool and to mark its wrong examples."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dp_base.errors import InputError
from dp_experiments.show.report.hardest_samples import shown
from dp_experiments.show.report.pictures import row_facts
from dp_experiments.terminal.lines import visible
from dp_experiments.terminal.pages import rendered
from dp_real.pool.marks import read_marks
from dp_real.runs.reader import Run

MAX_EXAMPLES = 1000  # examples on a page


def reviewed(run: Run, max_examples: int = MAX_EXAMPLES) -> list[dict[str, Any]]:
    """The `max_examples` hardest examples in order; entropy (nats) and `wrong` are of when an example was added."""
    config = run.config
    if config.data.modality != "text" and len(config.task.sample_shape) != 3:
        raise InputError(f"{run.path}: data.source = '{config.data.source}' has neither images nor texts to show")
    pool = run.pool
    return shown(run, pool, row_facts(pool).sort_values("entropy", ascending=False, kind="stable")[:max_examples])


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
