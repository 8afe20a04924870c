"""What goes beyond Theorem 1, to be held against the experiment: every feature of rows and of practice loops."""

from dataclasses import replace

import numpy as np

from dp_theory import (
    LOGISTIC,
    Addition,
    Agree,
    BoundaryFlips,
    Entropy,
    Group,
    KeepEasy,
    KeepHard,
    PracticeProblem,
    SpanProblem,
    Verifier,
)

TRUTH = np.array([1.0, 0.0, 0.0, 0.0])
LABELLER = np.array([0.8, 0.6, 0.0, 0.0])
PRUNER = np.array([0.9, 0.0, np.sqrt(0.19), 0.0])
OTHER = np.array([0.5, 0.5, -0.3, np.sqrt(0.41)])
HARD = Group(along=PRUNER, keep=KeepHard(0.8))
MISLABELLED = Group(labeller=LABELLER, flip=0.05, along=PRUNER, keep=KeepEasy(0.5))
MIXTURE = (
    Group(0.3),
    Group(1.0, along=PRUNER, keep=KeepHard(0.5)),
    Group(0.6, labeller=LABELLER, flip=0.1, along=OTHER, keep=KeepEasy(1.0), weight=2.0),
)
VERIFIED = Group(along=PRUNER, flip=0.2, weight=Verifier(2))
SOFT = BoundaryFlips(0.3)
HEAVY = BoundaryFlips(0.6, 0.4)


def interpolating(omega, slope=1.0):
    """[4 σ(κt) (1 − σ(κt))]^ω of Section 4, as a weight, which exceeds 1 where ω < 0."""
    return lambda t, y: np.cosh(slope * t / 2) ** (-2 * omega)


def feature_cells(d):
    """Named problems that between them use every feature of the recipe, for comparisons; d: size of the spectra."""
    return _groups() | _spectra(d) | _logistic(d)


def _groups():
    """Isotropic rows, square loss: (groups, phi, lam), λ = 0 being the limit, on both sides of the peak."""
    soft = replace(VERIFIED, flip=0.1)
    agree = Group(labeller=LABELLER, flip=0.1, along=PRUNER, keep=Agree())
    band = replace(agree, keep=lambda t, y: (y * t > 0) & (abs(t) < 1), breaks=(-1, 1))
    undirected = Group(labeller=LABELLER, flip=0.1, weight=lambda y: np.where(y > 0, 2.0, 0.5))
    cells = {
        "keep-easy, more columns than rows": ([replace(HARD, keep=KeepEasy(0.8))], 1.0, 0.02),
        "negative rho": ([Group(along=-PRUNER, keep=KeepHard(1.0))], 0.5, 0.1),
        "interpolating, hard": ([Group(along=PRUNER, weight=interpolating(1, 2))], 0.5, 0.01),
        "interpolating, easy": ([Group(along=PRUNER, weight=interpolating(-0.5, 2))], 0.5, 0.01),
        "soft verifier": ([VERIFIED], 0.4, 0.01),
        "labeller, flips, label-aware": ([agree], 0.5, 0.01),
        "label-aware band": ([band], 0.2, 0.01),
        "labeller, flips, keep-easy": ([MISLABELLED], 0.4, 0.01),
        "mixture": (MIXTURE, 0.3, 0.02),
        "weights without a direction": ([undirected], 0.5, 0.05),
        "soft labels, plain": ([Group(flip=SOFT)], 0.4, 0.05),
        "soft labels, keep-hard": ([replace(HARD, flip=SOFT)], 0.3, 0.02),
        "heavy flips, entropy": ([Group(along=PRUNER, keep=Entropy(8.0), flip=HEAVY)], 0.3, 0.05),
        "ridgeless, fewer columns than rows": ([HARD], 0.2, 0.0),
        "ridgeless, more columns than rows": ([HARD], 1.2, 0.0),
        "ridgeless, soft, fewer columns": ([soft], 0.4, 0.0),
        "ridgeless, soft, more columns": ([soft], 2.0, 0.0),
    }
    return {name: SpanProblem(TRUTH, groups, phi, lam) for name, (groups, phi, lam) in cells.items()}


def _spectra(d):
    """Covariances whose eigenvalues fall as a power law."""
    return {
        "power law 1/2, keep-hard": power_law(d, 0.5, KeepHard(0.8), 0.5, 0.05),
        "power law 1, keep-easy": power_law(d, 1.0, KeepEasy(0.8), 0.3, 0.05),
        "power law 1/2, ridgeless, fewer columns": power_law(d, 0.5, KeepHard(0.8), 0.3, 0.0),
        "power law 1/2, ridgeless, more columns": power_law(d, 0.5, KeepHard(0.8), 1.5, 0.0),
    }


def power_law(d, exponent, keep, phi, lam):
    """Eigenvalues ∝ j^-exponent of mean 1, truth of ones, a pruner that alternates around it."""
    spectrum = np.arange(1, d + 1.0) ** -exponent
    along = 1 + 0.7 * (-1.0) ** np.arange(d)
    return SpanProblem(np.ones(d), [Group(along=along, keep=keep)], phi, lam, spectrum / spectrum.mean())


def _logistic(d):
    cells = {
        "keep-easy, labeller": SpanProblem(TRUTH, [MISLABELLED], 0.4, 0.05),
        "soft verifier": SpanProblem(TRUTH, [VERIFIED], 0.4, 0.02),
        "mixture": SpanProblem(TRUTH, MIXTURE, 0.3, 0.02),
        "soft labels, keep-hard": SpanProblem(TRUTH, [replace(HARD, flip=SOFT)], 0.3, 0.02),
        "power law 1/2": power_law(d, 0.5, KeepHard(0.8), 0.5, 0.05),
    }
    return {f"logistic, {name}": replace(problem, loss=LOGISTIC) for name, problem in cells.items()}


def loops():
    """Named practice loops with features that differ."""
    hard = Addition(2, keep=KeepHard(0.3))
    verified = Addition(1, weight=Verifier(2))
    newest = Addition(kept=1, keep=KeepHard(0.5))
    spectrum = np.arange(1, 201) ** -0.7
    spectrum = spectrum / spectrum.mean()
    return {
        "keep-hard": PracticeProblem(0.5, 0.01, [hard] * 3),
        "entropy, few rows": PracticeProblem(1.2, 0.2, [Addition(2, keep=Entropy(4.0, 3.0))] * 2),
        "self-verification, flips": PracticeProblem(0.5, 0.02, [Addition(1, keep=Agree())] * 2, flip=0.1),
        "soft weights": PracticeProblem(0.5, 0.02, [Addition(1, weight=interpolating(1, 3))] * 2),
        "verifier, labeller, flips": PracticeProblem(0.5, 0.02, [verified] * 2, labeller=0.9, flip=0.05),
        "newest rows": PracticeProblem(0.25, 1e-3, [newest] * 3, accumulate=False),
        "power law": PracticeProblem(0.5, 0.02, [Addition(1, keep=KeepEasy(0.5))] * 2, spectrum=spectrum),
        "heavy flips, labeller": PracticeProblem(0.5, 0.05, [hard] * 2, labeller=0.9, flip=HEAVY),
    }
