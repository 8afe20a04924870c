"""Curves that the tests of this room fit, and the parameters that they are drawn with."""

from functools import cache

import numpy as np
import pandas as pd

from dp_theory import Curve, Group, KeepHard, SpanProblem, fit, simulate
from dp_theory.fitting.curve import COLUMNS
from dp_theory.fitting.theory import predict_points

TRUTH = {"dimension": 200.0, "floor": 0.03, "rho": 0.8, "window": 1.0, "flip": 0.1, "ridge": 0.02}
KEEP = 0.4


def parameter_set(**changed):
    """TRUTH, but for what is changed, as the one set of parameters that `predict_points` takes."""
    return {name: np.array([value]) for name, value in (TRUTH | changed).items()}


def experiments(keep, n, trials, seed):
    """Experiments with TRUTH: n rows of a labeller and with flips, of which a selector keeps a share."""
    angle, rho = np.pi * TRUTH["floor"], TRUTH["rho"]
    along = rho, np.sqrt(1 - rho**2), 0.0
    rows = Group(labeller=(1.0, 0.0, 0.0), flip=TRUTH["flip"], along=along, keep=KeepHard.with_keep_fraction(keep))
    truth, d = (np.cos(angle), 0.0, np.sin(angle)), int(TRUTH["dimension"])
    return simulate(SpanProblem(truth, [rows], d / n, keep * TRUTH["ridge"]), d, trials, seed=seed)


def measured_curve(seed, trials=4, sizes=8, pruned=True):
    """An exact curve of experiments: static data, and pruned by a fixed selector."""
    shares = {"static": 1.0, "prune": KEEP} if pruned else {"static": 1.0}
    rows = []
    for m in np.geomspace(50, 1600, sizes).astype(int):
        for strategy, keep in shares.items():
            n = round(m / keep)
            error = experiments(keep, n, trials, 100 * seed + len(rows)).test_error
            rows.append((strategy, keep * n, n, keep, error))
    table = pd.DataFrame(rows, columns=["strategy", "kept", "generated", "keep", "error"])
    return Curve.of(table.assign(trials=trials), exact=True)


def noiseless_curve(strategy, kept, changed=None, **columns):
    """Points without noise at TRUTH, but for what is changed, with standard errors of a percent."""
    kept = np.asarray(kept, float)
    points = Curve(strategy, kept, 0.3, **columns)
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


FEW = """
    50    0.436
    90    0.422
    160   0.406
    290   0.362
    520   0.279
    940   0.204
    1700  0.154
"""


@cache
def fit_of_few(**fixed):
    """Of the example of docs/theory/fit.md: its floor is best at 0, where nothing has a slope, and may be .108."""
    kept, error = np.loadtxt(FEW.splitlines(), unpack=True)
    return fit(Curve("static", kept, error, se=0.01 * error), fixed)


THREE = noiseless_curve("static", [100, 400, 900])
