"""What the practice loop is asked and what it answers: a learner that selects its own training rows, round by round.

Stage 0 trains on `initial`·n plain rows. After stage k the learner ŵ_k looks at fresh candidate rows, keeps some (or
weights them) by its own projections, and the next stage trains on everything kept so far (`accumulate`), or on the
newest rows alone. The paper argues for such a selector in section 4.2.2 and gives no theory; this one is ours. With a
convex loss, by default the square one (h − y)²/2:

    ŵ_s = argmin (1/n) Σ_i c_i ℓ(w·x_i; y_i) + (lam/2)|w|²,   over the rows that stage s has

Conventions. n is one normaliser for all stages, phi = d/n; sizes are given in units of n. x = Σ^½z, θ_s = Σ^½ŵ_s,
t = x·ŵ_k/|θ_k| ~ N(0, 1), so that thresholds are the paper's alpha. y = sign(x·w_g), flipped with probability
`flip`, a number or `BoundaryFlips`; `labeller` = cos(w_g, w0), w0 the truth, or w_g itself. Test error =
angle(θ_s, Σ^½w0)/π.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from dp_base.errors import InputError
from dp_theory.numerics.checks import (
    Array,
    Real,
    common_shape,
    numbers,
    require,
    require_breaks,
    require_magnitude,
    require_number,
)
from dp_theory.ridge.problem import Prediction, Simulation
from dp_theory.rules import KeepAll, KeepHard, Rule
from dp_theory.span.flips import Flips, check_flips
from dp_theory.span.losses import SQUARE, Loss, require_loss
from dp_theory.span.span_problem import select

PLAIN = KeepAll()
Function = Callable[[Array, Array], ArrayLike]  # of (t, y)


@dataclass(frozen=True)
class Addition:
    """The rows that one round adds. Exactly one of `candidates` (rows looked at) and `kept` is given, in units of n.

    keep: which rows are kept: a rule, whose parameters may be arrays, or a function (t, y) -> probability that depends
        on the observed label too.
    weight: the weight c of a kept row, a number or a function (t, y).
    breaks: the |t| where such functions jump; a rule knows its own. A jump that is not named is found, if it lies not
        in a feature too narrow to be seen, and costs time.
    flip: of these rows' labels, where it differs from the problem's: what a learner asks for may be labelled worse.

    Raises InputError for sizes and weights that are not positive.
    """

    candidates: float | None = None
    kept: float | None = None
    keep: Rule | Function = PLAIN
    weight: float | Function = 1.0
    breaks: tuple[float, ...] = ()
    flip: Flips | None = None

    def __post_init__(self) -> None:
        if self.flip is not None:
            check_flips(self.flip)
        if (self.candidates is None) == (self.kept is None):
            raise InputError("an addition takes exactly one of candidates and kept, its size in units of n")
        for name, size in (("candidates", self.candidates), ("kept", self.kept)):
            if size is not None:
                require_number(**{name: size})
                require(name, size, 0 < size < np.inf, "be positive: the rows of a round, in units of n")
                require_magnitude(**{name: size})
        if not isinstance(self.keep, Rule) and not callable(self.keep):
            raise InputError(f"keep = {self.keep!r} must be a rule or a function (t, y) -> probability")
        if not callable(self.weight):
            require_number(weight=self.weight)
            require("weight", self.weight, 0 < self.weight < np.inf, "be positive and finite")
            require_magnitude(weight=self.weight)
        require_breaks(self.breaks)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the rule's parameters."""
        return self.keep.shape if isinstance(self.keep, Rule) else ()

    def at(self, index: tuple[int, ...], shape: tuple[int, ...]) -> "Addition":
        """The addition with a scalar rule at `index` of this one broadcast to `shape`."""
        return replace(self, keep=self.keep.at(index, shape)) if isinstance(self.keep, Rule) else self

    @property
    def by_nodes(self) -> bool:
        """Whether its moments are integrated over nodes here, rather than known from its rule."""
        return callable(self.weight) or not isinstance(self.keep, Rule)

    def flips(self, problem: Flips) -> Flips:
        """How labels of these rows are flipped in a problem with those flips."""
        return problem if self.flip is None else self.flip

    def jumps(self) -> tuple[Real, ...]:
        """The |t| where keep or weight are not smooth."""
        return (*self.breaks, *(self.keep.breakpoints() if isinstance(self.keep, Rule) else ()))

    def size(self, keep_fraction: float) -> float:
        """Candidates in units of n, when a fraction of them is kept."""
        if self.candidates is not None:
            return self.candidates
        assert self.kept is not None, "checked when made"
        return self.kept / keep_fraction

    def select(self, t: Array, y: Array) -> tuple[Array, Array]:
        """Keep probability and weight of rows with projections t (rows,) and observed labels y (rows,)."""
        return select(self.keep, self.weight, t[None], y)


