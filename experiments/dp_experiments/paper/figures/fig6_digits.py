"""Fig. 6 on digits: errors on samples that were misclassified when added, by the learners before and after."""

from functools import partial

import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import measured

from dp_experiments.paper.digits_runs import SPLITS, digits, digits_arms
from dp_real import Run
from dp_real.runs.afterwards import hindsight

SHOWN = (1, 3, 5, 7)  # rounds


def compute(quick: bool) -> pd.DataFrame:
    seeds, splits = (2, 1) if quick else (8, SPLITS)
    _, done = digits_arms(digits(), ["practice"], seeds=seeds, splits=splits)
    rows = [
        row | {"split": seed % splits}
        for seed in range(seeds)
        for row in hindsight(Run(done.run_folder("practice", seed)))
    ]
    table = pd.DataFrame(rows).query("round in @SHOWN")
    table["wrong_again"] = 100 * table["wrong_again"].astype(float)
    of_splits = table.groupby(["round", "pool_size", "split"])["wrong_again"].mean()  # the seeds of one are no units
    means = of_splits.groupby(level=[0, 1]).agg(["mean", "sem"]).reset_index()
    series = "added at " + (100 * means["round"]).astype(str)
    return measured(series, means["pool_size"], means["mean"], means["sem"], seeds, round=means["round"])


draw = partial(draw_curves, xlabel="pool size of the learner", ylabel="error (%)", ordered=True)


def caption(table: pd.DataFrame) -> str:
    return (
        "Error on the samples of a round that were misclassified when they were added (Fig. 6), over the learners "
        f"before and after, mean of {table['n_seeds'].iloc[0]} runs on digits, one standard error over their splits: "
        "100 % by definition when added, lower before, since guidance looked for what the learner of that moment gets "
        "wrong, and falling after."
    )
