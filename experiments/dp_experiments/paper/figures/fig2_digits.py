"""Fig. 2 on digits: training loss and validation accuracy over the steps, with 0, 1 and 2 additions of data."""

import pandas as pd
from dp_figures.tables import measured
from dp_figures.traces import draw_traces
from matplotlib.figure import Figure

from dp_experiments.paper.digits_runs import SPLITS, digits, digits_arms
from dp_real import Run

ADDITIONS = (0, 1, 2)
SIZE = 300  # samples at first, and of each addition
SHOWN_FROM = 300  # optimizer step; the range of earlier ones would hide the rest
QUANTITIES = {"train_loss": "training loss", "val_accuracy": "validation accuracy (%)"}


def compute(quick: bool) -> pd.DataFrame:
    """Means over seeds; `added` marks the mean step of an addition, to the nearest evaluation."""
    seeds, splits = (2, 1) if quick else (4, SPLITS)
    config = digits(f"practice.initial={SIZE}", f"practice.increment={SIZE}", "practice.additions=2")
    arms = [f"practice-{SIZE * (1 + additions)}" for additions in ADDITIONS]
    _, comparison = digits_arms(config, arms, seeds=seeds, splits=splits)
    every, parts = config.practice.evaluate_every, []
    for arm, additions in zip(arms, ADDITIONS, strict=True):
        done = [Run(comparison.run_folder(arm, seed)) for seed in range(seeds)]
        series = f"{additions} addition{'s' if additions != 1 else ''}"
        metrics = pd.concat(run.metrics for run in done).set_index("step")
        metrics["val_accuracy"] *= 100
        rounds = pd.concat(run.rounds for run in done).query("round > 0")
        added = (rounds.groupby("round")["step"].mean() / every).round() * every
        for quantity, name in QUANTITIES.items():
            rows = metrics[quantity].groupby("step").agg(["mean", "sem"])
            groups = {"quantity": name, "added": rows.index.isin(added)}
            parts.append(measured(series, rows.index, rows["mean"], rows["sem"], seeds, **groups))
    return pd.concat(parts, ignore_index=True)


def draw(table: pd.DataFrame) -> Figure:
    return draw_traces(table.query("x >= @SHOWN_FROM"), logy=[QUANTITIES["train_loss"]])


def caption(table: pd.DataFrame) -> str:
    return (
        f"Training loss and validation accuracy over training (Fig. 2), from step {SHOWN_FROM}, with {SIZE} generated "
        f"digits to begin with and up to two additions of {SIZE} hard ones, mean and one standard error over "
        f"{table['n_seeds'].iloc[0]} runs. Triangles: the mean step at which data were added, when the validation "
        "accuracy had stopped rising. The loss jumps there, since new samples are hard, and the accuracy rises again."
    )