@dataclass(frozen=True)
class Window:
    """A plan: `kept` rows within |t| ≤ alpha = kappa·tan(πE), the margin on which a learner of test error E errs.

    Their weight is alpha^-power; power = 2 gives every round's rows the same say along its learner. Raises InputError
    unless kappa is positive.
    """

    kappa: float = 1.0
    kept: float = 1.0
    power: float = 0.0

    def __post_init__(self) -> None:
        require_number(kappa=self.kappa, kept=self.kept, power=self.power)
        require("kappa", self.kappa, 0 < self.kappa < np.inf, "be positive: the threshold is kappa·tan(πE)")
        require("power", self.power, np.isfinite(self.power), "be finite")
        require_magnitude(kappa=self.kappa, kept=self.kept)

    def __call__(self, test_error: float) -> Addition:
        """The rows to add after a stage of this test error. Raises InputError for a power of too large weights."""
        alpha = self.kappa * np.tan(np.pi * min(test_error, 0.499))
        with np.errstate(over="ignore"):  # the addition refuses such a weight
            weight = alpha**-self.power
        return Addition(kept=self.kept, keep=KeepHard(alpha), weight=weight)


@dataclass(frozen=True, eq=False)
class MeasuredRows:
    """Rows that a round adds, known by a sample of them rather than by a rule; `kept` of them, in units of n.

    For rows that a pipeline made or chose with its learner in whatever way, provided that they are N(0, I) off the
    plane of learner and labeller. Then a learner of weight-1 rows depends on the means of y(t, ζ) and (t, ζ)(t, ζ)ᵀ
    alone, ζ the coordinate in the labeller's direction off the selector; for the initial rows t is the labeller's.
    Raises InputError for other shapes, for what is not finite, and for means that no rows have.
    """

    kept: float
    linear: Array  # (2,)
    second: Array  # (2, 2)

    def __post_init__(self) -> None:
        require_number(kept=self.kept)
        require("kept", self.kept, 0 < self.kept < np.inf, "be positive: the rows of a round, in units of n")
        require_magnitude(kept=self.kept)
        for name, shape in (("linear", (2,)), ("second", (2, 2))):
            value = numbers(name, getattr(self, name))
            if value.shape != shape:
                raise InputError(f"{name} has shape {value.shape}: it must be {shape}")
            require(name, value, np.isfinite(value), "be finite: it is a mean over rows")
            object.__setattr__(self, name, value)
        second, linear = self.second, self.linear
        square = np.trace(second)
        spread = np.block([[np.ones((1, 1)), linear[None]], [linear[:, None], second]])  # E[v vᵀ], v = (1, y t, y ζ)
        if np.abs(second - second.T).max() > 1e-9 * square or np.linalg.eigvalsh(spread)[0] < -1e-9 * (1 + square):
            raise InputError(
                f"linear = {linear.tolist()} and second = {second.tolist()} are no rows' means of y(t, ζ) and "
                "(t, ζ)(t, ζ)ᵀ: the matrix must be symmetric, and no smaller than the square of the first"
            )

    @classmethod
    def of(cls, kept: float, t: Array, zeta: Array, y: Array) -> "MeasuredRows":
        """From a sample, (rows,) each: coordinates in units of the standard deviation off the plane, labels ±1."""
        t, zeta, y = (numbers(name, value) for name, value in (("t", t), ("zeta", zeta), ("y", y)))
        if not t.shape == zeta.shape == y.shape or y.ndim != 1 or not y.size:
            raise InputError(f"t, zeta and y have shapes {t.shape}, {zeta.shape}, {y.shape}: give (rows,) of each")
        require("y", y, np.abs(y) == 1, "be -1 or 1: it is a row's label")
        view = np.stack([t, zeta])
        return cls(kept, view @ y / len(y), view @ view.T / len(y))


