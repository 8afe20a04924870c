"""The pipeline on the theory's own data: measured errors of static data and practice beside predicted ones."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import measured, predicted
from matplotlib.figure import Figure
from scipy.stats import sem

from dp_experiments.studies.gaussian.gaussian_loop import gaussian, plain_rows, predict_loop, predictions, traces

NUMBERS = ("predicted", "measured")

OMEGA = 0.01
STATIC = "static"
PLAIN = "practice without guidance (ω = 0)"
GUIDED = f"practice, guided (ω = {OMEGA})"
APPROXIMATE = {
    "keep-hard": "guided, if it kept |t| ≤ α",
    "rule": "guided, if it kept by the realised q(t)",
    "labels": "guided, if it kept |t| ≤ α, with its labels",
}
"""The series of the predictions that know less than all of the rows, see gaussian_loop.predictions."""
ERROR = "test error (%)"
RATIO = "over the exact prediction"


def compute(quick: bool) -> pd.DataFrame:
    seeds = 4 if quick else 16
    config = gaussian(f"guidance.omega={OMEGA}", "data.test=1000")  # few rows: errors are computed exactly
    sizes = config.practice.initial + config.practice.increment * np.arange(config.practice.additions + 1)
    static = {f"static-{size}": size for size in sizes[1::2]}
    with tempfile.TemporaryDirectory() as folder:
        found = traces(config, [*static, "practice-unguided", "practice"], seeds, Path(folder))
    guided = found["practice"]
    plain = predict_loop(config, [plain_rows(config)] * config.practice.additions)
    of_guided = predictions(config, guided)
    parts = [
        *(_runs(STATIC, np.array([size]), found[arm].test_error) for arm, size in static.items()),
        _runs(PLAIN, sizes, found["practice-unguided"].test_error),
        _runs(GUIDED, sizes, guided.test_error),
        predicted(STATIC, sizes, 100 * plain),
        predicted(PLAIN, sizes, 100 * plain),
        predicted(GUIDED, sizes, 100 * of_guided["rows"]),
        *(predicted(name, sizes, 100 * of_guided[key]) for key, name in APPROXIMATE.items()),
    ]
    table = pd.concat(parts, ignore_index=True)
    return pd.concat([table.assign(panel=ERROR), _over_exact(table).assign(panel=RATIO)], ignore_index=True)


def _over_exact(table: pd.DataFrame) -> pd.DataFrame:
    arm = table["series"].where(~table["series"].isin(list(APPROXIMATE.values())), GUIDED)
    exact = table.loc[table["kind"] == "predicted"].set_index(["series", "x"])["y"]
    unit = exact.reindex(pd.MultiIndex.from_arrays([arm, table["x"]])).to_numpy()
    return table.assign(**{column: table[column] / unit for column in ("y", "y_low", "y_high")})


def _runs(series: str, x: np.ndarray, errors: np.ndarray) -> pd.DataFrame:
    return measured(series, x, 100 * errors.mean(axis=0), 100 * sem(errors, axis=0), len(errors))


def draw(table: pd.DataFrame) -> Figure:
    figure = draw_curves(
        table, xlabel="samples generated", ylabel="", logx=True, logy=True, panel="panel", sharey=False
    )
    figure.axes[1].set_yscale("linear")
    return figure


def caption(table: pd.DataFrame) -> str:
    table = table.loc[table["panel"] == ERROR]
    plain = np.concatenate([_deviations(table, STATIC), _deviations(table, PLAIN)])
    guided = _deviations(table, GUIDED)
    last = table.loc[table["x"] == table["x"].max()].set_index(["series", "kind"])["y"]
    off = {key: 100 * (last[name, "predicted"] / last[GUIDED, "predicted"] - 1) for key, name in APPROXIMATE.items()}
    return (
        "The gaussian preset, whose score is exact, learned by ridge regression: mean and one standard error over "
        f"{table['n_seeds'].max()} runs, beside dp_theory's asymptotics of the loop. Static and unguided "
        f"practice lie on the line for the sampler's own law ({_rms(plain):.1f} standard errors off, root mean "
        "square), guided practice on the line for the moments of its rows: margin, distance along w0 off the learner, "
        f"label ({_rms(guided):.1f}). Had guidance only selected rows by their margin, the error at "
        f"{table['x'].max()} samples would be {off['keep-hard']:+.1f} % off (threshold α from the mean margin) or "
        f"{off['rule']:+.1f} % (the realised rule): the margin's size counts more than the rule's shape. What remains "
        "is that guidance moves rows rather than choosing them. Their labels agree less with the learner than those "
        f"of plain rows at that margin, which alone would put keep-hard {off['labels']:+.1f} % off; and they lie "
        "farther from the true boundary, which makes up for the rest."
    )


def _deviations(table: pd.DataFrame, series: str) -> np.ndarray:
    rows = table.loc[table["series"] == series].set_index("x")
    points = rows.loc[rows["kind"] == "measured"]
    line = rows.loc[rows["kind"] == "predicted", "y"].reindex(points.index)
    return ((points["y"] - line) / (points["y_high"] - points["y"])).to_numpy()


def _rms(z: np.ndarray) -> float:
    return float(np.sqrt(np.mean(z**2)))
