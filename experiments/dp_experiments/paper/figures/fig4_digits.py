"""Fig. 4 on digits, from the stored runs: accuracy against samples, practice and static data, both tuned."""

from functools import partial

import pandas as pd
from dp_figures.curves import draw_curves

from dp_experiments.paper.claims.claims import DIGITS_STATIC, digits
from dp_experiments.studies.stored import paired, scaling, worth

ARMS = {
    "practice": ["practice-400", "practice"],
    "practice, unguided": ["practice-unguided"],
    "static": DIGITS_STATIC,
}


def compute(quick: bool) -> pd.DataFrame:
    return scaling(digits(), ARMS)


draw = partial(draw_curves, xlabel="samples generated", ylabel="test accuracy (%)", logx=True)


def caption(table: pd.DataFrame) -> str:
    return (
        "Accuracy on real test digits of a learner that generated digits alone train, both arms tuned (Fig. 4): means "
        f"over {table['n_seeds'].max()} data splits, each with its own generator; bars are one standard error without "
        "what a split does to all arms. Unguided practice adds plain samples. Of practice, "
        f"{worth(digits(), 'practice', DIGITS_STATIC)}; its lead over as many static ones: "
        f"{paired(digits(), 'practice', 'static')}."
    )
