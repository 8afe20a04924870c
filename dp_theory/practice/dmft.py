"""Dynamical mean-field theory of the practice loop with ridge regression: exact as n, d → ∞ (ours).

With fresh data the rows of a stage are independent of their selector, and Theorem 1 applies with rho = cos(π E_k). An
accumulated pool is another matter: ŵ_s has been fitted to the rows that trained ŵ_k, which chose more of them, and to
treat them as an independent mixture is wrong at leading order. Dynamical mean-field theory keeps track. θ_s·(x of a row
not yet seen) is jointly Gaussian over stages, z = (θ_s off Σ^½w_g)·x ~ N(0, C), a_s = θ_s·Σ^½w_g normalised; a row of
weight c answers with f = c(I + cX)^-1 (y1 − θ), X the response of later stages to it, and (Γ, C, X, a) close as written
in `residuals`. X is lower triangular: the future does not act on the past. The method is that of Celentano, Cheng and
Montanari 2021.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import root_scalar

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array
from dp_theory.practice.cohorts import Cohort
from dp_theory.practice.practice_problem import PracticeProblem

TOGETHER = 24  # trials at once, if they fit into MEMORY
MEMORY = 2**22  # elements of the largest array: (trials, modes or atoms, stages, stages)


def geometry(k: int | None, a: Array, c: Array, stages: slice) -> tuple[Array, Array, Array, Array]:
    """How θ_s·x of b stages depends on the selector k's view (t, ζ) of a row: θ·x = L(t, ζ) + noise.

    Returns L (..., b, 2), the noise covariance (..., b, b), and the two vectors (2,) that give g = x·Σ^½w_g
    (normalised) and z_k from (t, ζ): g = ρt + rζ, z_k = s(r²t − ρrζ) with s = |θ_k|, ρ = a_k/s, r = √(1 − ρ²).
    """
    own, noise = a[..., stages, None], c[..., stages, stages]
    if k is None:  # the view is g itself
        return own * np.array([1.0, 0.0]), noise, np.array([1.0, 0.0]), np.zeros(2)
    alignment, variance = a[..., k].flat[0], c[..., k, k].flat[0]  # of an earlier stage: one in all trials
    norm = np.hypot(alignment, np.sqrt(variance))
    rho, r = alignment / norm, np.sqrt(variance) / norm
    g, z_k = np.array([rho, r]), norm * r * np.array([r, -rho])
    shared = c[..., stages, k, None] / variance
    return own * g + shared * z_k, noise - shared * c[..., k, None, stages], g, z_k


class Forces(NamedTuple):
    """What the rows do to the learners, summed over cohorts in units of n: gamma = Γ = −E[∂f/∂θ] and ff = E[f fᵀ],
    (..., stages, stages), fg = E[f g] (..., stages)."""

    gamma: Array
    ff: Array
    fg: Array


def residuals(problem: PracticeProblem, forces: Forces, a: Array, c: Array, x: Array) -> tuple[Array, Array, Array]:
    """Right-hand sides minus (a, C, X) of the order parameters' equations, for the stages that a, C and X have.

    a: (..., stages). c, x: (..., stages, stages). Leading axes are trials that differ in the last stage only.
    forces: at these order parameters. With e, v over modes:
        M_e = e(lam·I + eΓ)^-1,  b = E[f g] + Γa
        X = (1/n)Σ M_e,  a = Σ v²M_e b,  C = Σ v²(M_e b)(M_e b)ᵀ − aaᵀ + (1/n)Σ M_e E[f fᵀ] M_eᵀ
    """
    gamma, ff, fg = forces
    stages, (e, v) = a.shape[-1], problem.modes
    m, drift = _drift(problem, gamma, fg + (gamma @ a[..., None])[..., 0])
    deviation = v[:, None] * (drift - (v**2 @ drift)[..., None, :])
    fluctuation = problem.phi * (m @ ff[..., None, :, :] @ m.mT).mean(axis=-3)
    pull = fg[..., None, :] - problem.ridges[:stages] / e[:, None] * a[..., None, :]
    step = (v[:, None] ** 2 * (m @ pull[..., None])[..., 0]).sum(axis=-2)  # Σ v²M_e b − a without cancellation
    return step, deviation.mT @ deviation + fluctuation - c, problem.phi * m.mean(axis=-3) - x


def overlaps(problem: PracticeProblem, forces: Forces, a: Array) -> Array:
    """θ·Σ^½w0 (normalised) of every stage (stages,), from solved order parameters: Σ uvM_e b, u the modes of Σ^½w0."""
    if np.ndim(problem.labeller) == 0:  # Σ = I, where θ off the labeller is isotropic, or the truth labels
        return np.asarray(problem.labeller) * a
    return (problem.target * problem.modes[1]) @ _drift(problem, forces.gamma, forces.fg + forces.gamma @ a)[1]


def _drift(problem: PracticeProblem, gamma: Array, b: Array) -> tuple[Array, Array]:
    """M_e (..., modes, stages, stages) and M_e b (..., modes, stages)."""
    e, ridges = problem.modes[0][:, None, None], np.diag(problem.ridges[: b.shape[-1]])
    m = e * np.linalg.inv(ridges + e * gamma[..., None, :, :])
    return m, (m @ b[..., None, :, None])[..., 0]


class Quadratics(NamedTuple):
    """A loss H(m y − h)²/2 for each stage, (stages,) each; the square loss is H = m = 1."""

    stiffness: Array  # H
    target: Array  # m

    @classmethod
    def square(cls, stages: int) -> "Quadratics":
        """The square loss at every stage."""
        return cls(np.ones(stages), np.ones(stages))


def linear_forces(cohorts: Sequence[Cohort], a: Array, c: Array, x: Array, losses: Quadratics) -> Forces:
    """The forces of quadratic losses H(m y − h)²/2, in closed form.

    A kept row of weight c answers with f = B(m y − θ), B = cH(I + cXH)^-1. Γ is E[B] within a cohort's stages; by
    Stein's lemma, without boundary terms, Γ_·k = −(E[f z_k] + E[B]C_·k)/C_kk from the selection by stage k.
    """
    stages = a.shape[-1]
    gamma, ff, fg = np.zeros(c.shape), np.zeros(c.shape), np.zeros(a.shape)
    for cohort in cohorts:
        if cohort.first >= stages:
            continue
        i = slice(cohort.first, min(cohort.last, stages))
        view, noise, g, z_k = geometry(cohort.selector, a, c, i)
        weight, mass = cohort.weight[:, None, None], cohort.mass[:, None, None]
        stiff = weight * losses.stiffness[i]
        b = stiff.mT * np.linalg.inv(np.eye(view.shape[-2]) + x[..., None, i, i] * stiff)  # (..., J, b, b)
        pull, slopes = b @ losses.target[i, None], b @ view[..., None, :, :]  # f = pull·y − slopes(t, ζ) − b·noise
        seen = (pull * cohort.linear[:, None] - slopes @ cohort.second).sum(axis=-3)  # E[f (t, ζ)ᵀ]
        cross = pull * (slopes @ cohort.linear[:, :, None]).mT
        square = mass * (pull * pull.mT + b @ noise[..., None, :, :] @ b.mT) - cross - cross.mT
        ff[..., i, i] += (square + slopes @ cohort.second @ slopes.mT).sum(axis=-3)
        fg[..., i] += seen @ g
        curvature = (mass * b).sum(axis=-3)
        gamma[..., i, i] += curvature
        if (k := cohort.selector) is not None:
            gamma[..., i, k] -= (seen @ z_k + (curvature @ c[..., i, k, None])[..., 0]) / c[..., k, k, None]
    return Forces(gamma, ff, fg)


def own_response(problem: PracticeProblem, cohorts: Sequence[Cohort], lam: float) -> float:
    """X_ss: the root of X = (1/n)Σ e/(lam + eΓ), Γ = E[c/(1 + cX)] over the rows of stage s; lam is that stage's."""

    def image(response: float) -> float:
        gamma = sum(float(k.mass @ (k.weight / (1 + k.weight * response))) for k in cohorts)
        return problem.phi * float(np.mean(e / (lam + e * gamma)))

    e = problem.modes[0]
    low = high = image(0.0)
    while image(high) > high:
        low, high = high, 4 * high

    def excess(log: float) -> float:
        return float(np.log(image(np.exp(log))) - log)

    return float(np.exp(root_scalar(excess, bracket=(np.log(low), np.log(high)), xtol=1e-15).root))


