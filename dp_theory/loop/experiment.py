"""The experiment of a problem at finite d, every row drawn: the reference that its theory is held to."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import solve
from scipy.optimize import minimize

from dp_base.errors import ConvergenceError, InputError
from dp_theory.loop.groups import Addition, PlacedRows, draw_labels
from dp_theory.loop.losses import Loss, Square
from dp_theory.loop.square import ORDER, kept_moments
from dp_theory.numerics.checks import Array, Float, require, require_memory, sine_of, whole_rows
from dp_theory.numerics.parallel import run_jobs
from dp_theory.outcomes import QUANTITIES, Simulation
from dp_theory.ridge.problem import Experiments
from dp_theory.ridge.simulators.dense import DENSE, averaged, check_size, generator, measure
from dp_theory.rules import Direct, KeepAll

if TYPE_CHECKING:
    from dp_theory.loop.problems import PracticeProblem, ScalarProblem, SpanProblem

# The largest gradient that a fit may leave, relative to that at w = 0.
_GRADIENT = 1e-6
_SMALLER = "a smaller d, or fewer kept rows"
# Of rows, or of products of columns, that are there at a time, at least.
_MATRICES = 3
# Drawn at a time.
MAX_CANDIDATES = 1 << 20


def simulated(
    problem: "SpanProblem | PracticeProblem", stages: int | slice, experiments: Experiments, least: int
) -> Simulation:
    """Means over runs, of one stage or several.

    The theory resolves plans first, so that both use the same thresholds and sizes.
    """
    d, trials, _, seed, workers = experiments
    size = None if problem.spectrum is None else np.size(problem.spectrum)
    d = check_size(size if d is None else d, trials)
    require("d", d, size in (None, d), f"be the length of the spectrum, {size}")
    require("d", d, d >= least, f"be at least {least}: the directions have so many entries")
    require_memory(_MATRICES * d * d, _SMALLER)
    cell = problem.cell
    if any(map(callable, cell.additions)):
        cell = replace(cell, additions=cell.certified(None)[0].additions)
    runs = run_jobs(trial, [(cell, d, seed, number) for number in range(trials)], workers)
    outputs = np.array(runs)[..., stages]
    return Simulation(**averaged(QUANTITIES, outputs, -outputs.ndim), d=d, trials=trials, seed=seed)


def trial(cell: "ScalarProblem", d: int, seed: int, number: int) -> Float[Array, "3 stages"]:
    """One run of a scalar problem, in the whitened eigenbasis of Σ."""
    rng = generator(seed, DENSE, number)
    n = d / cell.phi
    directions, truth = _directions(cell, d)
    is_square = isinstance(cell.loss, Square)
    roots = np.sqrt(cell.eigenvalues) if len(cell.eigenvalues) == d else np.ones(d)
    gram: Any = 0.0  # for the square loss rows are known by their moments
    moment: Any = 0.0
    pool: list[tuple[Array, Array, Array]] = []
    thetas = np.zeros((0, d))
    for stage in range(cell.stages):
        if not cell.accumulate:
            gram, moment, pool = 0.0, 0.0, []
        if stage == 0:
            placed = [replace(p, frame=directions @ p.frame) for p in cell.initial]
        else:
            rows: Any = cell.additions[stage - 1]
            length = np.linalg.norm(thetas[-1])
            if not length:
                raise InputError(f"stage {stage - 1} of a run at d = {d} has no row to learn from: give a larger d")
            placed = [PlacedRows.of(rows, cell.flip, directions[:, 0], thetas[-1] / length)]
        for one in placed:
            z, y, weight = draw_rows(one, n, rng)
            x = z * roots
            if is_square:
                gram = gram + (x * weight[:, None]).T @ x
                moment = moment + x.T @ (weight * y)
            else:
                pool.append((x, y, weight / n))
        lam = float(cell.ridges[stage])
        if not is_square:
            x, y, weight = (np.concatenate(part) for part in zip(*pool, strict=True))
            w = fit_convex(x, y, weight, lam, cell.loss)
        elif lam:
            w = solve(gram + n * lam * np.eye(d), moment, assume_a="pos")
        else:  # the shortest w where the rows do not determine it
            w = np.linalg.lstsq(gram, moment)[0]
        thetas = np.vstack([thetas, roots * w])
    return np.array([measure(theta, truth) for theta in thetas]).T


def _directions(cell: "ScalarProblem", d: int) -> tuple[Array, Array]:
    modes, k = cell.basis.shape
    if modes == d:
        return cell.basis, cell.truth
    inside, norm, _ = cell.truth_in_span
    truth = np.append(norm * inside, np.zeros(d - k))
    truth[k] = sine_of(norm)
    return np.eye(d, k), truth


def draw_rows(placed: PlacedRows, n: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Kept rows: whitened (rows, d), observed labels, and weights.

    What decides lies in the span of the directions; the rest is drawn for kept rows alone.
    """
    rows, frame, rule = placed.rows, placed.frame, placed.rows.keep
    keep_fraction = float(kept_moments(placed, ORDER)[1][:, 0, 0].sum()) if isinstance(rows, Addition) else 1.0
    candidates = whole_rows("candidates", rows.candidates_at(keep_fraction) * n)
    parts = []
    if isinstance(rule, Direct):
        rows = replace(rows, keep=KeepAll())
    for start in range(0, max(candidates, 1), MAX_CANDIDATES):
        seen = rng.standard_normal((2, min(MAX_CANDIDATES, candidates - start)))
        if isinstance(rule, Direct):
            seen[0] = rule.draw(rng, seen.shape[1])
        y = draw_labels(placed.flip, placed.slope * seen[0] + placed.kappa * seen[1], rng)
        keep, weight = rows.select(seen[0], y)
        is_kept = (rng.random(len(y)) < keep) & (weight > 0)
        parts.append((seen[:, is_kept].T, y[is_kept], weight[is_kept]))
    coordinates, y, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    require_memory(_MATRICES * len(y) * len(frame), _SMALLER)
    z = rng.standard_normal((len(y), len(frame)))
    z += (coordinates - z @ frame) @ frame.T
    return z, y, weight


# -- fits by standard solvers -----------------------------------------------------------------------------------------


def fit_convex(
    x: Float[Array, "rows d"], y: Float[Array, " rows"], q: Float[Array, " rows"], lam: float, loss: Loss
) -> Float[Array, " d"]:
    """The w of the least Σ q ℓ(w·x; y) + (lam/2)|w|²."""
    if not len(y):
        return np.zeros(x.shape[1])

    def value(w: Array) -> float:
        return q @ loss.value(x @ w, y) + lam / 2 * w @ w

    def slope(w: Array) -> Array:
        return x.T @ (q * loss.slope(x @ w, y)) + lam * w

    def curvature(w: Array) -> Array:
        return (x.T * (q * loss.curvature(x @ w, y))) @ x + lam * np.eye(x.shape[1])

    start = np.zeros(x.shape[1])
    allowed = _GRADIENT * float(np.linalg.norm(slope(start)))
    options = {"gtol": allowed / 10}
    result = minimize(value, start, jac=slope, hess=curvature, method="trust-exact", options=options)
    missed = float(np.linalg.norm(result.jac))
    if not missed <= allowed:
        raise ConvergenceError(f"{loss} fit, lam = {lam:g}: gradient {missed:.1e} is left")
    return result.x