RoundRows = Addition | MeasuredRows
RoundPlan = RoundRows | Callable[[float], RoundRows]  # rows to add, or how to choose them from the test error so far


@dataclass(frozen=True, eq=False)
class PracticeProblem:
    """What is practised; theory and simulator read the same object. Fields as in the module's head.

    additions: one per round, so that there are len(additions) + 1 learners; the parameters of their rules broadcast.
    spectrum: eigenvalues of Σ (d,), with truth and labeller: w0 and w_g (d,) in its eigenbasis, w0 constant and
    w_g = w0 if not given; None is Σ = I, where one cosine does for the labeller. lam: one
    ridge, or one for each stage; 0 needs more kept rows than dimensions for the square loss, and is the max-margin
    solution for others whose rows are separable. initial: size of the first pool of plain rows, or the rows themselves.
    loss: SQUARE, LOGISTIC, SQUARED_HINGE or another of dp_theory.span.losses.

    Raises InputError for parameters outside their domain, and for a labeller that is no vector of the spectrum's
    length, or is one without a spectrum.
    """

    phi: float
    lam: float | Sequence[float]
    additions: Sequence[RoundPlan] = ()
    initial: float | MeasuredRows = 1.0
    accumulate: bool = True
    flip: Flips = 0.0
    labeller: ArrayLike = 1.0
    spectrum: ArrayLike | None = None
    truth: ArrayLike | None = None
    loss: Loss = SQUARE

    def __post_init__(self) -> None:
        require_number(phi=self.phi)
        check_flips(self.flip)
        require("phi", self.phi, 0 < self.phi < np.inf, "be positive: it is d/n")
        lam = numbers("lam", self.lam)
        if not isinstance(self.additions, Sequence | np.ndarray):
            raise InputError(f"additions = {self.additions!r} must be a list, with one addition for each round")
        for place, plan in enumerate(self.additions):
            if not isinstance(plan, Addition | MeasuredRows) and not callable(plan):
                raise InputError(
                    f"additions[{place}] = {plan!r} must be an Addition, MeasuredRows or a plan such as Window"
                )
        require("lam", lam, (lam >= 0) & np.isfinite(lam), "be at least 0 and finite: it is the ridge")
        require_magnitude(phi=self.phi, lam=lam)
        if lam.shape not in ((), (self.stages,)):
            raise InputError(f"lam has {lam.size} values; it must have one, or one for each of {self.stages} stages")
        if not isinstance(self.initial, MeasuredRows):
            require_number(initial=self.initial)
            require("initial", self.initial, 0 < self.initial < np.inf, "be positive: it is the first pool over n")
            require_magnitude(initial=self.initial)
        require_loss(self.loss)
        if self.spectrum is None and self.truth is not None:
            raise InputError("truth needs spectrum: without one Σ = I and only angles matter")
        labeller = numbers("labeller", self.labeller)
        if self.spectrum is None:
            require_number(labeller=labeller)
            require("labeller", labeller, (labeller > 0) & (labeller <= 1), "lie in (0, 1]: it is cos(w_g, w0)")
        else:
            e = numbers("spectrum", self.spectrum)
            if e.ndim != 1 or not e.size:
                raise InputError(f"spectrum has shape {e.shape}: it must be a list of Σ's eigenvalues")
            require("spectrum", e, (e > 0) & np.isfinite(e), "be positive and finite: eigenvalues of Σ")
            given = {} if self.truth is None else {"truth": numbers("truth", self.truth)}
            given |= {"labeller": labeller} if labeller.ndim or labeller != 1 else {}
            for name, vector in given.items():
                if vector.shape != e.shape or not np.all(np.isfinite(vector)) or not np.any(vector):
                    raise InputError(f"{name} must be {len(e)} finite numbers, not all 0: an entry for each eigenvalue")
            if np.any(labeller != 1) and self.target @ self.modes[1] <= 0:
                raise InputError("labeller must have a positive cosine to truth, in the metric of the spectrum")
        if 0 in self.shape:
            raise InputError(f"a rule's parameters have the shape {self.shape}: without a number nothing is practised")

    @property
    def stages(self) -> int:
        """The number of learners."""
        return len(self.additions) + 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the parameters of all rules broadcast to."""
        plans = {f"additions[{i}]": np.empty(p.shape) for i, p in enumerate(self.additions) if isinstance(p, Addition)}
        return common_shape(**plans)

    def cells(self) -> Iterator["PracticeProblem"]:
        """The problems with scalar rules that this one broadcasts to, in C order."""
        for index in np.ndindex(self.shape):
            yield replace(
                self,
                additions=[
                    plan.at(index, self.shape) if isinstance(plan, Addition) else plan for plan in self.additions
                ],
            )

    @cached_property
    def ridges(self) -> Array:
        """lam of each stage (stages,)."""
        return np.broadcast_to(np.asarray(self.lam, dtype=float), self.stages)

    @cached_property
    def initial_rows(self) -> RoundRows:
        """The rows of stage 0."""
        return self.initial if isinstance(self.initial, MeasuredRows) else Addition(candidates=self.initial)

    @cached_property
    def modes(self) -> tuple[Array, Array]:
        """Eigenvalues of Σ (d,) and the entries (d,) of the unit vector along Σ^½w_g in its eigenbasis; d = 1 for I."""
        e = np.ones(1) if self.spectrum is None else np.asarray(self.spectrum, dtype=float)
        return e, self.target if np.ndim(self.labeller) == 0 and self.spectrum is not None else _unit(e, self.labeller)

    @cached_property
    def target(self) -> Array:
        """Entries (d,) of the unit vector along Σ^½w0 in Σ's eigenbasis; its cosine to w_g (1,) for Σ = I."""
        if self.spectrum is None:
            return np.atleast_1d(np.asarray(self.labeller, float))
        e = np.asarray(self.spectrum, float)
        return _unit(e, 1.0 if self.truth is None else self.truth)


