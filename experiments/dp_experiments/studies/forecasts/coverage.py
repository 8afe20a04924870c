"""How often the intervals of a forecast hold the truth: the theory, the power law, and both.

    python -m dp_experiments.studies.forecasts.coverage [CURVES [FIRST [TABLE.csv]]]

Curves are the theory's own; power laws with and without a floor (2.5 % noise); ridge regression on anisotropic rows
(eigenvalues j^-a), with a curved boundary besides; learners of scikit-learn on its data sets; others on others. Each
has eight sizes. The truth is the expected error, or a mean of many experiments, at 2, 4 and 10 times the largest. The
interval score (Gneiting and Raftery 2007) is that of 95 % intervals of ln E.
"""

import itertools
import sys
from collections.abc import Callable
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    make_classification,
    make_gaussian_quantiles,
    make_hastie_10_2,
    make_moons,
)
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from dp_theory import Curve, fit
from dp_theory.fitting.stack import POWER_LAW, THEORY, Stack, stack, theory_draws
from dp_theory.fitting.theory import predict_points

FAR = np.array([2.0, 4.0, 10.0])
NOISE = 0.025
SIZES = 8
LEVEL = 0.95
ENDS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
KINDS = ("theory", "power law", "power law with floor", "anisotropic", "curved", "learners", "other learners")
MEASURED = 8  # experiments of a measured point
TRUE = 64  # experiments of a truth
TESTED = 4000  # rows on which ridge regression is tested
DIMENSION = 60
GENERATED = 6000  # rows of a data set that scikit-learn generates
LEARNERS: tuple[Any, ...] = (
    make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
    KNeighborsClassifier(1),
    make_pipeline(StandardScaler(), SVC()),
    RandomForestClassifier(30, random_state=0),
    GaussianNB(),
)
OTHER_LEARNERS: tuple[Any, ...] = (
    make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")),
    make_pipeline(StandardScaler(), KNeighborsClassifier(3)),
    DecisionTreeClassifier(random_state=0),
    ExtraTreesClassifier(30, random_state=0),
    make_pipeline(StandardScaler(), BernoulliNB()),
    make_pipeline(StandardScaler(), RidgeClassifier()),
)


class Case(NamedTuple):
    """A measured curve, the sizes that are foreseen, and their true errors."""

    curve: Curve
    kept: np.ndarray
    truth: np.ndarray
    parameters: dict[str, float] | None = None  # of the theory's own curves


def case(kind: str, number: int) -> Case:
    """A random curve of a kind; the number decides which."""
    rng = np.random.default_rng([KINDS.index(kind) + 1, number])
    if "learners" in kind:
        return learner_case(number, rng, other=kind == "other learners")
    if kind in ("anisotropic", "curved"):
        return ridge_case(rng, curved=kind == "curved")
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
        mean, truth = (predict_points(plain_points(sizes), values)[0][0] for sizes in (kept, kept[-1] * FAR))
    else:
        numbers = None
        kept = np.geomspace(100, 6400, SIZES)
        power = rng.uniform(0.2, 0.6)
        first = rng.uniform(0.3, 0.45)  # error at 100 rows
        floor = rng.uniform(0.01, 0.06) if kind == "power law with floor" else 0.0
        mean, truth = ((first - floor) * (sizes / 100) ** -power + floor for sizes in (kept, kept[-1] * FAR))
    error = np.minimum(mean * np.exp(NOISE * rng.standard_normal(SIZES)), 0.49)
    curve = Curve(["static"] * SIZES, kept, error, se=NOISE * error)
    return Case(curve, kept[-1] * FAR, truth, numbers)


def experiments(error: Callable[[int], float], kept: np.ndarray) -> Case:
    """A case whose points and truth are means of experiments."""
    kept = np.unique(kept.astype(int))
    runs = np.array([[error(size) for _ in range(MEASURED)] for size in kept])
    far = kept[-1] * FAR
    truth = np.array([np.mean([error(int(size)) for _ in range(TRUE)]) for size in far])
    se = np.maximum(runs.std(1, ddof=1) / np.sqrt(MEASURED), 0.01 * runs.mean(1))
    return Case(Curve(["static"] * len(kept), kept.astype(float), runs.mean(1), se=se), far, truth)


