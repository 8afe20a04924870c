"""Fig. 4 on digits: test accuracy against the number of generated samples, practice beside static."""

from functools import partial

import pandas as pd
from dp_figures.curves import draw_curves

from dp_experiments.comparing.compare import summarize
from dp_experiments.studies.digits.digits_runs import digits, digits_arms

FIGURES = (4,)

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
    seeds, splits = (2, 1) if quick else (8, 8)
    arms = {f"{name}-{size}": name for name, sizes in SIZES.items() for size in sizes}
    with digits_arms(digits(), list(arms), seeds=seeds, splits=splits) as (runs, _):
        table = summarize(runs, baseline="static-1000")
    return table.assign(series=table["series"].map(arms).map(NAMES))


draw = partial(draw_curves, xlabel="samples generated", ylabel="test accuracy (%)", logx=True)


def caption(table: pd.DataFrame) -> str:
    practice = table.query("series == 'practice'").nlargest(1, "x").iloc[0]
    static = table.query("series == 'static'").nlargest(1, "y").iloc[0]
    gain = practice["minus_static-1000"]
    se = practice["difference_se"]
    return (
        "Accuracy on real test digits of a learner trained on generated digits only (Fig. 4): mean over "
        f"{practice['n_seeds']} runs "
        "with one standard error; all arms train for the same number of steps. Unguided practice adds plain samples. "
        f"At {practice['x']:.0f} samples practice is {gain:+.2f} ± {se:.2f} points from static (paired); the best "
        f"static arm, {static['x']:.0f} samples, reaches {static['y']:.2f} against {practice['y']:.2f}."
    )
