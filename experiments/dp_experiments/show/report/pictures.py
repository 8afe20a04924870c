"""The pictures of a run, RUN/figures/*.png, drawn from what it has left so far."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from dp_figures.curves import draw_curves, save
from dp_figures.grids import draw_images
from dp_figures.tables import measured
from dp_figures.traces import draw_traces
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch.nn import functional

from dp_base.errors import DamagedError, MissingError
from dp_experiments.terminal.lines import say
from dp_real.config import Config
from dp_real.pool import Pool
from dp_real.runs.files import RunFiles
from dp_real.runs.reader import Run
from dp_real.runtime.distributed import this_process
from dp_real.runtime.pixels import to_float

CAPTIONS = {
    "training": "Validation accuracy, once warmed up, training loss and learning rate. Triangles: data were added.",
    "rounds": "Each addition against the pool's size after it: strength, hardness for the learner at the time, cost; "
    "and the validation accuracy that the learner reached with that pool.",
    "samples": "The first example of each class in each round; below it its entropy when it was added, in nats; framed "
    "if the learner took it for another class.",
}
"""What the page says below each picture."""
LAST = "training"  # the picture that is drawn last: if it is there, all are
SHOWN = 10  # rounds and classes in the grid of samples
THUMBNAIL = 128  # pixels a side of an image in a grid
TRACES = {"val_accuracy": "validation accuracy (%)", "train_loss": "training loss", "lr": "learning rate"}
"""The panels of the picture `training`."""
ROUNDS = {
    "omega": "strength ω",
    "entropy": "entropy when added (nats)",
    "fraction_wrong": "wrong when added (%)",
    "val_accuracy": "validation accuracy reached (%)",
    "seconds": "seconds to generate",
    "passes": "denoiser passes per example",
}
"""The panels of the picture `rounds`."""


def leave_figures(run: Path) -> None:
    """Draw a run that has ended; a failure is only remarked on, since the run is complete."""
    if not this_process().is_main_process:
        return
    try:
        draw_run(Run(run))
    except Exception as error:
        command = shlex.join(["dp", "real", "report", str(run)])
        say(f"{run}/figures: not drawn: {type(error).__name__}: {error}; {command} tries again")


def are_drawn(files: RunFiles) -> bool:
    """Whether a run is complete and its figures show its end."""
    last = files.figures / f"{LAST}.png"
    return files.result.exists() and last.exists() and last.stat().st_mtime >= files.result.stat().st_mtime


def draw_run(run: Run) -> None:
    """Write the pictures that a run's files allow, each whole or not at all, as PNG only, which takes half the time."""
    metrics, rounds, task, folder = run.metrics, run.rounds, run.config.task, run.files.figures
    if len(rounds) > 1 and len(metrics):
        save(draw_rounds(metrics, rounds), folder / "rounds", ["png"])
    if task.has_pictures and (pool := readable_pool(run)):
        save(draw_samples(pool, task.classes), folder / "samples", ["png"])
    if len(metrics):
        save(draw_training(metrics, rounds, run.config.training.warmup_steps), folder / LAST, ["png"])


def readable_pool(run: Run) -> Pool | None:
    """The pool; None if there is none yet or, with a remark, if it is damaged."""
    try:
        return run.pool
    except DamagedError as error:
        say(str(error))
    except MissingError:
        pass
    return None


def has_views(config: Config) -> bool:
    """Whether examples are images or texts, which one can look at."""
    return config.data.modality == "text" or config.task.has_pictures


def draw_training(metrics: pd.DataFrame, rounds: pd.DataFrame, warmup_steps: int) -> Figure:
    """Validation accuracy once warmed up, training loss and learning rate over the steps (paper Fig. 2)."""
    metrics = metrics.assign(val_accuracy=100 * metrics["val_accuracy"])
    added = rounds.query("round > 0")["step"] if len(rounds) else []
    parts = []
    for key, name in TRACES.items():
        warm = metrics["step"] >= min(warmup_steps, metrics["step"].max())
        rows = metrics[warm] if key == "val_accuracy" else metrics
        parts.append(of_one_run(rows["step"], rows[key], quantity=name))
    table = pd.concat(parts)
    table["added"] = table["x"].isin(added)
    return draw_traces(table, logy=[TRACES["train_loss"]])


