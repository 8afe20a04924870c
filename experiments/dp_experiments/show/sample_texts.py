"""Texts of any configuration's generator, plain and chosen among candidates, as a learner finds them."""

import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from dp_base.errors import InputError
from dp_base.files import filled
from dp_base.progress import Progress
from dp_experiments.show.judge import Judge
from dp_experiments.show.sample import before_additions, places_of, verdicts, without_formulas
from dp_real.config import Config
from dp_real.pool.storages import open_storage
from dp_real.practice.assess import cpu_logits
from dp_real.practice.rounds import SampleDrawer
from dp_real.protocols import Learner
from dp_real.runs.prepare import load_generator
from dp_real.runs.reader import Run
from dp_real.runtime.seeds import row_seeds
from dp_real.text.codes import texts_of

OMEGAS = [0.0, 5.0, 20.0]
CANDIDATES = 4  # for a configuration that has none


class TextRow(NamedTuple):
    """Texts of the labels and seeds of the other rows, chosen at `omega` by what `learner` loads, if any."""

    omega: float
    learner: Callable[[], Learner] | None = None
    pool_size: int | None = None

    @property
    def facts(self) -> dict[str, float]:
        return ({"pool_size": self.pool_size} if self.pool_size else {}) | {"omega": self.omega}


def rows_over(run: str | Path | None, config: Config, omegas: list[float] | None) -> list[TextRow]:
    """A row for each strength, chosen by a run's latest learner; without a run, one plain row."""
    if run is None:
        return [TextRow(omega) for omega in omegas or [0.0]]
    own = Run(run)
    if own.config.data.modality != "text" or own.config.task.classes != config.task.classes:
        raise InputError(f"--classifier {run}: it does not learn texts of these {config.task.n_classes} classes")
    return [TextRow(omega, own.learner) for omega in omegas or OMEGAS]


def rows_along(run: Run, omegas: list[float] | None) -> list[TextRow]:
    """A plain row, then one for the learner before each addition, at its strength or at `omegas`."""
    additions = before_additions(run, run.rounds["omega"], omegas)
    rows = [TextRow(omega, partial(run.learner, checkpoint), size) for checkpoint, size, omega in additions]
    if not rows:
        raise InputError(
            f"{run.path}: no addition was selected by a learner; name a run with some, or give strengths by --omega"
        )
    return [rows[0]._replace(omega=0.0), *rows]


def draw(
    config: Config, rows: Sequence[TextRow], labels: list[int], seed: int, out: Path, progress: Progress
) -> pd.DataFrame:
    """Write samples.csv, a line per text, and return the table.

    All rows choose among the same candidates, drawn as a run with this seed does; without a learner, the first is
    taken.
    """
    task = config.task
    count = max(config.guidance.candidates, CANDIDATES if rows[0].learner else 1)
    storage = open_storage(config.pool.storage, task.sample_shape)
    drawer = SampleDrawer(config, load_generator(config, progress=progress), storage)
    numbers, places = places_of(labels, task.n_classes)
    step = (max(numbers) + 1) * task.n_classes
    seeds = [row_seeds(seed, 0, [place + step * k for place in places]) for k in range(count)]
    y = torch.tensor(labels)
    accepted = [{label} for label in range(task.n_classes)]
    parts = []
    with filled(out) as staged:
        with progress("texts", len(rows)) as advance:
            for row in rows:
                learner = row.learner() if row.learner else None
                judge = (
                    Judge(partial(cpu_logits, learner.logits), task.classes, accepted, task.classes)
                    if learner
                    else None
                )
                sampled = drawer.chosen(learner.logits, y, seeds, row.omega) if learner else drawer.draw(y, seeds[0])
                facts = row.facts | {"class": [task.classes[label] for label in labels], "label": labels}
                facts |= {"number": numbers, "seed": sampled.seeds, "text": texts_of(sampled.x)}
                facts |= verdicts(judge, sampled.x, labels)
                if config.pool.soft_labels or config.guidance.likelihood_weight:  # else it would cost, unasked
                    facts["likelihood"] = drawer.posterior(sampled.x).gather(1, y.unsqueeze(1)).squeeze(1).numpy()
                parts.append(pd.DataFrame(facts))
                advance(1)
        samples = pd.concat(parts, ignore_index=True)
        shown = without_formulas(samples)
        shown.to_csv(staged / "samples.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)  # a text may have any sign
    return samples