def next_stage(
    problem: PracticeProblem, cohorts: Sequence[Cohort], a: Array, c: Array, x: Array
) -> tuple[Array, Array, Array, Forces, float]:
    """Order parameters with one more stage, the forces there, and the relative residual.

    X_ss solves a scalar equation of its own. Given it, f_s is affine in everything else that is new (a_s, C_s·, X_s·),
    and so are the equations: probing them along each unknown and one linear solve is exact. C_ss comes last. Raises
    InputError where lam = 0 and the stage has no more rows than dimensions.
    """
    s = len(a)
    here = [cohort for cohort in cohorts if cohort.first <= s < cohort.last]
    rows = sum(cohort.mass.sum() for cohort in here)
    if problem.ridges[s] == 0 and rows <= problem.phi:
        raise InputError(f"lam = 0 needs more rows than dimensions: stage {s} has {rows:.3g}·n, not above d = phi·n ="
                         f" {problem.phi:g}·n. Give lam > 0")  # fmt: skip
    delta = own_response(problem, here, problem.ridges[s])
    a, c, x = np.append(a, 0.0), np.pad(c, (0, 1)), np.pad(x, (0, 1))
    x[s, s] = delta
    losses = Quadratics.square(s + 1)
    scale = np.concatenate([[1.0], np.sqrt(np.diag(c)[:s]) * np.sqrt(c[s - 1, s - 1] if s else 1.0), np.full(s, delta)])

    def insert(unknown: Array, own: Array | float) -> tuple[Array, Array, Array]:
        """Order parameters with these values (..., 2s + 1) of what is new."""
        values = unknown * scale
        trial = [np.array(np.broadcast_to(old, (*values.shape[:-1], *old.shape))) for old in (a, c, x)]
        trial[0][..., s], trial[2][..., s, :s] = values[..., 0], values[..., s + 1 :]
        trial[1][..., s, :s] = trial[1][..., :s, s] = values[..., 1 : s + 1]
        trial[1][..., s, s] = own
        return trial[0], trial[1], trial[2]

    def residual(unknown: Array, own: Array | float = 0.0) -> tuple[Array, Array, Forces]:
        trial = insert(unknown, own)
        by = linear_forces(cohorts, *trial, losses)
        a_off, c_off, x_off = residuals(problem, by, *trial)
        off = np.concatenate([a_off[..., s, None], c_off[..., s, :s], x_off[..., s, :s]], axis=-1)
        return off / scale, c_off[..., s, s], by

    probes = np.eye(2 * s + 2, 2 * s + 1, k=-1)  # none of the unknowns, then each
    largest = (s + 1) ** 2 * max(len(problem.modes[0]), *(len(cohort.mass) for cohort in cohorts))
    parts = np.array_split(probes, -(-len(probes) // max(1, min(TOGETHER, MEMORY // largest))))
    base, *columns = np.concatenate([residual(part)[0] for part in parts])
    jacobian = np.column_stack(columns) - base[:, None]
    unknown = -np.linalg.solve(jacobian, base)
    unknown = unknown - np.linalg.solve(jacobian, residual(unknown)[0])  # removes the first step's rounding
    at_zero, at_one = residual(np.stack([unknown, unknown]), np.array([0.0, 1.0]))[1]
    own = at_zero / (at_zero - at_one)
    off, own_off, by = residual(unknown, own)
    a, c, x = insert(unknown, own)
    return a, c, x, by, float(max(np.abs(off).max() / max(np.abs(unknown).max(), 1.0), abs(own_off / own)))
