"""What is asked of learners on selected rows, what they answer, and the one form in which the theory takes it.

Learners come one after the other, on rows that fixed directions (`SpanProblem`) or learners before them
(`PracticeProblem`) chose (ours). A stage is ŵ_s = argmin (1/n) Σ c_i ℓ(w·x_i; y_i) + (lam_s/2)‖w‖² over its rows, of
weight c_i. n is one normaliser, phi = d/n. Rows are x = Σ^½z in the eigenbasis of Σ, and θ = Σ^½ŵ; where Σ = I, vectors
may be as short as the angles between them need. A rule sees t = x·w/‖Σ^½w‖ and the *observed* label: sign(x·w_g),
flipped with probability `flip`. w0 is the truth, w_g the labeller. The test error is angle(θ, Σ^½w0)/π.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import orth

from dp_base.errors import InputError
from dp_theory.loop.experiment import simulated
from dp_theory.loop.groups import Addition, Flips, Group, PlacedRows, RoundPlan, Rows, check_flips
from dp_theory.loop.losses import SQUARE, Loss, Square, require_loss
from dp_theory.loop.square import Solution, certified
from dp_theory.numerics.checks import (
    Array,
    Float,
    numbers,
    require,
    require_in,
    require_kind,
    require_number,
    require_positive,
    require_positive_number,
    require_ridge,
    set_numbers,
)
from dp_theory.outcomes import Prediction, Simulation
from dp_theory.ridge.problem import AnyProblem, Experiments

# Distance of a unit vector's length from 1.
_ROUNDED = 1e-14


@dataclass(frozen=True, eq=False)
class ScalarProblem:
    """A problem of numbers alone.

    `basis` is U of dp_theory.loop.square, in a loop the labeller alone; `truth` is the unit vector along Σ^½w0, or its
    part in U.
    """

    phi: float
    ridges: Float[Array, " stages"]
    loss: Loss
    eigenvalues: Float[Array, " modes"]
    basis: Float[Array, "modes k"]
    truth: Float[Array, " modes"]
    initial: tuple[PlacedRows, ...]
    additions: Sequence[RoundPlan] = ()
    accumulate: bool = True
    flip: Flips = 0.0

    @property
    def stages(self) -> int:
        return len(self.ridges)

    @property
    def rounds(self) -> int:
        return len(self.additions)

    def where(self, stage: int) -> str:
        return f"phi = {self.phi:g}, lam = {self.ridges[stage]:g}, stage {stage}"

    def certified(self, tolerance: float | None) -> tuple[Solution, Float[Array, " stages"]]:
        """The solution by the theory of the loss, and its certificate."""
        if isinstance(self.loss, Square):
            return certified(self, tolerance)
        from dp_theory.loop.losses.prediction import certified as certified_otherwise

        return certified_otherwise(self, tolerance)

    @cached_property
    def truth_in_span(self) -> tuple[Float[Array, " k"], float, Float[Array, " modes"]]:
        inside = self.truth @ self.basis
        norm = float(np.linalg.norm(inside))
        if abs(norm - 1) < _ROUNDED:
            return inside / norm, 1.0, np.zeros(len(self.truth))
        return inside / norm, norm, self.truth - self.basis @ inside


@dataclass(frozen=True, eq=False)
class SpanProblem(AnyProblem):
    """Regression on a mixture of groups of rows.

    Parameters
    ----------
    truth
        Direction w0 (d,) that decides the true label.
    groups
        At least one.
    phi
        Aspect ratio d/n, positive.
    lam
        Ridge, at least 0. 0 is the limit λ → 0+.
    spectrum
        Eigenvalues of Σ (d,), one for each entry of the vectors. None is Σ = I.
    loss
        SQUARE, LOGISTIC or another of dp_theory.loop.losses.

    Raises
    ------
    InputError
        For directions that are zero or do not fit the spectrum, and for parameters outside their domain.

    Examples
    --------
    >>> from dp_theory import Group, KeepHard, SpanProblem, predict
    >>> hard = Group(along=(0.6, 0.8), keep=KeepHard(0.8), flip=0.1)
    >>> prediction = predict(SpanProblem((1.0, 0.0), [hard], phi=0.3, lam=0.02))
    >>> round(float(prediction.test_error), 4)
    0.2619
    """

    truth: ArrayLike
    groups: Sequence[Group]
    phi: float
    lam: float = 0.0
    spectrum: ArrayLike | None = None
    loss: Loss = SQUARE

    def __post_init__(self) -> None:
        set_numbers(self, "phi", "lam")
        require_positive("it is d/n", phi=self.phi)
        require_ridge(lam=self.lam)
        require_loss(self.loss)
        require_kind("groups", self.groups, Sequence, "a list of Groups")
        if not self.groups:
            raise InputError("groups is empty: give at least one group of rows")
        if self.spectrum is not None:
            _require_spectrum(self.spectrum)
        size = self.eigenvalues.size
        _require_direction("truth", self.truth, size)
        for place, group in enumerate(self.groups):
            require_kind(f"groups[{place}]", group, Group, "a Group")
            if group.labeller is not None:
                _require_direction("labeller", group.labeller, size)
            if group.has_direction:
                _require_direction("along", group.along, size)

    @property
    def cell(self) -> ScalarProblem:
        directions = [
            (self.whitened(self.truth if group.labeller is None else group.labeller), self.whitened(group.along))
            for group in self.groups
        ]
        truth = self.whitened(self.truth)[0]
        basis = np.asarray(orth(np.concatenate([truth[None], *(rows for pair in directions for rows in pair)]).T))
        placed = []
        for group, (labeller, along) in zip(self.groups, directions, strict=True):
            placed.append(PlacedRows.of(group, group.flip, labeller[0] @ basis, (*along, *labeller)[0] @ basis))
        eigenvalues = self.eigenvalues
        if self.spectrum is None:  # the modes off the directions are all alike
            truth, basis, eigenvalues = truth @ basis, np.eye(basis.shape[1]), np.ones(basis.shape[1])
        return ScalarProblem(self.phi, np.array([self.lam]), self.loss, eigenvalues, basis, truth, tuple(placed))

    @cached_property
    def eigenvalues(self) -> Float[Array, " d"]:
        return np.ones(numbers("truth", self.truth).size) if self.spectrum is None else np.asarray(self.spectrum, float)

    def whitened(self, vectors: ArrayLike) -> Float[Array, "r d"]:
        """Unit vectors along Σ^½ w, one row for each w of `vectors`, which is (d,) or (r, d)."""
        return _unit(self.eigenvalues, np.reshape(vectors, (-1, self.eigenvalues.size)))

    def solve(self, tolerance: float | None) -> Prediction:
        solved, certificate = self.cell.certified(tolerance)
        return Prediction(*(each[0] for each in (*solved.outputs, solved.sizes()[0], certificate)))

    def draw(self, experiments: Experiments) -> Simulation:
        return simulated(self, 0, experiments, self.eigenvalues.size)


@dataclass(frozen=True)
class PracticePrediction(Prediction):
    """The limit of the loop as n, d → ∞: fields have an entry for every stage.

    Attributes
    ----------
    keep_fraction
        Rows kept over rows looked at, in all rounds so far.
    certificate
        For the square loss an estimate, as for a `SpanProblem`. For other losses the last change, by four times as many
        points, which is no bound: on 48 random loops the error over all stages was within it on 45, and up to four
        times as large on the others. It never falls from stage to stage.
    additions
        The rows of each round, with plans resolved.
    kept, candidates
        Rows kept and looked at so far, in units of n.
    """

    problem: "PracticeProblem"
    additions: Sequence[Rows]
    kept: Float[Array, " stages"]
    candidates: Float[Array, " stages"]


@dataclass(frozen=True, eq=False)
class PracticeProblem(AnyProblem):
    """A practice loop: stage 0 trains on plain rows, and each learner selects the rows of the next round.

    Parameters
    ----------
    phi
        Aspect ratio d/n, positive.
    lam
        Ridge, at least 0, one number or one for each stage. 0 is the limit, where the square loss needs more kept rows
        than dimensions.
    additions
        What each round adds, in turn.
    initial
        Size of the first pool of plain rows in units of n, or the rows themselves.
    accumulate
        Whether a stage trains on all rows so far, or on the newest ones alone.
    flip
        A probability, or `BoundaryFlips`.
    labeller
        cos(w_g, w0) in (0, 1] where Σ = I. With a spectrum it is w_g (d,) in Σ's eigenbasis, or 1 for the truth.
    spectrum
        Eigenvalues of Σ (d,). None is Σ = I.
    truth
        w0 (d,) in Σ's eigenbasis, where there is a spectrum. By default all entries are equal.
    loss
        SQUARE, LOGISTIC or another of dp_theory.loop.losses.

    Raises
    ------
    InputError
        For parameters outside their domain, and for a labeller or a truth that does not fit the spectrum.

    Examples
    --------
    >>> from dp_theory import Addition, KeepHard, PracticeProblem, predict
    >>> loop = PracticeProblem(phi=0.5, lam=0.01, additions=[Addition(2, keep=KeepHard(0.3))] * 3)
    >>> predict(loop).test_error.round(4).tolist()
    [0.2031, 0.1395, 0.1012, 0.0775]
    """

    phi: float
    lam: float | Sequence[float]
    additions: Sequence[RoundPlan] = ()
    initial: float | Rows = 1.0
    accumulate: bool = True
    flip: Flips = 0.0
    labeller: ArrayLike = 1.0
    spectrum: ArrayLike | None = None
    truth: ArrayLike | None = None
    loss: Loss = SQUARE

    def __post_init__(self) -> None:
        set_numbers(self, "phi")
        require_positive("it is d/n", phi=self.phi)
        check_flips(self.flip)
        require_kind("accumulate", self.accumulate, bool | np.bool_, "True or False")
        require_loss(self.loss)
        require_kind("additions", self.additions, Sequence | np.ndarray, "a list, with one addition for each round")
        for place, plan in enumerate(self.additions):
            require_kind(f"additions[{place}]", plan, Rows | Callable, "an Addition or a plan such as Window")
        require_ridge(lam=self.lam)
        if np.shape(self.lam) not in ((), (self.stages,)):
            count = np.size(self.lam)
            raise InputError(f"lam has {count} values; it must have one, or one for each of {self.stages} stages")
        if not isinstance(self.initial, Rows):
            require_positive_number("it is the first pool over n", initial=self.initial)
            object.__setattr__(self, "initial", Addition(self.initial))
        self._require_directions()

    def _require_directions(self) -> None:
        labeller = numbers("labeller", self.labeller)
        if self.spectrum is None:
            if self.truth is not None:
                raise InputError("truth needs spectrum: without one Σ = I and only angles matter")
            require_number(labeller=labeller)
            require_in("(0, 1]", "it is cos(w_g, w0)", labeller=labeller)
            return
        size = _require_spectrum(self.spectrum)
        if self.truth is not None:
            _require_direction("truth", self.truth, size)
        if labeller.ndim or labeller != 1:
            _require_direction("labeller", labeller, size)
            _, along_labeller, along_truth = self.modes
            if along_labeller @ along_truth <= 0:
                raise InputError("labeller must have a positive cosine to truth, in the metric of the spectrum")

    @property
    def stages(self) -> int:
        return len(self.additions) + 1

    @property
    def cell(self) -> ScalarProblem:
        one, first = np.ones(1), self.initial
        assert isinstance(first, Rows), "made when this was"
        pool = PlacedRows.of(first, self.flip, one, one)
        ridges = np.broadcast_to(np.asarray(self.lam, float), self.stages)
        eigenvalues, labeller, truth = self.modes
        modes = eigenvalues, labeller[:, None], truth
        loop = self.additions, self.accumulate, self.flip
        return ScalarProblem(self.phi, ridges, self.loss, *modes, (pool,), *loop)

    @cached_property
    def modes(self) -> tuple[Array, Array, Array]:
        """Eigenvalues, and the unit vectors along Σ^½w_g and Σ^½w0. Where Σ = I, a mode along w_g stands for all."""
        if self.spectrum is None:
            return np.ones(1), np.ones(1), np.atleast_1d(np.asarray(self.labeller, float))
        eigenvalues = np.asarray(self.spectrum, float)
        truth = _unit(eigenvalues, 1.0 if self.truth is None else self.truth)
        return eigenvalues, truth if np.ndim(self.labeller) == 0 else _unit(eigenvalues, self.labeller), truth

    def solve(self, tolerance: float | None) -> PracticePrediction:
        solved, certificate = self.cell.certified(tolerance)
        test_error, overlap, squared_norm = solved.outputs
        kept, candidates = solved.sizes()
        of_additions = self, solved.additions, kept, candidates
        return PracticePrediction(test_error, overlap, squared_norm, kept / candidates, certificate, *of_additions)

    def draw(self, experiments: Experiments) -> Simulation:
        return simulated(self, slice(None), experiments, 3)


def _require_spectrum(spectrum: ArrayLike) -> int:
    values = numbers("spectrum", spectrum)
    if values.ndim != 1 or not values.size:
        raise InputError(f"spectrum has shape {values.shape}: it must be a list of Σ's eigenvalues")
    require("spectrum", values, (values > 0) & np.isfinite(values), "be positive and finite: eigenvalues of Σ")
    return values.size


def _require_direction(name: str, direction: ArrayLike, size: int) -> None:
    vector = numbers(name, direction)
    if vector.shape != (size,) or not np.all(np.isfinite(vector)) or not np.any(vector):
        raise InputError(f"{name} must be {size} finite numbers, not all 0: it is a direction")


def _unit(eigenvalues: Array, vector: ArrayLike) -> Array:
    whitened = np.sqrt(eigenvalues) * np.asarray(vector, float)
    return whitened / np.linalg.norm(whitened, axis=-1, keepdims=True)
