"""Fig. 4 on digits: test accuracy against the number of generated samples, practice beside static."""

import tempfile
from pathlib import Path

import pandas as pd
from joblib import cpu_count
from matplotlib.figure import Figure

from experiments.comparing.compare import run_arms, summarize
from experiments.paper.digits_runs import digits
from experiments.terminal import progress
from figures.curves import draw_curves

NAMES = {
    "practice": "practice",
    "practice-unguided": "practice, unguided",
    "static": "static",
}
SIZES = {
    "practice": (200, 400, 600, 1000),
    "practice-unguided": (200, 400, 600, 1000),
    "static": (100, 200, 400, 600, 1000, 2000, 5000),
}


def compute(quick: bool) -> pd.DataFrame:
    """Tidy: one row per arm and size, with the columns of experiments.comparing.compare.summarize."""
    seeds, splits = (2, 1) if quick else (8, 8)
    arms = {f"{name}-{size}": name for name, sizes in SIZES.items() for size in sizes}
    with tempfile.TemporaryDirectory() as folder:
        runs = run_arms(digits(), list(arms), seeds, splits, Path(folder), cpu_count(), progress)
    table = summarize(runs, baseline="static-1000")
    return table.assign(series=table["series"].map(arms).map(NAMES))


def draw(table: pd.DataFrame) -> Figure:
    """See figures.curves."""
    return draw_curves(table, xlabel="samples generated", ylabel="test accuracy (%)", logx=True)


def caption(table: pd.DataFrame) -> str:
    """What the figure shows, with the numbers of this table."""
    practice = table.query("series == 'practice'").nlargest(1, "x").iloc[0]
    static = table.query("series == 'static'").nlargest(1, "y").iloc[0]
    seeds, gain, se = practice["n_seeds"], practice["minus_static-1000"], practice["difference_se"]
    return (
        f"Accuracy on real test digits of a learner trained on generated digits only (Fig. 4): mean over {seeds} runs "
        "with one standard error; all arms train for the same number of steps. Unguided practice adds plain samples. "
        f"At {practice['x']:.0f} samples practice is {gain:+.2f} ± {se:.2f} points from static (paired); the best "
        f"static arm, {static['x']:.0f} samples, reaches {static['y']:.2f} against {practice['y']:.2f}."
    )
