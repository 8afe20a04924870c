"""Fig. 4 on glyphs, from the stored runs: accuracy against samples, on three kinds of families, both arms tuned."""

from functools import partial

import pandas as pd
from dp_figures.curves import draw_curves

from dp_experiments.studies.stored import paired, scaling, stored_runs, worth

ARMS = {
    "practice": [f"practice-{size}" for size in (8000, 16000, 32000)],
    "static": [f"static-{size}" for size in (8000, 16000, 32000, 64000, 128000)],
}
PANELS = {"test": "families like those to validate", "handwriting": "handwriting", "display": "display"}


def compute(quick: bool) -> pd.DataFrame:
    runs = stored_runs("glyphs")
    return pd.concat([scaling(runs, ARMS, column, panel=panel) for column, panel in PANELS.items()], ignore_index=True)


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
    gap, gap_of_largest = (paired(runs, arm, "static-128000") for arm in ("practice-16000", "practice-32000"))
    own, *of_kinds = [worth(runs.assign(test=runs[kind]), "practice-16000", ARMS["static"]) for kind in PANELS]
    return (
        "Characters of real typefaces, 77 classes, both arms tuned (Fig. 4): means over "
        f"{table['n_seeds'].max()} data splits, each with its own generator; bars are one standard "
        f"error without what a split does to all arms. Of practice, {own}, and "
        f"{worth(runs, 'practice-8000', ARMS['static'])}; lead over 128,000 static ones: of 16,000 {gap}, of 32,000 "
        f"{gap_of_largest}. On families of kinds that the generator does not know the samples are worth fewer: on "
        f"handwriting {of_kinds[0]}, on display {of_kinds[1]}."
    )