def ridge_case(rng: np.random.Generator, *, curved: bool) -> Case:
    """Ridge regression on rows whose directions have eigenvalues j^-a."""
    scale = np.arange(1, DIMENSION + 1) ** (-rng.uniform(0.2, 1.2) / 2)
    truth = rng.standard_normal(DIMENSION)
    bend = rng.uniform(0.2, 0.6) * curved
    ridge = 10 ** rng.uniform(-3, -1)

    def draw(rows: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.standard_normal((rows, DIMENSION)) * scale
        margin = x @ truth / np.linalg.norm(scale * truth)
        return x, np.sign(margin + bend * (x[:, 0] * x[:, 1] / scale[0] / scale[1]))

    def error(rows: int) -> float:
        x, y = draw(rows)
        weights = np.linalg.solve(x.T @ x + rows * ridge * np.square(scale).mean() * np.eye(DIMENSION), x.T @ y)
        x, y = draw(TESTED)
        return float(np.mean(np.sign(x @ weights) != y))

    return experiments(error, np.geomspace(40, 640, SIZES))


def tasks(rng: np.random.Generator) -> list[tuple[Any, Any]]:
    """Data sets of scikit-learn, each with two classes."""
    digits, digit = map(np.asarray, load_digits(return_X_y=True))
    cells, malign = map(np.asarray, load_breast_cancer(return_X_y=True))
    some = rng.permutation(10)[:5]
    return [(digits, digit % 2), (digits, digit < 5), (digits, np.isin(digit, some)), (cells, malign)]


def other_tasks(rng: np.random.Generator) -> list[tuple[Any, Any]]:
    """Data sets that nobody looked at while forecasts were designed."""
    seed = int(rng.integers(2**31))
    patients, progress = map(np.asarray, load_diabetes(return_X_y=True))
    return [
        make_hastie_10_2(GENERATED, random_state=seed),
        make_moons(GENERATED, noise=0.25, random_state=seed),
        make_gaussian_quantiles(n_samples=GENERATED, n_features=10, n_classes=2, random_state=seed),
        make_classification(GENERATED, n_informative=8, flip_y=0.05, random_state=seed),
        (patients, progress > np.median(progress)),
    ]


def learner_case(number: int, rng: np.random.Generator, *, other: bool) -> Case:
    """A learner on a data set, trained on random rows of it."""
    learners, sets = (OTHER_LEARNERS, other_tasks(rng)) if other else (LEARNERS, tasks(rng))
    learner = learners[number % len(learners)]
    x, y = sets[number // len(learners) % len(sets)]
    most = len(x) * 7 // 10

    def error(rows: int) -> float:
        order = rng.permutation(len(x))
        seen, unseen = order[:rows], order[most:]
        if len(np.unique(y[seen])) < 2:
            return 0.5
        return max(float(np.mean(learner.fit(x[seen], y[seen]).predict(x[unseen]) != y[unseen])), 1e-3)

    return experiments(error, np.geomspace(most / 10 / 10, most / 10, SIZES))


def plain_points(kept: np.ndarray) -> Curve:
    """Their errors do not matter."""
    return Curve(["static"] * len(kept), kept, np.full(len(kept), 0.3))


def foreseen_by_all(measured: Case) -> list[tuple[str, np.ndarray, float]]:
    """The interval that each member foresees, and the seconds that it took."""
    begin = process_time()
    fitted = fit(measured.curve)
    bands = np.exp(fitted.likelihood.first_order(plain_points(measured.kept), fitted.best, fitted.allowed(LEVEL)))
    theory = theory_draws(bands, LEVEL)
    by_theory = process_time()
    alone = Stack(measured.curve, {POWER_LAW: 1.0}).quantiles(measured.kept, theory, ENDS)
    by_law = process_time()
    family = stack(fitted)
    assert family is not None
    together = family.quantiles(measured.kept, theory, ENDS)
    return [
        ("together", together, by_theory - begin + process_time() - by_law),
        (THEORY, np.exp(np.quantile(theory, ENDS, axis=0, method="inverted_cdf")), by_theory - begin),
        (POWER_LAW, alone, by_law - by_theory),
    ]


def parameters_held(measured: Case) -> list[bool]:
    """Whether the intervals of the free parameters hold the true ones."""
    assert measured.parameters is not None
    table = fit(measured.curve).parameters(LEVEL).dropna(subset=["low"])
    truth = table["parameter"].map(measured.parameters)
    return truth.between(table["low"], table["high"]).tolist()


def judged(truth: np.ndarray, foreseen: np.ndarray) -> dict[str, np.ndarray]:
    """For each size, whether the interval holds the truth, and its score."""
    y, low, high = np.log([truth, *foreseen])
    missed = np.maximum(low - y, 0) + np.maximum(y - high, 0)
    return {"times": FAR, "held": missed == 0, "score": high - low + missed / ENDS[0]}


def main(curves: str = "10", first: str = "0", table: str | None = None) -> None:
    """Judge all members on CURVES curves of each kind, from number FIRST on."""
    rows = []
    within: list[bool] = []
    for kind, number in itertools.product(KINDS, range(int(first), int(first) + int(curves))):
        measured = case(kind, number)
        if measured.parameters:
            within += parameters_held(measured)
        for member, foreseen, seconds in foreseen_by_all(measured):
            head = {"curves": kind, "member": member, "seconds": seconds}
            rows.append(pd.DataFrame(head | judged(measured.truth, foreseen)))
    means = pd.concat(rows).groupby(["curves", "member", "times"], sort=False).mean().unstack()
    print(means.round(2).to_string())
    print(f"intervals of the theory's parameters hold {np.mean(within):.3f} of {len(within)}")
    if table:
        means.stack(future_stack=True).round(4).to_csv(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
