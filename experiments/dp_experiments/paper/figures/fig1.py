"""Fig. 1: the idea, on a toy in the plane: the pool of practice grows along the boundary between two classes."""

import pandas as pd
from dp_figures.plane import draw_pools

from dp_experiments.studies.stored import stored_runs


def compute(quick: bool) -> pd.DataFrame:
    table = stored_runs("toy")
    reached = table[table["what"] == "accuracy"]
    titles = {
        (arm, samples): f"{arm}, {samples} samples:\n{value:.1%} right"
        for arm, samples, value in zip(reached["arm"], reached["samples"], reached["value"], strict=True)
    }
    keys = zip(table["arm"], table["samples"], strict=True)
    return table.assign(panel=[titles.get(key, "") for key in keys])


draw = draw_pools


def caption(table: pd.DataFrame) -> str:
    gain = table[table["what"] == "gain"].iloc[0]
    se = table[table["what"] == "gain_se"]["value"].iloc[0]
    return (
        "The idea (Fig. 1), on two classes in the plane. Whenever its accuracy on real points stops rising, the "
        "learner asks for points of which it is unsure, so the pool grows along the boundary; static data lies where "
        f"points are likely. Over {gain['samples']:.0f} seeds practice is {gain['value']:+.2f} ± {se:.2f} points of "
        "accuracy above as many plain samples. It is the toy of the page to play with, drawn from a stored run."
    )