def draw_rounds(metrics: pd.DataFrame, rounds: pd.DataFrame) -> Figure:
    """Strength, hardness, cost and accuracy of each addition, against the pool's size."""
    passes = (rounds["denoiser_forwards"] + rounds["denoiser_backwards"]) / rounds["count"]
    size = rounds["count"].cumsum()
    rounds = rounds.assign(size=size, fraction_wrong=100 * rounds["fraction_wrong"], passes=passes)
    # Not of the initial round, which is plain and was hard for a learner that had learned nothing.
    values = {key: rounds[rounds["round"] > 0].set_index("size")[key] for key in ("omega", "entropy", "fraction_wrong")}
    values["val_accuracy"] = 100 * metrics.groupby("pool_size")["val_accuracy"].last()
    costs = ("seconds", "passes") if passes.any() else ("seconds",)  # texts have no denoiser
    values |= {key: rounds.set_index("size")[key] for key in costs}
    table = pd.concat([of_one_run(y.index, y, quantity=ROUNDS[key]) for key, y in values.items()])
    figure = draw_curves(table, xlabel="examples in the pool", ylabel="", panel="quantity", sharey=False)
    for ax in figure.axes:
        if ax.get_title() != ROUNDS["val_accuracy"]:
            ax.set_ylim(0, 1.05 * ax.get_ylim()[1])
    return figure


def row_facts(pool: Pool) -> Any:
    """The columns of a pool but for examples, as a data frame."""
    return pool.table().select(["row", "round", "label", "omega", "entropy", "correct"]).to_pandas()


def examples_of(pool: Pool, facts: pd.DataFrame) -> torch.Tensor:
    """The examples of these rows of `row_facts`."""
    return to_float(pool.minibatch(torch.tensor(facts["row"].to_numpy()))[0])


def draw_samples(pool: Pool, classes: Sequence[str]) -> Figure:
    """The first example of each class in each round, framed if the learner was wrong."""
    facts = row_facts(pool)
    rounds = spread_out(int(facts["round"].max()) + 1)
    labels = spread_out(len(classes))
    shown = facts[facts["round"].isin(rounds) & facts["label"].isin(labels)].drop_duplicates(["round", "label"])
    images = pictures(examples_of(pool, shown))
    size = (len(rounds), len(labels))
    grid = np.ones((*size, *images.shape[1:]))
    notes = np.full(size, "", object)
    marked = np.zeros(size, bool)
    for image, row in zip(images, shown.itertuples(), strict=True):
        place = rounds.index(row.round), labels.index(row.label)
        grid[place] = image
        if row.round:  # the learner had seen nothing before the initial one
            notes[place] = f"{row.entropy:.2f}"
            marked[place] = not row.correct
    omegas = facts.groupby("round")["omega"].mean()
    names = [f"{index}  (ω = {omegas[index]:.2g})" if index else "0  (initial)" for index in rounds]
    what = "class  (below: entropy in nats when added; framed: the learner was wrong)"
    columns = [classes[label] for label in labels]
    return draw_images(grid, names, columns, rows="round", columns=what, notes=notes, marked=marked)


def spread_out(count: int) -> list[int]:
    """At most SHOWN of 0, …, count - 1, evenly spaced, with both ends."""
    return np.linspace(0, count - 1, min(count, SHOWN)).round().astype(int).tolist()


def pictures(x: torch.Tensor) -> np.ndarray:
    """Images [B, C, H, W] in [-1, 1] as (B, H, W) or (B, H, W, 3) in [0, 1], at most THUMBNAIL pixels a side."""
    if max(x.shape[2:]) > THUMBNAIL:
        x = functional.adaptive_avg_pool2d(x, THUMBNAIL)
    x = ((x + 1) / 2).clamp(0, 1)
    return (x[:, 0] if x.shape[1] == 1 else x.movedim(1, -1)).numpy()


def of_one_run(x: ArrayLike, y: ArrayLike, **groups: str) -> pd.DataFrame:
    """The tidy table of a single run, without the points that are nan."""
    return measured("run", np.asarray(x, float), np.asarray(y, float), **groups).dropna(subset=["x", "y"])
