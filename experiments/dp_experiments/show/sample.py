"""Plain and guided images, or chosen texts, from the same noise (paper Figs. 10 to 13)."""

import csv
from collections.abc import Callable
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
from dp_base.progress import progress
from dp_experiments.show.judge import Judge, learned, load_judge
from dp_experiments.show.report.pictures import pictures
from dp_real.config import Config
from dp_real.data.sets.class_names import folder_names
from dp_real.guidance.entropy import EntropyGuidance, entropy
from dp_real.pool.storages import open_storage
from dp_real.practice.rounds import SampleDrawer
from dp_real.protocols import Generator
from dp_real.runs.prepare import load_generator
from dp_real.runs.reader import Checkpoint, Run
from dp_real.runtime.computing import require_samples
from dp_real.runtime.distributed import slices
from dp_real.runtime.pixels import to_bytes, to_image
from dp_real.runtime.seeds import row_seeds
from dp_real.text.codes import texts_of

OMEGAS = {"array": [0.0, 0.01, 0.02, 0.05], "text": [0.0, 5.0, 20.0]}
CANDIDATES = 4  # texts for each, if the configuration has none
MIN_WIDTH = 2.4  # inches, of a grid
IMAGE_WIDTH = 0.53  # inches, of an image in it
LABEL_WIDTH = 1.2  # inches, of what stands to the left of the images
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")  # of a cell that a spreadsheet may compute


class Row(NamedTuple):
    """Samples guided or chosen at `omega` by the judge that `load` gives, plain without, from the same noise."""

    omega: float
    load: Callable[[], Judge] | None = None
    pool_size: int | None = None

    @property
    def judge(self) -> Judge | None:
        return self.load() if self.load else None

    @property
    def facts(self) -> dict[str, float]:
        return ({"pool_size": self.pool_size} if self.pool_size else {}) | {"omega": self.omega}

    @property
    def folder(self) -> str:
        learned = f"pool-{self.pool_size}-" if self.pool_size else ""
        short = f"{self.omega:g}"
        return f"{learned}omega-{short if float(short) == self.omega else self.omega}"


def rows_over(classifier: str | Path | None, config: Config, omegas: list[float] | None) -> list[Row]:
    """A row for each strength, by what `load_judge` takes, or by a run of texts; without one, a plain row."""
    task, modality = config.task, config.data.modality
    if classifier is None:
        return [Row(omega) for omega in omegas or [0.0]]
    if modality == "text":
        run = Run(classifier)
        if run.config.data.modality != modality or run.config.task.classes != task.classes:
            raise InputError(f"--classifier {classifier}: it does not learn texts of these {task.n_classes} classes")
        judge = learned(run.learner(), task, task)
    else:
        judge = load_judge(str(classifier), task)
    return [Row(omega, lambda: judge) for omega in omegas or OMEGAS[modality]]


def rows_along(run: Run, omegas: list[float] | None) -> list[Row]:
    """A plain row, then one for the learner before each addition, at its strength or at `omegas`."""
    config, task, counts = run.config, run.config.task, run.rounds["count"]
    of_texts = config.data.modality == "text"
    strengths = run.rounds["omega"] * (of_texts or config.guidance.guides_sampler)

    @lru_cache(maxsize=1)  # one learner in memory at a time
    def before(checkpoint: Checkpoint) -> Judge:
        return learned(run.learner(checkpoint), task, task)

    rows = []
    for checkpoint in run.checkpoints:
        done = checkpoint.state.rounds
        size = int(counts[:done].sum())
        at = filter(None, omegas or strengths[done : done + 1].tolist())
        rows += [Row(omega, partial(before, checkpoint), size) for omega in at]
    if not rows:
        can_guide = run.checkpoints and (of_texts or config.generator.has_denoiser)
        remedy = "give --omega strengths above 0" if can_guide else "leave out --along"
        raise InputError(f"{run.path}: no addition was guided: {remedy}")
    return [rows[0]._replace(omega=0.0), *rows]


