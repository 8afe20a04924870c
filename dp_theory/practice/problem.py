"""Deliberate Practice as theory: exact asymptotics of a learner that selects its own training rows, round by round.

Stage 0 trains on `initial`·n plain rows. After stage k the learner ŵ_k looks at fresh candidate rows, keeps some (or
weights them) by its own projections, and the next stage trains on everything kept so far (`accumulate`), or on the
newest rows alone. Ridge regression throughout:

    ŵ_s = argmin (1/2n) Σ_i c_i (w·x_i − y_i)² + (lam/2)|w|²,   over the rows that stage s has

Conventions. n is one normaliser for all stages, phi = d/n; sizes are given in units of n. x = Σ^½z, θ_s = Σ^½ŵ_s,
t = x·ŵ_k/|θ_k| ~ N(0, 1), so that thresholds are the paper's alpha. y = sign(x·w_g), flipped with probability
`flip`; `labeller` = cos(w_g, w0), w0 the truth. Test error = angle(θ_s, Σ^½w0)/π.

The theory. With fresh data the rows of a stage are independent of their selector, and Theorem 1 applies with
rho = cos(π E_k). An accumulated pool is another matter: ŵ_s has been fitted to the rows that trained ŵ_k, which chose
more of them; treating them as an independent mixture is wrong at leading order. Dynamical mean-field theory keeps
track. θ_s·(x of a row not yet seen) is jointly Gaussian over stages, z = (θ_s off Σ^½w_g)·x ~ N(0, C), a_s = θ_s·Σ^½w_g
normalised; a row of weight c answers with f = c(I + cX)^-1 (y1 − θ), X the response of later stages to it, and
(Γ, C, X, a) close as written in `_update`. X is lower triangular: the future does not act on the past.

Does practice change the exponent of the scaling law? See dp_theory.exponents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from dp_base.errors import InputError
from dp_theory.checks import require
from dp_theory.rules import KeepAll, KeepHard, Rule

PLAIN = KeepAll()
Function = Callable[[np.ndarray, np.ndarray], ArrayLike]  # of (t, y)


@dataclass(frozen=True)
class Addition:
    """The rows that one round adds. Exactly one of `candidates` (rows looked at) and `kept` is given, in units of n.

    keep: which rows are kept: a rule, or a function (t, y) -> probability that depends on the observed label too.
    weight: the weight c of a kept row, a number or a function (t, y). Both with q(-t, -y) = q(t, y).
    breaks: the t > 0 where such functions jump; a rule knows its own.
    """

    candidates: float | None = None
    kept: float | None = None
    keep: Rule | Function = PLAIN
    weight: float | Function = 1.0
    breaks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if (self.candidates is None) == (self.kept is None):
            raise InputError("an addition takes exactly one of candidates and kept, its size in units of n")
        for name, size in (("candidates", self.candidates), ("kept", self.kept)):
            if size is not None:
                require(name, size, 0 < size < np.inf, "be positive: the rows of a round, in units of n")
        if not callable(self.weight):
            require("weight", self.weight, 0 < self.weight < np.inf, "be positive")

    @property
    def jumps(self) -> tuple[float, ...]:
        return (*self.breaks, *(self.keep.breakpoints() if isinstance(self.keep, Rule) else ()))

    def size(self, keep_fraction: float) -> float:
        """Candidates in units of n, when a fraction of them is kept."""
        if self.candidates is not None:
            return self.candidates
        assert self.kept is not None, "checked when made"
        return self.kept / keep_fraction

    def select(self, t: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keep probability and weight of rows with projections t and observed labels y."""
        keep = self.keep.keep_probability(t) if isinstance(self.keep, Rule) else self.keep(t, y)
        weight = self.weight(t, y) if callable(self.weight) else np.full(t.shape, self.weight)
        keep, weight = np.asarray(keep, float), np.asarray(weight, float)
        require("keep", keep, (keep >= 0) & (keep <= 1), "lie in [0, 1]: it is a probability")
        require("weight", weight, (weight >= 0) & np.isfinite(weight), "be at least 0 and finite")
        return keep, weight


@dataclass(frozen=True)
class Window:
    """A plan: `kept` rows within |t| ≤ alpha = kappa·tan(πE), the margin on which a learner of test error E errs.

    Their weight is alpha^-power; power = 2 gives every round's rows the same say along its learner.
    """

    kappa: float = 1.0
    kept: float = 1.0
    power: float = 0.0

    def __post_init__(self) -> None:
        require("kappa", self.kappa, 0 < self.kappa < np.inf, "be positive: the threshold is kappa·tan(πE)")

    def __call__(self, test_error: float) -> Addition:
        alpha = self.kappa * np.tan(np.pi * min(test_error, 0.499))
        return Addition(kept=self.kept, keep=KeepHard(alpha), weight=alpha**-self.power)


