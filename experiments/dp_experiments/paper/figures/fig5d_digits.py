"""Fig. 5 (a), (b), (d) on digits: hard examples by over-generation and pruning or by guidance, against compute."""

from functools import partial

import pandas as pd
from dp_figures.curves import draw_curves

from dp_experiments.compare.compare import summarize
from dp_experiments.compare.ratios import AXIS_LABELS
from dp_experiments.paper.digits_runs import SPLITS, digits, digits_arms

RATIOS = (1, 2, 5, 10, 20)  # samples drawn per sample kept
OMEGAS = (0.005, 0.01, 0.02, 0.04, 0.08)
PLAN = ("practice.initial=200", "practice.increment=200", "practice.additions=1")
PLAIN = "guidance.omega=0"
PRUNED = "over-generated and pruned"
GUIDED = "guided"


def compute(quick: bool) -> pd.DataFrame:
    """x is the compute of the whole run in FLOPs; all runs end with the same numbers of examples and steps."""
    seeds, splits = (2, 1) if quick else (4, SPLITS)
    points = [(PRUNED, RATIOS[0], "practice-unguided", (PLAIN,))]
    points += [(PRUNED, ratio, "prune-in-loop", (PLAIN, f"practice.oversample={ratio}")) for ratio in RATIOS[1:]]
    points += [(GUIDED, omega, "practice", (f"guidance.omega={omega}",)) for omega in OMEGAS]
    parts = []
    for series, setting, arm, overrides in points:
        runs, _ = digits_arms(digits(*PLAN, *overrides), [arm], seeds=seeds, splits=splits)
        parts.append(summarize(runs, baseline=arm, x="compute").assign(series=series, setting=setting))
    return pd.concat(parts, ignore_index=True)


draw = partial(draw_curves, xlabel=AXIS_LABELS["compute"], ylabel="test accuracy (%)", logx=True)


def caption(table: pd.DataFrame) -> str:
    pruned = table[table["series"] == PRUNED].nlargest(1, "y").iloc[0]
    guided = table[table["series"] == GUIDED].nlargest(1, "y").iloc[0]
    return (
        f"200 plain digits and 200 hard ones (Fig. 5 a, b, d), mean over {pruned['n_seeds']} runs with one standard "
        f"error. Pruned: over-sampling ratios {', '.join(map(str, RATIOS))} from left to right; guided: ω = "
        f"{', '.join(map(str, OMEGAS))}, all at the same compute. The best ratio, {pruned['setting']:g}, reaches "
        f"{pruned['y']:.2f} ± {pruned['se']:.2f} %, the best strength, {guided['setting']:g}, {guided['y']:.2f} ± "
        f"{guided['se']:.2f} % at {guided['x'] / pruned['x']:.2g} times the compute. Both were chosen on these images."
    )
