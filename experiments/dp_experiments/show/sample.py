"""Plain and guided images from the same noise (paper Figs. 10 to 13)."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from dp_figures.curves import save
from dp_figures.grids import draw_images
from matplotlib.figure import Figure
from torch import Tensor

from dp_base.errors import InputError
from dp_base.files import filled
from dp_base.progress import Progress
from dp_experiments.show.judge import Judge, load_judge, logits_of
from dp_experiments.show.report.pictures import pictures
from dp_real.config import Config
from dp_real.data.sets.class_names import folder_names
from dp_real.guidance.entropy import EntropyGuidance, entropy
from dp_real.protocols import Generator
from dp_real.runs.prepare import load_generator
from dp_real.runs.reader import Checkpoint, Run
from dp_real.runtime.distributed import slices
from dp_real.runtime.finite import require_samples
from dp_real.runtime.pixels import to_bytes, to_image
from dp_real.runtime.seeds import row_seeds

OMEGAS = [0.0, 0.01, 0.02, 0.05]
MIN_WIDTH = 2.4  # inches, of a grid
IMAGE_WIDTH = 0.53  # inches, of an image in it
LABEL_WIDTH = 1.2  # inches, of what stands to the left of the images
JUDGED_TOGETHER = 64  # images
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")  # of a cell that a spreadsheet may compute


class GridRow(NamedTuple):
    """Images guided by `judge` at `omega`, plain without, from the labels and noise of the other rows."""

    omega: float
    judge: Judge | None

    @property
    def facts(self) -> dict[str, float]:
        if self.judge and self.judge.pool_size:
            return {"pool_size": self.judge.pool_size, "omega": self.omega}
        return {"omega": self.omega}

    @property
    def folder(self) -> str:
        learned = f"pool-{self.facts['pool_size']}-" if "pool_size" in self.facts else ""
        short = f"{self.omega:g}"
        return f"{learned}omega-{short if float(short) == self.omega else self.omega}"


def rows_over(classifier: str | Path | None, config: Config, omegas: list[float] | None) -> list[GridRow]:
    """A row for each strength, guided by what `load_judge` takes; without one, a plain row."""
    judge = load_judge(str(classifier), config.task) if classifier else None
    return [GridRow(omega, judge) for omega in omegas or (OMEGAS if judge else [0.0])]


def before_additions(
    run: Run, strengths: pd.Series, omegas: list[float] | None
) -> Iterator[tuple[Checkpoint, int, float]]:
    """The checkpoint before each addition, its learner's examples, and the strength, for which `omegas` may stand."""
    counts = run.rounds["count"]
    for checkpoint in run.checkpoints:
        done = checkpoint.state.rounds
        for omega in omegas or strengths[done : done + 1].tolist():
            if omega:
                yield checkpoint, int(counts[:done].sum()), omega


def rows_along(run: Run, omegas: list[float] | None) -> list[GridRow]:
    """A plain row, then one for the learner before each addition, at its strength or at `omegas`."""
    task = run.config.task
    accepted = [{label} for label in range(task.n_classes)]

    @lru_cache(maxsize=1)  # one learner in memory at a time
    def learned(checkpoint: Checkpoint) -> Callable[[Tensor], Tensor]:
        return logits_of(run.learner(checkpoint), task)

    def replayed(checkpoint: Checkpoint, x: Tensor) -> Tensor:
        return learned(checkpoint)(x)

    strengths = run.rounds["omega"] * run.config.guidance.guides_sampler
    rows = []
    for checkpoint, size, omega in before_additions(run, strengths, omegas):
        judge = Judge(partial(replayed, checkpoint), task.classes, accepted, task.classes, size)
        rows.append(GridRow(omega, judge))
    if not rows:
        raise InputError(
            f"{run.path}: no addition was guided; name a run with guided additions, or strengths by --omega"
        )
    return [GridRow(0.0, rows[0].judge), *rows]


def places_of(labels: list[int], classes: int) -> tuple[list[int], list[int]]:
    """The number of each label within its class, and the row of a run's initial round with that label and number."""
    numbers = [labels[:place].count(label) for place, label in enumerate(labels)]
    return numbers, [number * classes + label for number, label in zip(numbers, labels, strict=True)]