@dataclass(frozen=True, eq=False)
class MeasuredRows:
    """Rows that a round adds, known by a sample of them rather than by a rule; `kept` of them, in units of n.

    For rows that a pipeline made or chose with its learner in whatever way, provided that they are N(0, I) off the
    plane of learner and labeller. Then a learner of weight-1 rows depends on the means of y(t, ζ) and (t, ζ)(t, ζ)ᵀ
    alone, ζ the coordinate in the labeller's direction off the selector; for the initial rows t is the labeller's.
    """

    kept: float
    linear: np.ndarray  # (2,)
    second: np.ndarray  # (2, 2)

    def __post_init__(self) -> None:
        require("kept", self.kept, 0 < self.kept < np.inf, "be positive: the rows of a round, in units of n")

    @classmethod
    def of(cls, kept: float, t: np.ndarray, zeta: np.ndarray, y: np.ndarray) -> "MeasuredRows":
        """From a sample: coordinates in units of the standard deviation off the plane, labels ±1."""
        view = np.stack([t, zeta])
        return cls(kept, view @ y / len(y), view @ view.T / len(y))


RoundRows = Addition | MeasuredRows
RoundPlan = RoundRows | Callable[[float], RoundRows]  # rows to add, or how to choose them from the test error so far


@dataclass(frozen=True, eq=False)
class PracticeProblem:
    """What is practised; `predict` and `simulate` read the same object. Fields as in the module's head.

    additions: one per round, so that there are len(additions) + 1 learners. spectrum: eigenvalues of Σ, with
    truth: w0 in its eigenbasis (constant if not given); None is Σ = I. lam: one ridge, or one for each stage; 0 needs
    more kept rows than dimensions. initial: size of the first pool of plain rows, or the rows themselves.
    """

    phi: float
    lam: float | Sequence[float]
    additions: Sequence[RoundPlan] = ()
    initial: float | MeasuredRows = 1.0
    accumulate: bool = True
    flip: float = 0.0
    labeller: float = 1.0
    spectrum: ArrayLike | None = None
    truth: ArrayLike | None = None

    def __post_init__(self) -> None:
        require("phi", self.phi, 0 < self.phi < np.inf, "be positive: it is d/n")
        lam = np.asarray(self.lam, dtype=float)
        require("lam", lam, (lam >= 0) & np.isfinite(lam), "be at least 0 and finite: it is the ridge")
        if lam.shape not in ((), (len(self.additions) + 1,)):
            raise InputError(f"lam has {lam.size} values; it must have one, or one for each of"
                             f" {len(self.additions) + 1} stages")  # fmt: skip
        if not isinstance(self.initial, MeasuredRows):
            require("initial", self.initial, 0 < self.initial < np.inf, "be positive: it is the first pool over n")
        require("flip", self.flip, 0 <= self.flip <= 1, "be a probability")
        require("labeller", self.labeller, 0 < self.labeller <= 1, "lie in (0, 1]: it is cos(w_g, w0)")
        if self.spectrum is None and self.truth is not None:
            raise InputError("truth needs spectrum: without one Σ = I and only angles matter")
        if self.spectrum is not None and self.labeller != 1:
            raise InputError("labeller must be 1 with a spectrum: one cosine does not place w_g in its eigenbasis")
        if self.spectrum is not None:
            e = np.asarray(self.spectrum, dtype=float)
            require("spectrum", e, (e > 0) & np.isfinite(e), "be positive and finite: eigenvalues of Σ")
            truth = np.ones(len(e)) if self.truth is None else np.asarray(self.truth, dtype=float)
            if truth.shape != e.shape or not np.all(np.isfinite(truth)) or not np.any(truth):
                raise InputError(f"truth must be {len(e)} finite numbers, not all 0: an entry for each eigenvalue")

    @cached_property
    def ridges(self) -> np.ndarray:
        """lam of each stage."""
        return np.broadcast_to(np.asarray(self.lam, dtype=float), len(self.additions) + 1)

    @cached_property
    def initial_rows(self) -> RoundRows:
        return self.initial if isinstance(self.initial, MeasuredRows) else Addition(candidates=self.initial)

    @cached_property
    def modes(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues of Σ and the entries of the unit vector along Σ^½w0 in its eigenbasis."""
        e = np.ones(1) if self.spectrum is None else np.asarray(self.spectrum, dtype=float)
        v = np.sqrt(e) * (np.ones(len(e)) if self.truth is None else np.asarray(self.truth, dtype=float))
        return e, v / np.linalg.norm(v)


@dataclass(frozen=True)
class PracticePrediction:
    """The limit n, d → ∞ at d/n = phi; one entry per stage.

    test_error; kept and candidates: rows so far, in units of n; additions: the practice's plans, resolved.
    overlap a_s = θ_s·Σ^½w_g (normalised), covariance C, response X: the order parameters in the module's head.
    certificate: relative residual of the fixed point at the solution.
    """

    practice: PracticeProblem
    additions: tuple[RoundRows, ...]
    test_error: np.ndarray
    kept: np.ndarray
    candidates: np.ndarray
    overlap: np.ndarray
    covariance: np.ndarray
    response: np.ndarray
    certificate: float
