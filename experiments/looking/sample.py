"""Plain and guided images at the same noise, from any configuration's generator, under any image classifier.

Over strengths (paper Figs. 12, 13), or over a run's learners as training went on (Figs. 10, 11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from dp_base.errors import InputError
from dp_base.files import filled
from dp_base.progress import Progress
from dp_real.config import Config
from dp_real.data.imagenet.classes import imagenet_classes, imagenet_of
from dp_real.data.sets.class_names import folder_names
from dp_real.examples import Task
from dp_real.guidance.entropy import EntropyGuidance, entropy
from dp_real.learners.models.classifier import known_classifier
from dp_real.protocols import Generator, Learner
from dp_real.runs.files import RunFiles
from dp_real.runs.prepare import load_generator
from dp_real.runs.reader import Checkpoint, Run
from dp_real.runtime.finite import require_samples
from dp_real.runtime.pixels import fit, to_bytes, to_image
from dp_real.runtime.processes import device, slices
from dp_real.runtime.seeds import row_seeds
from experiments.looking.report.pictures import pictures
from figures.curves import save
from figures.grids import draw_images

OMEGAS = [0.0, 0.01, 0.02, 0.05]
MIN_WIDTH, CELL, BESIDE = 2.4, 0.53, 1.2  # inches: of the grid, of an image in it, of what stands to the left


@dataclass(frozen=True)
class Judge:
    """A classifier that guides, and that classifies the images.

    logits: differentiable, [B, C, H, W] in [-1, 1] -> [B, K]. names: of the K classes. accepted: for each class of the
    task, which of the K mean it. pool_size: how many examples it had learned from, where rows differ by that.
    """

    logits: Callable[[Tensor], Tensor]
    names: Sequence[str]
    accepted: Sequence[set[int]]
    pool_size: int | None = None


@dataclass(frozen=True)
class GridRow:
    """Examples of the same labels and from the same noise as in the other rows, guided by `judge` at `omega`."""

    omega: float
    judge: Judge | None

    @property
    def facts(self) -> dict[str, float]:
        """What the other rows have otherwise."""
        learned = {"pool_size": self.judge.pool_size} if self.judge and self.judge.pool_size else {}
        return learned | {"omega": self.omega}

    @property
    def folder(self) -> str:
        """Where its images go."""
        learned = f"pool-{self.facts['pool_size']}-" if "pool_size" in self.facts else ""
        return f"{learned}omega-{self.omega:g}"


def load_judge(given: str, task: Task) -> Judge:
    """The latest learner of a run, or an image classifier of transformers, as a judge of the task's classes.

    Raises InputError for a run that has learned nothing yet or no images, MissingError if weights are missing.
    """
    if not RunFiles(Path(given)).is_run:
        model: Any = known_classifier(given, task.sample_shape, {}).to(device()).eval().requires_grad_(False)
        labels = model.model.config.id2label
        names = [labels[label] for label in range(len(labels))]
        return Judge(lambda x: model(x.to(device())), names, accepted_answers(names, task.classes))
    run = Run(given)
    own = run.config.task
    if len(own.sample_shape) != 3:
        raise InputError(
            f"{given}: it learns no images, but examples of shape {[*own.sample_shape]}; name a classifier"
        )
    return Judge(asked(run.learner(), own), own.classes, accepted_answers(own.classes, task.classes))


def asked(learner: Learner, task: Task) -> Callable[[Tensor], Tensor]:
    """The logits of a learner of a task's images, for images of any size."""
    shape = task.sample_shape
    return lambda x: learner.logits(fit(x.expand(-1, max(x.shape[1], shape[0]), -1, -1), shape))


def accepted_answers(names: Sequence[str], classes: Sequence[str]) -> list[set[int]]:
    """For each of the task's classes, which of a classifier's names mean it; none if it knows no such class.

    A class is found by its name; a classifier may give several names between commas. An ImageNet task is found among
    all 1,000 classes by their order. If no name is known and the numbers of classes agree, position decides.
    """
    task = imagenet_of(classes)
    if task and len(names) == 1000:
        return [{entry.index} for entry in imagenet_classes(task)]
    spoken = [{part.strip().lower() for part in name.split(",")} for name in names]
    found = [{label for label, means in enumerate(spoken) if name.lower() in means} for name in classes]
    return found if any(found) or len(names) != len(classes) else [{label} for label in range(len(classes))]


def rows_over(judge: Judge | None, omegas: list[float] | None) -> list[GridRow]:
    """A row for each strength; without a classifier, one plain row."""
    return [GridRow(omega, judge) for omega in omegas or (OMEGAS if judge else [0.0])]


