"""The experiment of a `SpanProblem` itself at finite d: rows, labels, rules, weights, and a fit by a standard solver.

The reference that dp_theory.span and dp_theory.convex are held to. Conventions as in dp_theory.span; trial k draws from
SeedSequence(seed, (stream, k)) as in dp_theory.simulate.
"""

from typing import Any

import numpy as np

from dp_base.errors import ConvergenceError, InputError
from dp_theory import convex, span
from dp_theory.checks import require
from dp_theory.convex import LOGISTIC, SQUARE, Loss, Square
from dp_theory.parallel import spread
from dp_theory.problem import Simulation
from dp_theory.rules import Entropy, KeepEasy, KeepHard, Rule
from dp_theory.simulate import DENSE, check_size, generator, mean_and_se, measure, ridge
from dp_theory.span import Agree, Array, Group, Interpolating, SpanProblem, Verifier, Weight


def simulate(
    problem: SpanProblem,
    trials: int,
    *,
    d: int | None = None,
    loss: Loss = SQUARE,
    seed: int = 0,
    workers: int | None = 1,
) -> Simulation:
    """Means and standard errors over `trials` experiments with d columns and round(ratio · d/phi) rows per group.

    d: for Σ = I any dimension with room for the directions; with a spectrum it is the number of eigenvalues. The
    quantities are those of `dp_theory.span.predict`; phi and lam must be scalars. workers: processes over trials.
    """
    size = problem.eigenvalues.size
    if problem.spectrum is not None and d not in (None, size):
        raise InputError(f"d = {d} must be the number of eigenvalues, {size}")
    d = d or size
    check_size(d, trials)
    require("d", d, d >= size, f"be at least {size}: the directions have so many entries")
    draws = np.array(spread(trial, [(problem, d, loss, seed, k) for k in range(trials)], workers))
    mean, se = mean_and_se(draws, axis=0)
    columns = [float(x[i]) for i in range(3) for x in (mean, se)]
    return Simulation(*columns, d=d, trials=trials, seed=seed)


def trial(problem: SpanProblem, d: int, loss: Loss, seed: int, k: int) -> tuple[float, float, float]:
    """(test_error, overlap, squared_norm) of one experiment."""
    rng = generator(seed, DENSE, k)
    n = d / float(problem.phi)
    groups = [_draw(problem, group, d, n, rng) for group in problem.groups]
    x, y, q = (np.concatenate(parts) for parts in zip(*groups, strict=True))
    if isinstance(loss, Square):
        root = np.sqrt(q)
        w = ridge(root[:, None] * x, root * y, n * float(problem.lam))
    else:
        w = _fit(x, y, q / n, float(problem.lam), loss)
    scale = np.ones(d)
    scale[: problem.eigenvalues.size] = np.sqrt(problem.eigenvalues)
    return measure(scale * w, np.pad(problem.whitened(problem.truth)[0], (0, d - problem.eigenvalues.size)))


