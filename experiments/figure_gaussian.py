"""The pipeline on the theory's own data: measured errors of static, practice and unguided practice on predicted ones."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.gaussian import gaussian, plain_rows, predict_loop, predictions, trace
from figures.curves import draw_curves

OMEGA = 0.01
STATIC, PLAIN, GUIDED = "static", "practice without guidance (ω = 0)", f"practice, guided (ω = {OMEGA})"
APPROXIMATE = {"keep-hard": "guided, as keep-hard at its threshold", "rule": "guided, as its realised rule q(t)"}


def compute(quick: bool) -> pd.DataFrame:
    """Tidy, errors in percent; a predicted row for each measured one, and the two approximate lines."""
    seeds = 4 if quick else 16
    config = gaussian(f"guidance.omega={OMEGA}", "data.test=1000")  # errors are exact here
    sizes = config.practice.initial + config.practice.increment * np.arange(config.practice.additions + 1)
    with tempfile.TemporaryDirectory() as folder:
        static = [trace(config, f"static-{size}", seeds, Path(folder)).test_error[:, 0] for size in sizes[1::2]]
        unguided = trace(config, "practice-unguided", seeds, Path(folder))
        guided = trace(config, "practice", seeds, Path(folder))
    plain = predict_loop(config, [plain_rows(config)] * config.practice.additions)
    of_guided = predictions(config, guided)
    parts = [
        _measured(STATIC, sizes[1::2], np.array(static).T),
        _measured(PLAIN, sizes, unguided.test_error),
        _measured(GUIDED, sizes, guided.test_error),
        _predicted(STATIC, sizes, plain),
        _predicted(PLAIN, sizes, plain),
        _predicted(GUIDED, sizes, of_guided["rows"]),
        *(_predicted(name, sizes, of_guided[key]) for key, name in APPROXIMATE.items()),
    ]
    return pd.concat(parts, ignore_index=True)


def _measured(series: str, x: np.ndarray, errors: np.ndarray) -> pd.DataFrame:
    mean, se = 100 * errors.mean(axis=0), 100 * errors.std(axis=0, ddof=1) / np.sqrt(len(errors))
    table = pd.DataFrame({"series": series, "kind": "measured", "x": x, "y": mean})
    return table.assign(y_low=mean - se, y_high=mean + se, n_seeds=len(errors))


def _predicted(series: str, x: np.ndarray, error: np.ndarray) -> pd.DataFrame:
    y = 100 * error
    return pd.DataFrame({"series": series, "kind": "predicted", "x": x, "y": y, "y_low": y, "y_high": y, "n_seeds": 0})


def draw(table: pd.DataFrame):
    """See figures.curves."""
    return draw_curves(table, xlabel="samples generated", ylabel="test error (%)", logx=True, logy=True)


def caption(table: pd.DataFrame) -> str:
    z = {name: _deviations(table, name) for name in (STATIC, PLAIN, GUIDED)}
    last = table.loc[table["x"] == table["x"].max()].set_index(["series", "kind"])["y"]
    measured = last[GUIDED, "measured"]
    off = {key: 100 * (last[name, "predicted"] / measured - 1) for key, name in APPROXIMATE.items()}
    return (
        "The gaussian preset, whose score is exact, learned by ridge regression: mean and one standard error over "
        f"{table['n_seeds'].max()} runs, beside dp_theory's exact asymptotics of the loop. Static and unguided practice "
        f"lie on the line of the sampler's own law, at most {max(z[STATIC].max(), z[PLAIN].max()):.1f} standard errors "
        f"off. Guided practice lies on the line for the rows as they are, at most {z[GUIDED].max():.1f} off. Had guidance "
        f"only selected rows by their margin, the error at {table['x'].max()} samples would differ by "
        f"{off['keep-hard']:+.0f} % (keep-hard, threshold from the rows' mean margin) or {off['rule']:+.0f} % (the rule "
        "realised): the shape of the rule matters little. Guidance moves rows rather than choosing them, so that at a "
        "given margin they lie farther from the true boundary than plain ones, and their labels agree less with the learner."
    )


def _deviations(table: pd.DataFrame, series: str) -> np.ndarray:
    """|measured - predicted| in standard errors, point by point."""
    rows = table.loc[table["series"] == series].set_index("x")
    measured = rows.loc[rows["kind"] == "measured"]
    predicted = rows.loc[rows["kind"] == "predicted", "y"].reindex(measured.index)
    return ((measured["y"] - predicted).abs() / (measured["y_high"] - measured["y"])).to_numpy()