class Replay:
    """A run's learners at its checkpoints. One is in memory at a time: all together may be too large."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._at: Path | None = None
        self._ask: Callable[[Tensor], Tensor] = torch.empty_like  # replaced when asked

    def logits(self, checkpoint: Checkpoint, x: Tensor) -> Tensor:
        """See Judge."""
        if self._at != checkpoint.path:
            self._ask, self._at = asked(self.run.learner(checkpoint), self.run.config.task), checkpoint.path
        return self._ask(x)


def before_additions(
    run: Run, strengths: pd.Series, omegas: list[float] | None
) -> Iterator[tuple[Checkpoint, int, float]]:
    """The checkpoint before each addition, how many examples its learner had learned from, and a strength.

    strengths: of the run's rounds. omegas: take their place, each in turn. A strength of 0 is left out.
    """
    counts = run.rounds["count"]
    for checkpoint in run.checkpoints:
        done = checkpoint.state.rounds
        for omega in omegas or strengths[done : done + 1].tolist():
            if omega:
                yield checkpoint, int(counts[:done].sum()), omega


def rows_along(run: Run, omegas: list[float] | None) -> list[GridRow]:
    """A plain row, then one for the learner before each addition, at the strength of that addition or at `omegas`."""
    task, replay = run.config.task, Replay(run)
    accepted = [{label} for label in range(task.n_classes)]
    guided_omegas = run.rounds["omega"] * run.config.guidance.guides_sampler
    rows = [
        GridRow(omega, Judge(partial(replay.logits, checkpoint), task.classes, accepted, size))
        for checkpoint, size, omega in before_additions(run, guided_omegas, omegas)
    ]
    if not rows:
        raise InputError(
            f"{run.path}: no addition was guided; name a run with guided additions, or strengths by --omega"
        )
    return [GridRow(0.0, rows[0].judge), *rows]


def draw(
    config: Config, rows: list[GridRow], labels: list[int], seed: int, out: Path, progress: Progress
) -> pd.DataFrame:
    """Write each image, their grid and samples.csv, a row per image, all or none; returns that table.

    The i-th image of a class starts from the noise of the i-th one in the initial round of a run with this seed.
    """
    task, generator = config.task, load_generator(config, progress=progress)
    numbers = [labels[:place].count(label) for place, label in enumerate(labels)]  # within a class
    seeds = row_seeds(seed, 0, [i * task.n_classes + label for i, label in zip(numbers, labels, strict=True)])
    names = [task.classes[label] for label in labels]
    what = {"class": names, "label": labels, "number": numbers, "seed": seeds}
    grid, parts, safe = [], [], folder_names(task.classes)
    with filled(out) as staged:
        with progress("images", len(rows) * len(labels)) as advance:
            for row in rows:
                x = sample_row(config, generator, row, torch.tensor(labels), seeds, advance)
                files = [f"{row.folder}/{safe[label]}-{i}.png" for label, i in zip(labels, numbers, strict=True)]
                (staged / row.folder).mkdir(exist_ok=True)
                for file, image in zip(files, x, strict=True):
                    to_image(to_bytes(image)).save(staged / file)
                grid.append(pictures(x))
                parts.append(pd.DataFrame(row.facts | what | verdicts(row.judge, x, labels) | {"file": files}))
        samples = pd.concat(parts, ignore_index=True)
        save(draw_grid(np.stack(grid), samples), staged / "samples")
        samples.to_csv(staged / "samples.csv", index=False)
    return samples


def sample_row(
    config: Config, generator: Generator, row: GridRow, y: Tensor, seeds: np.ndarray, advance: Callable[[int], None]
) -> Tensor:
    """The images [n, C, H, W] of a row, drawn in blocks as a run draws them.

    Raises DivergedError if one is not finite, or has one value throughout.
    """
    guidance = EntropyGuidance.of(config.guidance, row.judge.logits, row.omega) if row.judge and row.omega else None
    parts = []
    for block in slices(slice(0, len(y)), config.sampling.block_size):
        parts.append(generator.sample(y[block], seeds[block], guidance))
        require_samples(parts[-1], row.folder, "lower --omega" if guidance else config.sample_remedy(guided=False))
        advance(len(parts[-1]))
    return torch.cat(parts)


@torch.no_grad()
def verdicts(judge: Judge | None, x: Tensor, labels: list[int], batch_size: int = 64) -> dict[str, Any]:
    """Columns: an image's entropy in nats, its predicted class, and whether that is as asked, where known."""
    if judge is None:
        return {"entropy": np.nan, "predicted": None, "as_asked": None}
    logits = torch.cat([judge.logits(part).float().cpu() for part in x.split(batch_size)])
    answers = logits.argmax(1).tolist()
    accepted = [judge.accepted[label] for label in labels]
    return {
        "entropy": entropy(logits).numpy(),
        "predicted": [judge.names[answer] for answer in answers],
        "as_asked": [answer in means if means else None for answer, means in zip(answers, accepted, strict=True)],
    }


def summarize(samples: pd.DataFrame) -> pd.DataFrame:
    """For each row of images: its mean entropy, and the share that is classified as asked; None where unknown."""
    keys = samples.columns.intersection(["pool_size", "omega"], sort=False).tolist()
    values = samples.astype({"entropy": float, "as_asked": float})
    means = values.groupby(keys, sort=False)[["entropy", "as_asked"]].mean().reset_index().astype(object)
    return means.where(means.notna(), None)


def draw_grid(images: np.ndarray, samples: pd.DataFrame) -> Figure:
    """Examples [rows, columns, H, W(, 3)] with the entropy below each; framed if it is classified as another class."""
    size = images.shape[:2]
    names = []
    for row in summarize(samples).itertuples():
        learned = f"{row.pool_size:,} examples\n" if "pool_size" in samples else ""
        names.append(f"{learned}ω = {row.omega:.3g}" + ("" if row.entropy is None else f"\nH = {row.entropy:.2f}"))
    judged = bool(samples["entropy"].notna().all())
    return draw_images(
        images,
        names,
        samples["class"].tolist()[: size[1]],
        columns="class  (below: entropy in nats; framed: taken for another class)" if judged else "class",
        notes=samples["entropy"].map("{:.2f}".format).to_numpy().reshape(size) if judged else None,
        marked=samples["as_asked"].eq(False).to_numpy().reshape(size),
        width=max(MIN_WIDTH, CELL * size[1] + BESIDE),
    )
