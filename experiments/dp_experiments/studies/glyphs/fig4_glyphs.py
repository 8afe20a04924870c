"""Fig. 4 on glyphs, from the stored runs: accuracy against samples, on three kinds of families, both arms tuned."""

from functools import partial

import numpy as np
import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import measured

from dp_experiments.claims.measured import paired, stored_runs, worth

FIGURES = (4,)

ARMS = {"practice": (8000, 16000, 32000), "static": (8000, 16000, 32000, 64000, 128000)}
PANELS = {"test": "families like those to validate", "handwriting": "handwriting", "display": "display"}


def compute(quick: bool) -> pd.DataFrame:
    """Tidy, with the column panel. An error bar leaves out what a split does to all arms alike."""
    arms = [f"{name}-{size}" for name, sizes in ARMS.items() for size in sizes]
    runs = stored_runs("glyphs")
    runs = runs[runs["arm"].isin(arms)]
    parts = []
    for column, panel in PANELS.items():
        by_split = runs.pivot(index="split", columns="arm", values=column)
        own = by_split.sub(by_split.mean(axis=1), axis=0)  # Loftus and Masson: without what splits do to all arms
        for name, sizes in ARMS.items():
            columns = [f"{name}-{size}" for size in sizes]
            se = own[columns].sem().to_numpy()
            parts.append(measured(name, np.array(sizes), by_split[columns].mean(), se, len(by_split), panel=panel))
    return pd.concat(parts, ignore_index=True)


draw = partial(
    draw_curves,
    xlabel="samples generated",
    ylabel="test accuracy (%)",
    logx=True,
    panel="panel",
    sharey=False,
)


def caption(table: pd.DataFrame) -> str:
    runs = stored_runs("glyphs")
    most = "static-128000"
    gap, gap_of_most = (paired(runs, arm, most) for arm in ("practice-16000", "practice-32000"))
    static = [f"static-{size}" for size in ARMS["static"]]
    return (
        "Characters of real typefaces, 77 classes, both arms tuned (Fig. 4): means over "
        f"{table['n_seeds'].max()} data splits, each with its own generator; bars are one standard "
        "error without what a split does to all arms. Of practice, "
        f"{worth(runs, 'practice-16000', static)}, and {worth(runs, 'practice-8000', static)}; 16,000 "
        f"minus static 128,000: {gap}; 32,000 minus these: {gap_of_most}. On families "
        "of kinds that the generator does not know it gains less."
    )
