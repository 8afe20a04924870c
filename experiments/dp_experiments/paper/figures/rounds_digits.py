"""The rounds of practice on digits, as a classifier of real images sees them: harder, worse, or narrower? (ours)"""

from functools import partial

import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import measured

from dp_experiments.paper.digits_runs import SPLITS, digits, digits_arms
from dp_real import Run
from dp_real.evaluate.quality import round_quality
from dp_real.runs.prepare import load_data

ARMS = {"practice": "practice", "random-direction": "in random directions", "practice-unguided": "unguided"}
JUDGE = "real-900"  # the arm whose learner was trained on real images, and sees the rounds of all others
PANELS = {
    "entropy": "harder? entropy (nats)",
    "confirmed": "worse? labels confirmed (%)",
    "precision": "worse? precision (%)",
    "recall": "narrower? recall (%)",
    "coverage": "narrower? coverage (%)",
    "vendi": "narrower? Vendi score",
}


def compute(quick: bool) -> pd.DataFrame:
    """x is the round, of which 0 is plain."""
    seeds = 1 if quick else SPLITS
    _, done = digits_arms(digits(), [JUDGE, *ARMS], seeds=seeds, splits=seeds)
    rows = [
        row | {"series": series}
        for seed in range(seeds)
        for arm, series in ARMS.items()
        for row in _rounds(Run(done.run_folder(arm, seed)), Run(done.run_folder(JUDGE, seed)))
    ]
    groups = pd.DataFrame(rows).groupby(["series", "round"], sort=False)
    parts = []
    for quantity, panel in PANELS.items():
        rows = groups[quantity].agg(["mean", "sem"]).reset_index()
        parts.append(measured(rows["series"], rows["round"], rows["mean"], rows["sem"], seeds, panel=panel))
    return pd.concat(parts, ignore_index=True)


def _rounds(run: Run, judge: Run) -> list[dict[str, float]]:
    """What the judge says of each round; but its entropy is by the learner of the time."""
    when_added = run.rounds.set_index("round")["entropy"]
    seen = round_quality(judge.learner(), run.pool, load_data(run.config))
    return [
        {key: 100 * row[key] for key in ("precision", "recall", "coverage")}
        | {"round": row["round"], "vendi": row["vendi"], "confirmed": 100 * (1 - row["wrong"])}
        | {"entropy": when_added[row["round"]]}
        for row in seen
        if row["round"] is not None
    ]


draw = partial(draw_curves, xlabel="round", ylabel="", panel="panel", sharey=False)


def caption(table: pd.DataFrame) -> str:
    last = table[table["x"] > 0].groupby(["panel", "series"])["y"].mean()
    practice, plain = (last.xs(series, level="series") for series in (ARMS["practice"], ARMS["practice-unguided"]))
    harder, confirmed, precision, recall, coverage, vendi = PANELS.values()
    return (
        f"The rounds of 100 samples of practice on digits and of two controls, mean and one standard error over "
        f"{table['n_seeds'].iloc[0]} runs. The entropy is by the learner of the time; all else is by a classifier of "
        f"real images, whose features are compared with those of real validation images. Guided rounds have "
        f"{practice[harder] / plain[harder]:.1f} times the entropy of unguided ones; {practice[confirmed]:.1f} % of "
        f"their labels are confirmed (unguided {plain[confirmed]:.1f}), precision {practice[precision]:.0f} % "
        f"({plain[precision]:.0f}), recall {practice[recall]:.0f} % ({plain[recall]:.0f}), coverage "
        f"{practice[coverage]:.0f} % ({plain[coverage]:.0f}), Vendi score {practice[vendi]:.1f} ({plain[vendi]:.1f})."
    )
