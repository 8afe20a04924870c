"""Fig. 5 (a), (b), (d) on digits: hard examples by over-generation and pruning or by guidance, against compute."""

import tempfile
from pathlib import Path

import pandas as pd
from joblib import cpu_count
from matplotlib.figure import Figure

from experiments.comparing.axes import AXIS_LABELS
from experiments.comparing.compare import run_arms, summarize
from experiments.paper.digits_runs import digits
from experiments.terminal import progress
from figures.curves import draw_curves

RATIOS = (1, 2, 5, 10, 20)  # samples drawn per sample kept
OMEGAS = (0.005, 0.01, 0.02, 0.04, 0.08)
PLAN = ("practice.initial=200", "practice.increment=200", "practice.additions=1")
PRUNED, GUIDED = "over-generated and pruned", "guided"


def compute(quick: bool) -> pd.DataFrame:
    """Tidy: one row per over-sampling ratio or strength (column `setting`), see
    experiments.comparing.compare.summarize.

    x is the compute of the whole run in FLOPs. All runs end with the same numbers of examples and steps.
    """
    seeds, splits = (2, 1) if quick else (4, 4)
    settings = [(PRUNED, ratio, f"practice.oversample={ratio}", "prune-in-loop") for ratio in RATIOS[1:]]
    settings += [(GUIDED, omega, f"guidance.omega={omega}", "practice") for omega in OMEGAS]
    settings.insert(0, (PRUNED, 1, "guidance.omega=0", "practice-unguided"))
    parts = []
    for series, setting, override, arm in settings:
        omega = override if series == GUIDED else "guidance.omega=0"
        with tempfile.TemporaryDirectory() as folder:
            runs = run_arms(digits(*PLAN, omega, override), [arm], seeds, splits, Path(folder), cpu_count(), progress)
        parts.append(summarize(runs, baseline=arm, x="compute").assign(series=series, setting=setting))
    return pd.concat(parts, ignore_index=True)


def draw(table: pd.DataFrame) -> Figure:
    """See figures.curves."""
    return draw_curves(table, xlabel=AXIS_LABELS["compute"], ylabel="test accuracy (%)", logx=True)


def caption(table: pd.DataFrame) -> str:
    """What the figure shows, with the numbers of this table."""
    pruned, guided = (table[table["series"] == name].nlargest(1, "y").iloc[0] for name in (PRUNED, GUIDED))
    return (
        f"200 plain digits and 200 hard ones (Fig. 5 a, b, d), mean over {pruned['n_seeds']} runs with one standard "
        f"error. Pruned: over-sampling ratios {', '.join(map(str, RATIOS))} from left to right; guided: ω = "
        f"{', '.join(map(str, OMEGAS))}, all at the same compute. The best ratio, {pruned['setting']:g}, reaches "
        f"{pruned['y']:.2f} ± {pruned['se']:.2f} %, the best strength, {guided['setting']:g}, {guided['y']:.2f} ± "
        f"{guided['se']:.2f} % at {guided['x'] / pruned['x']:.2g} times the compute. Both were chosen on these images."
    )
