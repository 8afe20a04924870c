"""How often the intervals of a forecast hold the truth: curves of the theory, power laws with and without a floor.

    python benchmarks/forecast_coverage.py [CURVES [FIRST]]

draws so many curves of each kind, from number FIRST on. Each curve has eight sizes with 2.5 % noise. The truth is the
expected error at 2, 4 and 10 times the largest size. The interval score (Gneiting and Raftery 2007) is that of 95 %
intervals of ln E; less is better.
"""

import sys
from typing import NamedTuple

import numpy as np
import pandas as pd

from dp_base.errors import InputError
from dp_theory import Curve, fit
from dp_theory.fitting.stack import LAW_NAMES, THEORY, Foreseen, law_draws, stack, theory_draws
from dp_theory.fitting.theory import predict_points

FAR = np.array([2.0, 4.0, 10.0])
NOISE = 0.025
SIZES = 8
LEVEL = 0.95
KINDS = ("theory", "power law", "power law with floor")


class Case(NamedTuple):
    """A measured curve, and what is true farther on."""

    curve: Curve
    kept: np.ndarray
    truth: np.ndarray


def case(kind: str, number: int) -> Case:
    """A random curve of a kind; the number decides which."""
    rng = np.random.default_rng([KINDS.index(kind) + 1, number])
    if kind == "theory":
        dimension = np.exp(rng.uniform(np.log(30), np.log(300)))
        kept = np.geomspace(dimension * rng.uniform(0.5, 2), dimension * rng.uniform(8, 30), SIZES)
        numbers = {
            "dimension": dimension,
            "floor": rng.choice([0.0, 0.03]),
            "rho": 0.9,
            "window": 1.0,
            "flip": rng.choice([0, 0.1]),
            "ridge": 10 ** rng.uniform(-3, -1),
        }
        values = {name: np.array([float(value)]) for name, value in numbers.items()}
        mean = predict_points(plain_points(kept), values)[0][0]
        truth = predict_points(plain_points(kept[-1] * FAR), values)[0][0]
    else:
        kept = np.geomspace(100, 6400, SIZES)
        power = rng.uniform(0.2, 0.6)
        first = rng.uniform(0.3, 0.45)  # error at 100 rows
        floor = rng.uniform(0.01, 0.06) if kind == "power law with floor" else 0.0
        mean = (first - floor) * (kept / 100) ** -power + floor
        truth = (first - floor) * (kept[-1] * FAR / 100) ** -power + floor
    error = np.minimum(mean * np.exp(NOISE * rng.standard_normal(SIZES)), 0.49)
    return Case(Curve(["static"] * SIZES, kept, error, se=NOISE * error), kept[-1] * FAR, truth)


def plain_points(kept: np.ndarray) -> Curve:
    """Plain points of these sizes. Their errors do not matter."""
    return Curve(["static"] * len(kept), kept, np.full(len(kept), 0.3))


def foreseen_by_all(measured: Case) -> dict[str, Foreseen]:
    """What the family and each member foresee."""
    fitted = fit(measured.curve)
    mean, low, high = np.exp(fitted.first_order(plain_points(measured.kept), LEVEL))
    theory = theory_draws(mean, low, high, LEVEL)
    family = stack(fitted)
    assert family is not None
    found = {"together": family.foreseen(measured.kept, theory), THEORY: theory}
    for name in LAW_NAMES:
        try:
            found[name] = law_draws(name, measured.curve, measured.kept)
        except InputError:  # it does not suit this curve
            continue
    return found


def judged(truth: np.ndarray, foreseen: Foreseen) -> list[dict[str, float]]:
    """Whether the interval holds the truth, and its score, at each of FAR."""
    tail = (1 - LEVEL) / 2
    low = np.log(foreseen.quantiles(tail))
    high = np.log(foreseen.quantiles(1 - tail))
    y = np.log(truth)
    missed = np.maximum(low - y, 0) + np.maximum(y - high, 0)
    score = high - low + missed / tail
    return [
        {"times": far, "held": float(miss == 0), "score": float(one)}
        for far, miss, one in zip(FAR, missed, score, strict=True)
    ]


def main() -> None:
    curves = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    rows = []
    for kind in KINDS:
        for number in range(first, first + curves):
            measured = case(kind, number)
            for member, foreseen in foreseen_by_all(measured).items():
                rows += [{"curves": kind, "member": member} | row for row in judged(measured.truth, foreseen)]
    table = pd.DataFrame(rows).groupby(["curves", "member", "times"], sort=False).mean().unstack()
    print(table.round(2).to_string())


if __name__ == "__main__":
    main()