def _unit(eigenvalues: Array, vector: ArrayLike) -> Array:
    """Unit vector (d,) along Σ^½ times the vector, a number for a constant one."""
    v = np.sqrt(eigenvalues) * np.asarray(vector, float)
    return v / np.linalg.norm(v)


@dataclass(frozen=True)
class PracticePrediction(Prediction):
    """The loop's limit; fields of shape (*S, stages), S the problem's own shape, unless another is given.

    keep_fraction: rows kept over rows looked at, all rounds so far.
    problem: what was asked. additions (*S, rounds): its plans, resolved. kept and candidates: rows so far, in units of
    n. alignment a_s = θ_s·Σ^½w_g (normalised), covariance C and response X (*S, stages, stages): the order parameters
    of dp_theory.practice.dmft.
    """

    problem: PracticeProblem
    additions: np.ndarray
    kept: Array
    candidates: Array
    alignment: Array
    covariance: Array
    response: Array


@dataclass(frozen=True)
class PracticeSimulation(Simulation):
    """Independent runs of the loop in dimension d; means and standard errors of shape (*S, stages), and by trial:

    test_errors and kept (rows so far in units of n): (*S, trials, stages). row_errors: (*S, trials, rounds, stages),
    the share of the misclassified rows of a round that each stage gets wrong (see dp_theory.practice.hindsight), nan
    if the round brought none.
    """

    test_errors: Array
    row_errors: Array
    kept: Array