def _draw(problem: SpanProblem, group: Group, d: int, n: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Kept rows (kept, d), observed labels and weights of a group."""
    labeller, along = problem.directions(group)
    size = labeller.size
    z = rng.standard_normal((round(group.ratio * n), d))
    y = np.where(z[:, :size] @ labeller >= 0, 1.0, -1.0) * np.where(rng.random(len(z)) < group.flip, -1.0, 1.0)
    keep, q = group.select(along @ z[:, :size].T, y)
    kept = (rng.random(len(z)) < keep) & (q > 0)
    x = z[kept]
    x[:, :size] *= np.sqrt(problem.eigenvalues)
    return x, y[kept], q[kept]


def _fit(x: Array, y: Array, q: Array, lam: float, loss: Loss, gradient: float = 1e-6) -> Array:
    """argmin Σ q ℓ(w·x; y) + (lam/2)|w|² by scipy's trust-region Newton method with the exact Hessian.

    Judged by the norm of the gradient, relative to that at w = 0: scipy's own status depends on differences of the
    objective, which drown in rounding first.
    """
    from scipy.optimize import minimize

    def slope(w: Array) -> Array:
        return x.T @ (q * loss.slope(x @ w, y)) + lam * w

    start = np.zeros(x.shape[1])
    allowed = gradient * np.linalg.norm(slope(start))
    result = minimize(
        lambda w: q @ loss.value(x @ w, y) + lam / 2 * w @ w,
        start,
        jac=slope,
        hess=lambda w: (x.T * (q * loss.curvature(x @ w, y))) @ x + lam * np.eye(x.shape[1]),
        method="trust-exact",
        options={"gtol": allowed / 10},
    )
    missed = np.linalg.norm(result.jac)
    if not missed <= allowed:
        raise ConvergenceError(f"{loss} fit, (kept, d) = {x.shape}, lam = {lam:g}: gradient {missed:.1e} is left")
    return result.x


# -- theory against experiment ---------------------------------------------------------------------------------------


def feature_cells(d: int = 200) -> dict[str, tuple[SpanProblem, Loss]]:
    """Named problems that between them use every feature of the recipe, for comparisons; d: size of the spectra."""
    truth, labeller = np.eye(4)[0], np.array([0.8, 0.6, 0.0, 0.0])
    pruner, other = np.array([0.9, 0.0, np.sqrt(0.19), 0.0]), np.array([0.5, 0.5, -0.3, np.sqrt(0.41)])
    hard, easy = Group(along=pruner, keep=KeepHard(0.8)), Group(along=pruner, keep=KeepEasy(0.8))
    agree = Group(labeller=labeller, flip=0.1, along=pruner, keep=Agree())
    both = Group(
        labeller=labeller, flip=0.1, along=pruner, keep=lambda t, y: (y * t > 0) & (abs(t) < 1), breaks=(-1, 1)
    )
    mixture = (
        Group(0.3),
        Group(1.0, along=pruner, keep=KeepHard(0.5)),
        Group(0.6, labeller=labeller, flip=0.1, along=other, keep=KeepEasy(1.0), weight=2.0),
    )
    pruned_and_verified = Group(
        labeller=labeller,
        flip=0.1,
        along=(pruner, other),
        keep=lambda pruned, verified, y: abs(pruned) < 1,
        weight=lambda pruned, verified, y: Verifier(2)(verified, y),
        breaks=((-1, 1), ()),
    )
    consensus = Group(labeller=labeller, along=(pruner, other), keep=lambda s, v, y: (s * y > 0) & (v * y > 0))

    def soft(weight: Weight, flip: float = 0.0) -> Group:
        return Group(along=pruner, flip=flip, weight=weight)

    square = {
        "plain": SpanProblem(truth, [Group()], 0.5, 0.01),
        "keep-hard": SpanProblem(truth, [hard], 0.3, 0.01),
        "keep-easy, more columns than rows": SpanProblem(truth, [easy], 1.0, 0.02),
        "entropy": SpanProblem(truth, [Group(along=pruner, keep=Entropy(4.0, 3.0))], 0.3, 0.05),
        "negative rho": SpanProblem(truth, [Group(along=-pruner, keep=KeepHard(1.0))], 0.5, 0.1),
        "interpolating, hard": SpanProblem(truth, [soft(Interpolating(1, 2))], 0.5, 0.01),
        "interpolating, easy": SpanProblem(truth, [soft(Interpolating(-0.5, 2))], 0.5, 0.01),
        "soft verifier": SpanProblem(truth, [soft(Verifier(2), 0.2)], 0.4, 0.01),
        "labeller, flips, label-aware": SpanProblem(truth, [agree], 0.5, 0.01),
        "label-aware band": SpanProblem(truth, [both], 0.2, 0.01),
        "labeller, flips, keep-easy": SpanProblem(
            truth, [Group(labeller=labeller, flip=0.05, along=pruner, keep=KeepEasy(0.5))], 0.4, 0.01
        ),
        "mixture": SpanProblem(truth, mixture, 0.3, 0.02),
        "pruner, verifier, labeller": SpanProblem(truth, [pruned_and_verified], 0.5, 0.01),
        "pruner and verifier agree with the label": SpanProblem(truth, [consensus], 0.3, 0.01),
        "weights without a direction": SpanProblem(
            truth, [Group(labeller=labeller, flip=0.1, weight=lambda y: np.where(y > 0, 2.0, 0.5))], 0.5, 0.05
        ),
        "ridgeless, fewer columns than rows": SpanProblem(truth, [hard], 0.2, 0.0),
        "ridgeless, more columns than rows": SpanProblem(truth, [hard], 1.2, 0.0),
        "ridgeless, soft, fewer columns": SpanProblem(truth, [soft(Verifier(2), 0.1)], 0.4, 0.0),
        "ridgeless, soft, more columns": SpanProblem(truth, [soft(Verifier(2), 0.1)], 2.0, 0.0),
    }

    def power_law(exponent: float, keep: Rule, phi: float, lam: float) -> SpanProblem:
        spectrum = np.arange(1, d + 1.0) ** -exponent
        along = 1 + 0.7 * (-1.0) ** np.arange(d)
        return SpanProblem(np.ones(d), [Group(along=along, keep=keep)], phi, lam, spectrum / spectrum.mean())

    square |= {
        "power law 1/2, keep-hard": power_law(0.5, KeepHard(0.8), 0.5, 0.05),
        "power law 1, keep-easy": power_law(1.0, KeepEasy(0.8), 0.3, 0.05),
        "power law 1/2, ridgeless, fewer columns": power_law(0.5, KeepHard(0.8), 0.3, 0.0),
        "power law 1/2, ridgeless, more columns": power_law(0.5, KeepHard(0.8), 1.5, 0.0),
    }
    logistic = {
        "logistic": SpanProblem(truth, [Group()], 0.5, 0.05),
        "logistic, keep-hard": SpanProblem(truth, [hard], 0.4, 0.02),
        "logistic, keep-easy, labeller": SpanProblem(
            truth, [Group(labeller=labeller, flip=0.05, along=pruner, keep=KeepEasy(0.5))], 0.4, 0.05
        ),
        "logistic, soft verifier": SpanProblem(truth, [soft(Verifier(2), 0.2)], 0.4, 0.02),
        "logistic, mixture": SpanProblem(truth, mixture, 0.3, 0.02),
        "logistic, power law 1/2": power_law(0.5, KeepHard(0.8), 0.5, 0.05),
    }
    losses: tuple[tuple[Loss, dict[str, SpanProblem]], ...] = ((SQUARE, square), (LOGISTIC, logistic))
    return {name: (problem, loss) for loss, problems in losses for name, problem in problems.items()}


def agreement(
    cells: dict[str, tuple[SpanProblem, Loss]], trials: int, *, d: int = 200, seed: int = 0, workers: int | None = 1
) -> list[dict[str, Any]]:
    """Theory against experiment: a row for each cell and quantity with `theory`, `simulated`, `se` and z.

    Isotropic problems are simulated at dimension d, others at the size of their spectrum; each from a seed of its own.
    """
    table = []
    seeds = np.random.SeedSequence(seed).generate_state(len(cells))
    for cell_seed, (name, (problem, loss)) in zip(seeds, cells.items(), strict=True):
        theory = span.predict(problem) if isinstance(loss, Square) else convex.predict(problem, loss)
        size = d if problem.spectrum is None else None
        simulated = simulate(problem, trials, d=size, loss=loss, seed=int(cell_seed), workers=workers)
        for quantity in ("test_error", "overlap", "squared_norm"):
            predicted, mean, se = (
                float(getattr(record, field))
                for record, field in ((theory, quantity), (simulated, quantity), (simulated, f"{quantity}_se"))
            )
            row = {"cell": name, "quantity": quantity, "theory": predicted, "simulated": mean, "se": se}
            table.append(row | {"z": (mean - predicted) / se})
    return table
