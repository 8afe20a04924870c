"""Curves that the tests of this room fit, and the parameters that they are drawn with."""

from functools import cache

import numpy as np
import pandas as pd

from dp_theory import Curve, KeepHard, fit
from dp_theory.fitting.curve import COLUMNS
from dp_theory.fitting.theory import predict_points
from dp_theory.ridge.simulators.law import draw, triangle

TRUTH = {"dimension": 200.0, "floor": 0.03, "rho": 0.8, "window": 1.0, "flip": 0.1, "ridge": 0.02}
KEEP = 0.4


def parameter_set(**changed):
    """TRUTH, but for what is changed, as the one set of parameters that `predict_points` takes."""
    return {name: np.array([value]) for name, value in (TRUTH | changed).items()}


def experiment(keep, n, rng):
    """The test error of one experiment with TRUTH, drawn in law.

    `law.trial` has neither flips nor a labeller, so this is written out with the same building blocks.
    """
    d = int(TRUTH["dimension"])
    rho = TRUTH["rho"]
    sine = np.sqrt(1 - rho**2)
    floor = np.pi * TRUTH["floor"]
    m = int(rng.binomial(n, keep))
    t = KeepHard.with_keep_fraction(keep).draw(rng, m)
    v = rng.standard_normal(m)
    flips = np.where(rng.random(m) < TRUTH["flip"], -1, 1)
    y = np.sign(rho * t + sine * v) * flips
    special, rest, *_ = draw(triangle([np.column_stack([y, t, v])], 2), m, d, n, [keep * TRUTH["ridge"]], rng)
    along = special[0] @ [rho, sine]
    across = special[0] @ [sine, -rho]
    turned = rest[0] * rng.standard_normal() / np.sqrt(d - 2)  # along what the labeller lacks of the truth
    length = np.sqrt(along**2 + across**2 + rest[0] ** 2)
    return np.arccos((np.cos(floor) * along + np.sin(floor) * turned) / length) / np.pi


def law_curve(seed, trials=4, sizes=8, pruned=True):
    """An exact curve of experiments: static data, and pruned by a fixed selector."""
    rng = np.random.default_rng(seed)
    shares = {"static": 1.0, "prune": KEEP} if pruned else {"static": 1.0}
    rows = []
    for m in np.geomspace(50, 1600, sizes).astype(int):
        for strategy, keep in shares.items():
            n = round(m / keep)
            errors = [experiment(keep, n, rng) for _ in range(trials)]
            rows.append((strategy, keep * n, n, keep, np.mean(errors)))
    table = pd.DataFrame(rows, columns=["strategy", "kept", "generated", "keep", "error"])
    return Curve.of(table.assign(trials=trials), exact=True)


def noiseless_curve(strategy, kept, changed=None, **columns):
    """Points without noise at TRUTH, but for what is changed, with standard errors of a percent."""
    kept = np.asarray(kept, float)
    points = Curve([strategy] * len(kept), kept, np.full(len(kept), 0.3), **columns)
    mean, _ = predict_points(points, parameter_set(**(changed or {})))
    return Curve(points.strategy, kept, mean[0], se=0.01 * mean[0], **columns)


def joined(*curves):
    """One curve of several."""
    return Curve.of({name: np.concatenate([getattr(curve, name) for curve in curves]) for name in COLUMNS})


def static_and_pruned(kept, changed=None):
    """Static and pruned points of these sizes without noise."""
    return joined(noiseless_curve("static", kept, changed), noiseless_curve("prune", kept, changed, keep=KEEP))


def static_and_practice(changed):
    """Static points without noise, and the stages of a loop that starts from 200 rows."""
    loop = noiseless_curve("practice", np.arange(200, 1300, 200), changed, initial=200, increment=200)
    return joined(noiseless_curve("static", np.geomspace(50, 3200, 10), changed), loop)


@cache
def fit_of_few(**fixed):
    """Of the example of docs/theory/fit.md: its floor is best at 0, where nothing has a slope, and may be .108."""
    error = np.array([0.436, 0.422, 0.406, 0.362, 0.279, 0.204, 0.154])
    return fit(Curve(["static"] * 7, [50, 90, 160, 290, 520, 940, 1700], error, se=0.01 * error), fixed)


THREE = noiseless_curve("static", [100, 400, 900])
