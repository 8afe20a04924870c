"""Practice or static data: which is better where the generator's labels are wrong near the boundary."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from dp_figures.phases import draw_phases

from dp_theory import BoundaryFlips, Group, PracticeProblem, SpanProblem, simulate
from dp_theory.noise import selections, worth
from dp_theory.noise.worth import LAMS, WINDOWS, plain_lam

NUMBERS = ("predicted", "simulated")

LEVEL = 0.02  # a smaller relative gain does not pay
PHI = 0.5
RHO = 0.9  # of keep-hard's selector
SAMPLES = "as many samples"
COMPUTE = "as much compute"
D = 300
CHECKS = [(share, rounds) for share in (0.03, 0.12, 0.24) for rounds in (1, 3)]  # cells that are simulated


def compute(quick: bool) -> pd.DataFrame:
    """A row for each cell of the map.

    The columns are panel, kind, x (training rows per dimension), y (the share of plain labels that are wrong) and gain
    (the share of static data's error that is saved). Simulated cells also have `predicted`, the gain by theory.
    """
    rounds, count, trials = (4, 6, 12) if quick else (12, 13, 60)
    table = phases(np.linspace(0.005, 0.3, count).tolist(), rounds).assign(kind="predicted")
    return pd.concat([table, *(_simulated(*cell, trials, seed) for seed, cell in enumerate(CHECKS))])


def phases(wrong: Sequence[float], rounds: int) -> pd.DataFrame:
    """Where practice and keep-hard help, over training rows x and shares y of wrong labels.

    gain is the share of static data's error that is saved: by practice against as many samples or as much compute, and
    by keep-hard against as many training rows.
    """
    parts = []
    for share in wrong:
        flips = BoundaryFlips.of_share(share)
        table = worth(flips, rounds=rounds, phi=PHI).query("stage > 0")
        hard = selections(flips, RHO, table["kept"]).query("rule == 'keep-hard'")
        gains = {
            f"practice, {SAMPLES}": table["saved"],
            f"practice, {COMPUTE}": table["saved_compute"],
            f"keep-hard, ρ = {RHO:g}": hard["saved"],
        }
        x = table["kept"].round(9).to_numpy()  # the same for every share
        for panel, gain in gains.items():
            parts.append(pd.DataFrame({"panel": panel, "x": x, "y": share, "gain": gain.to_numpy()}))
    return pd.concat(parts, ignore_index=True)


def last_useful(table: pd.DataFrame) -> pd.DataFrame:
    """The share of wrong labels beyond which the gain is negative, per panel and number of rows x.

    It is nan where the gain is negative throughout, and inf where it is positive throughout.
    """
    found = []
    for (panel, x), cells in table.groupby(["panel", "x"], sort=False):
        y, gain = cells.sort_values("y")[["y", "gain"]].to_numpy(float).T
        found.append({"panel": panel, "x": x, "share": _last_positive(y, gain)})
    return pd.DataFrame(found)


def _last_positive(y: np.ndarray, gain: np.ndarray) -> float:
    """The y at which the gain last falls through 0, for ascending y (N,); nan or inf where it does not."""
    useful = np.flatnonzero(gain > 0)
    if len(useful) == 0:
        return np.nan
    last = useful[-1]
    if last == len(y) - 1:
        return np.inf
    return float(y[last] + (y[last + 1] - y[last]) * gain[last] / (gain[last] - gain[last + 1]))


def _simulated(share: float, rounds: int, trials: int, seed: int) -> pd.DataFrame:
    """The simulated gain at one cell: of the practice that is predicted to be best, against as many static samples."""
    flips = BoundaryFlips.of_share(share)
    best = worth(flips, rounds=rounds, phi=PHI).iloc[-1]
    practice = PracticeProblem(PHI, best["lam"], [WINDOWS[int(best["plan"])]] * rounds, flip=flips)
    static = SpanProblem([1.0], [Group(flip=flips)], 1 / best["kept"], plain_lam(flips, best["kept"]))
    last_error = np.ravel(simulate(practice, D, trials, seed=seed).test_error)[-1]
    static_error = simulate(static, D, trials, seed=seed).test_error
    cell = {"panel": f"practice, {SAMPLES}", "kind": "simulated", "x": best["kept"], "y": share}
    return pd.DataFrame([cell | {"gain": 1 - float(last_error) / float(static_error), "predicted": best["saved"]}])


draw = partial(
    draw_phases,
    xlabel="training rows / d",
    ylabel="share of plain labels that are wrong",
    value="error saved",
    low="static data",
    none="a tie",
    high="selected data",
    level=LEVEL,
)


def caption(table: pd.DataFrame) -> str:
    predicted = table[table["kind"] == "predicted"]
    checked = table[table["kind"] == "simulated"]
    limits = last_useful(predicted).query(f"panel == 'practice, {COMPUTE}'")
    first = limits.iloc[0]
    last = limits.iloc[-1]
    off = (checked["gain"] - checked["predicted"]).abs().max()
    least = predicted.query(f"panel == 'practice, {SAMPLES}'")["gain"].min()
    return (
        "Labels are y = sign(margin + noise): wrong near the boundary, where practice asks for rows. Left: practice "
        f"against as many static samples, rounds of {1 / PHI:g} rows per dimension, the best of two windows and "
        f"{len(LAMS)} ridges or more; middle: against as much compute, a guided sample costing 1.82 plain ones; right: "
        f"keep-hard by a fixed selector. Between the grey lines less than {LEVEL:.0%} of the error is saved. Per "
        f"sample practice {_at_worst(least)}; in compute it {_until(first)} with {first['x']:.0f} rows per dimension, "
        f"and {_until(last)} with {last['x']:.0f}. Dots: simulated, at most {off:.1%} of the error away."
    )


def _at_worst(gain: float) -> str:
    return "never loses" if gain >= -LEVEL else f"costs at most {-gain:.0%} of the error"


def _until(limit: pd.Series) -> str:
    if np.isnan(limit["share"]):
        return "never pays"
    return "always pays" if np.isinf(limit["share"]) else f"pays up to {limit['share']:.0%} wrong labels"