def draw(config: Config, rows: list[Row], labels: list[int], seed: int, out: Path) -> pd.DataFrame:
    """Write samples.csv, and images with their grid, all or none, and return the table.

    The i-th sample of a class starts from the noise of the i-th in the initial round of a run with this seed. Rows of
    texts choose among the same candidates.
    """
    task, of_texts = config.task, config.data.modality == "text"
    generator = load_generator(config)
    drawer = SampleDrawer(config, generator, open_storage(config.pool.storage, task.sample_shape))
    numbers = [labels[:place].count(label) for place, label in enumerate(labels)]  # of each label within its class
    places = [number * task.n_classes + label for number, label in zip(numbers, labels, strict=True)]  # in that round
    count = max(config.guidance.candidates, CANDIDATES) if of_texts and rows[0].load else 1
    step = (max(numbers) + 1) * task.n_classes
    candidates = [row_seeds(seed, 0, [place + step * k for place in places]) for k in range(count)]
    y = torch.tensor(labels)
    same_in_each_row = {"class": [task.classes[label] for label in labels], "label": labels, "number": numbers}
    file_stems = folder_names(task.classes)
    grid = []
    parts = []
    with filled(out) as staged, progress("samples", len(rows) * len(labels)) as advance:
        for row in rows:
            judge, seeds = row.judge, candidates[0]
            if of_texts:
                x, seeds, *_ = drawer.chosen(judge.logits, y, candidates, row.omega) if judge else drawer.draw(y, seeds)
                own = {"text": texts_of(x)}
                advance(len(labels))
            else:
                x = sample_row(config, generator, row, y, seeds, advance)
                files = [f"{row.folder}/{file_stems[label]}-{i}.png" for label, i in zip(labels, numbers, strict=True)]
                own = {"file": files}
                (staged / row.folder).mkdir(exist_ok=True)
                for file, image in zip(files, x, strict=True):
                    to_image(to_bytes(image)).save(staged / file)
                grid.append(pictures(x))
            facts = row.facts | same_in_each_row | {"seed": seeds}
            parts.append(pd.DataFrame(facts | verdicts(judge, x, labels) | own))
        samples = pd.concat(parts, ignore_index=True)
        if grid:
            save(draw_grid(np.stack(grid), samples), staged / "samples")
        shown = without_formulas(samples)
        shown.to_csv(staged / "samples.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)  # a text may have any sign
    return samples


def sample_row(
    config: Config, generator: Generator, row: Row, y: Tensor, seeds: np.ndarray, advance: Callable[[int], None]
) -> Tensor:
    """[n, C, H, W], in blocks as a run draws them; refuses an image that is not finite or constant."""
    judge = row.judge if row.omega else None
    guidance = EntropyGuidance.from_config(config.guidance, judge.logits, row.omega) if judge else None
    parts = []
    for block in slices(slice(0, len(y)), config.sampling.block_size):
        parts.append(generator.sample(y[block], seeds[block], guidance))
        require_samples(parts[-1], row.folder, "lower --omega" if guidance else config.sample_remedy(guided=False))
        advance(len(parts[-1]))
    return torch.cat(parts)


def verdicts(judge: Judge | None, x: Tensor, labels: list[int]) -> dict[str, Any]:
    """A judge's entropy in nats, predicted class, and whether it is as asked (None: unknown)."""
    if judge is None:
        return {"entropy": np.nan, "predicted": None, "as_asked": None}
    logits = judge.compute_logits(x)
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
    return values.groupby(keys, sort=False)[["entropy", "as_asked"]].mean().reset_index()


def draw_grid(images: np.ndarray, samples: pd.DataFrame) -> Figure:
    """Draw images (rows, columns, H, W) or (…, 3) with their entropy, framed if classified as another class."""
    size = images.shape[:2]
    names = []
    judged = bool(samples["entropy"].notna().all())
    for row in summarize(samples).itertuples():
        learned = f"{row.pool_size:,} examples\n" if "pool_size" in samples else ""
        hardness = f"\nH = {row.entropy:.2f}" if judged else ""
        names.append(f"{learned}ω = {row.omega:.3g}{hardness}")
    return draw_images(
        images,
        names,
        samples["class"].tolist()[: size[1]],
        columns="class  (below: entropy in nats; framed: taken for another class)" if judged else "class",
        notes=samples["entropy"].map("{:.2f}".format).to_numpy().reshape(size) if judged else None,
        marked=samples["as_asked"].eq(False).to_numpy().reshape(size),
        width=max(MIN_WIDTH, IMAGE_WIDTH * size[1] + LABEL_WIDTH),
    )