def draw(
    config: Config, rows: list[GridRow], labels: list[int], seed: int, out: Path, progress: Progress
) -> pd.DataFrame:
    """Write each image, their grid and samples.csv, all or none, and return the table.

    The i-th image of a class starts from the noise of the i-th in the initial round of a run with this seed.
    """
    task = config.task
    generator = load_generator(config, progress=progress)
    numbers, places = places_of(labels, task.n_classes)
    seeds = row_seeds(seed, 0, places)
    names = [task.classes[label] for label in labels]
    same_in_each_row = {"class": names, "label": labels, "number": numbers, "seed": seeds}
    file_stems = folder_names(task.classes)
    grid = []
    parts = []
    with filled(out) as staged:
        with progress("images", len(rows) * len(labels)) as advance:
            for row in rows:
                x = sample_row(config, generator, row, torch.tensor(labels), seeds, advance)
                files = [f"{row.folder}/{file_stems[label]}-{i}.png" for label, i in zip(labels, numbers, strict=True)]
                (staged / row.folder).mkdir(exist_ok=True)
                for file, image in zip(files, x, strict=True):
                    to_image(to_bytes(image)).save(staged / file)
                grid.append(pictures(x))
                judged = verdicts(row.judge, x, labels)
                parts.append(pd.DataFrame(row.facts | same_in_each_row | judged | {"file": files}))
        samples = pd.concat(parts, ignore_index=True)
        save(draw_grid(np.stack(grid), samples), staged / "samples")
        without_formulas(samples).to_csv(staged / "samples.csv", index=False)
    return samples


def sample_row(
    config: Config, generator: Generator, row: GridRow, y: Tensor, seeds: np.ndarray, advance: Callable[[int], None]
) -> Tensor:
    """[n, C, H, W], in blocks as a run draws them; refuses an image that is not finite or constant."""
    guidance = (
        EntropyGuidance.from_config(config.guidance, row.judge.logits, row.omega) if row.judge and row.omega else None
    )
    parts = []
    for block in slices(slice(0, len(y)), config.sampling.block_size):
        parts.append(generator.sample(y[block], seeds[block], guidance))
        require_samples(parts[-1], row.folder, "lower --omega" if guidance else config.sample_remedy(guided=False))
        advance(len(parts[-1]))
    return torch.cat(parts)


@torch.no_grad()
def verdicts(judge: Judge | None, x: Tensor, labels: list[int]) -> dict[str, Any]:
    """A judge's entropy in nats, predicted class, and whether it is as asked (None: unknown)."""
    if judge is None:
        return {"entropy": np.nan, "predicted": None, "as_asked": None}
    logits = torch.cat([judge.logits(part).float().cpu() for part in x.split(JUDGED_TOGETHER)])
    answers = logits.argmax(1).tolist()
    accepted = [judge.accepted[label] for label in labels]
    return {
        "entropy": entropy(logits).numpy(),
        "predicted": [judge.names[answer] for answer in answers],
        "as_asked": [answer in means if means else None for answer, means in zip(answers, accepted, strict=True)],
    }


def without_formulas(samples: pd.DataFrame) -> pd.DataFrame:
    """An apostrophe keeps a spreadsheet from reading a text as a formula."""

    def quoted(value: object) -> object:
        begins_formula = isinstance(value, str) and value.lstrip(" ").startswith(FORMULA_STARTS)
        return f"'{value}" if begins_formula else value

    texts = [name for name in samples.columns if not pd.api.types.is_numeric_dtype(samples[name])]
    return samples.assign(**{name: samples[name].map(quoted) for name in texts})


def summarize(samples: pd.DataFrame) -> pd.DataFrame:
    """The mean entropy of each row, and the share that is classified as asked."""
    keys = samples.columns.intersection(["pool_size", "omega"], sort=False).tolist()
    values = samples.astype({"entropy": float, "as_asked": float})
    means = values.groupby(keys, sort=False)[["entropy", "as_asked"]].mean().reset_index().astype(object)
    return means.where(means.notna(), None)


def draw_grid(images: np.ndarray, samples: pd.DataFrame) -> Figure:
    """Draw images (rows, columns, H, W) or (…, 3) with their entropy, framed if classified as another class."""
    size = images.shape[:2]
    names = []
    for row in summarize(samples).itertuples():
        learned = f"{row.pool_size:,} examples\n" if "pool_size" in samples else ""
        hardness = "" if row.entropy is None else f"\nH = {row.entropy:.2f}"
        names.append(f"{learned}ω = {row.omega:.3g}{hardness}")
    judged = bool(samples["entropy"].notna().all())
    return draw_images(
        images,
        names,
        samples["class"].tolist()[: size[1]],
        columns="class  (below: entropy in nats; framed: taken for another class)" if judged else "class",
        notes=samples["entropy"].map("{:.2f}".format).to_numpy().reshape(size) if judged else None,
        marked=samples["as_asked"].eq(False).to_numpy().reshape(size),
        width=max(MIN_WIDTH, IMAGE_WIDTH * size[1] + LABEL_WIDTH),
    )
