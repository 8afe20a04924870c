"""What is asked of learners on selected rows, what they answer, and the one form in which the theory takes it.

Learners come one after the other, on rows that fixed directions (`SpanProblem`) or learners before them
(`PracticeProblem`) chose (ours). A stage is ŵ_s = argmin (1/n) Σ c_i ℓ(w·x_i; y_i) + (lam_s/2)‖w‖² over its rows, of
weight c_i. n is one normaliser, phi = d/n. Rows are x = Σ^½z in the eigenbasis of Σ, and θ = Σ^½ŵ; where Σ = I, vectors
may be as short as the angles between them need. A rule sees t = x·w/‖Σ^½w‖ and the *observed* label: sign(x·w_g),
flipped with probability `flip`. w0 is the truth, w_g the labeller. The test error is angle(θ, Σ^½w0)/π.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import orth

from dp_base.errors import InputError
from dp_theory.loop.flips import Flips, check_flips
from dp_theory.loop.groups import Addition, Group, MeasuredRows, RoundPlan
from dp_theory.loop.losses import SQUARE, Loss, require_loss
from dp_theory.loop.placed import PlacedRows
from dp_theory.numerics.checks import (
    Array,
    Real,
    common_shape,
    numbers,
    require,
    require_number,
    require_positive,
    require_ridge,
)
from dp_theory.outcomes import Prediction, Simulation
from dp_theory.ridge.problem import AnyProblem, Problem

if TYPE_CHECKING:
    from jaxtyping import Float

    from dp_theory.loop.prediction import PracticePrediction, PracticeSimulation

_ROUNDED = 1e-14  # distance of a unit vector's length from 1


@dataclass(frozen=True, eq=False)
class Cell:
    """A problem of numbers alone.

    `basis` is U of dp_theory.loop.equations, and `truth` the unit vector along Σ^½w0, or its part in U.
    """

    phi: float
    ridges: Float[Array, " stages"]
    loss: Loss
    eigenvalues: Float[Array, " modes"]
    basis: Float[Array, "modes k"]
    truth: Float[Array, " modes"]
    labeller: Float[Array, " k"]
    initial: tuple[PlacedRows, ...]
    additions: Sequence[RoundPlan] = ()
    accumulate: bool = True
    flip: Flips = 0.0

    @property
    def stages(self) -> int:
        return len(self.ridges)

    def last_stage(self, first: int) -> int:
        """The last stage, exclusive, that trains on rows which stage `first` is the first to have."""
        return self.stages if self.accumulate else first + 1

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
        The groups of rows, at least one.
    phi
        Aspect ratio d/n, positive. It broadcasts with lam and the rules' parameters.
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
    phi: Real
    lam: Real = 0.0
    spectrum: ArrayLike | None = None
    loss: Loss = SQUARE

    def __post_init__(self) -> None:
        require_positive("it is d/n", phi=self.phi)
        require_ridge(self.lam)
        numbers("truth", self.truth)
        spectrum = numbers("spectrum", self.eigenvalues)
        if not isinstance(self.groups, Sequence) or not all(isinstance(group, Group) for group in self.groups):
            raise InputError(f"groups = {self.groups!r} must be a list of Groups")
        require("spectrum", spectrum, (spectrum > 0) & np.isfinite(spectrum), "be positive and finite: Σ's eigenvalues")
        require_loss(self.loss)
        if not self.groups:
            raise InputError("groups is empty: give at least one group of rows")
        for name, vector in self._named_vectors():
            if np.shape(vector) != spectrum.shape:
                raise InputError(f"{name} has shape {np.shape(vector)}, truth and spectrum have {spectrum.shape}")
            if not (np.all(np.isfinite(vector)) and np.any(vector)):
                raise InputError(f"{name} = {vector} must be finite and not zero: it is a direction")
        self.shape  # noqa: B018 (raises where shapes do not broadcast)

    def _named_vectors(self) -> Iterator[tuple[str, ArrayLike]]:
        yield "truth", self.truth
        for group in self.groups:
            if group.labeller is not None:
                yield "labeller", group.labeller
        for group in self.groups:
            for row in np.atleast_2d(group.along):
                if np.size(row):
                    yield "along", row

    @classmethod
    def of(cls, problem: Problem) -> SpanProblem:
        """Theorem 1's problem. Its rho must be a number, because it places a direction."""
        rho = float(problem.rho)
        group = Group(along=(rho, np.sqrt((1 - rho) * (1 + rho))), keep=problem.rule)
        return cls((1.0, 0.0), (group,), problem.phi, problem.lam)

    @property
    def shape(self) -> tuple[int, ...]:
        rules = {f"groups[{i}]": np.empty(group.shape) for i, group in enumerate(self.groups)}
        return common_shape(phi=self.phi, lam=self.lam, **rules)

    def cells(self) -> Iterator[Cell]:
        phi = np.broadcast_to(np.asarray(self.phi, float), self.shape)
        lam = np.broadcast_to(np.asarray(self.lam, float), self.shape)
        groups: list[Any] = [np.broadcast_to(self._placed(group), self.shape) for group in self.groups]
        truth = self.whitened(self.truth)[0]
        identity = np.eye(self._basis.shape[1])
        flat = self.spectrum is None
        eigenvalues = np.ones(len(identity)) if flat else self.eigenvalues
        basis = identity if flat else self._basis
        truth = truth @ self._basis if flat else truth
        for index in np.ndindex(self.shape):
            placed = tuple(group[index] for group in groups)
            yield Cell(
                float(phi[index]),
                lam[index].reshape(1),
                self.loss,
                eigenvalues,
                basis,
                truth,
                placed[0].labeller,
                placed,
            )

    def _placed(self, group: Group) -> np.ndarray:
        labeller, along = self.directions(group)
        labeller = labeller @ self._basis
        seen = along @ self._basis if len(along) else labeller[None]
        found = np.empty(group.shape, object)
        for index in np.ndindex(group.shape):
            found[index] = PlacedRows(group.at(index, group.shape), group.flip, labeller, seen)
        return found

    @cached_property
    def eigenvalues(self) -> Float[Array, " d"]:
        return np.ones(np.size(self.truth)) if self.spectrum is None else np.asarray(self.spectrum, float)

    def whitened(self, vectors: ArrayLike) -> Float[Array, "r d"]:
        """Unit vectors along Σ^½ w, one row for each w of `vectors`, which is (d,) or (r, d)."""
        rows = np.sqrt(self.eigenvalues) * np.reshape(np.asarray(vectors, float), (-1, self.eigenvalues.size))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def directions(self, group: Group) -> tuple[Float[Array, " d"], Float[Array, "r d"]]:
        labeller = self.truth if group.labeller is None else group.labeller
        return self.whitened(labeller)[0], self.whitened(group.along)

    @cached_property
    def _basis(self) -> Float[Array, "d k"]:
        rows = [self.whitened(self.truth)]
        for group in self.groups:
            labeller, along = self.directions(group)
            rows += [labeller[None], along]
        return np.asarray(orth(np.concatenate(rows).T))

    def solve(self, tolerance: float | None) -> Prediction:
        from dp_theory.loop.prediction import predict_span

        return predict_span(self, tolerance=tolerance)

    def draw(self, d: int | None, trials: int, *, engine: str, seed: int, workers: int | None) -> Simulation:
        from dp_theory.loop.experiment import simulate_span

        return simulate_span(self, d, trials, seed=seed, workers=workers)


@dataclass(frozen=True, eq=False)
class PracticeProblem(AnyProblem):
    """A practice loop: stage 0 trains on plain rows, and each learner selects the rows of the next round.

    Parameters
    ----------
    phi
        Aspect ratio d/n.
    lam
        Ridge, one number or one for each stage. 0 is the limit, where the square loss needs more kept rows than
        dimensions.
    additions
        What each round adds, in turn. The parameters of the rules broadcast.
    initial
        Size of the first pool of plain rows in units of n, or the rows themselves.
    accumulate
        Whether a stage trains on all rows so far, or on the newest ones alone.
    flip
        How labels are flipped: a probability, or `BoundaryFlips`.
    labeller
        cos(w_g, w0) in (0, 1] where Σ = I. With a spectrum it is w_g (d,) in Σ's eigenbasis, or 1 for the truth.
    spectrum
        Eigenvalues of Σ (d,). None is Σ = I.
    truth
        w0 (d,) in Σ's eigenbasis, for a problem with a spectrum. By default all its entries are equal.
    loss
        SQUARE, LOGISTIC, SQUARED_HINGE, HINGE or another loss of dp_theory.loop.losses.

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
        require_positive("it is d/n", phi=self.phi)
        self._check_additions()
        self._check_ridges()
        if not isinstance(self.initial, MeasuredRows):
            require_number(initial=self.initial)
            require_positive("it is the first pool over n", initial=self.initial)
        require_loss(self.loss)
        if self.spectrum is None:
            self._check_cosine()
        else:
            self._check_vectors()
        if 0 in self.shape:
            raise InputError(f"a rule's parameters have the shape {self.shape}: without a number nothing is practised")

    def _check_additions(self) -> None:
        if not isinstance(self.additions, Sequence | np.ndarray):
            raise InputError(f"additions = {self.additions!r} must be a list, with one addition for each round")
        for place, plan in enumerate(self.additions):
            if not isinstance(plan, Addition | MeasuredRows) and not callable(plan):
                raise InputError(
                    f"additions[{place}] = {plan!r} must be an Addition, MeasuredRows or a plan such as Window"
                )

    def _check_ridges(self) -> None:
        lam = numbers("lam", self.lam)
        require_ridge(lam)
        if lam.shape not in ((), (self.stages,)):
            raise InputError(f"lam has {lam.size} values; it must have one, or one for each of {self.stages} stages")

    def _check_cosine(self) -> None:
        if self.truth is not None:
            raise InputError("truth needs spectrum: without one Σ = I and only angles matter")
        labeller = numbers("labeller", self.labeller)
        require_number(labeller=labeller)
        require("labeller", labeller, (labeller > 0) & (labeller <= 1), "lie in (0, 1]: it is cos(w_g, w0)")

    def _check_vectors(self) -> None:
        labeller = numbers("labeller", self.labeller)
        spectrum = numbers("spectrum", self.spectrum)
        if spectrum.ndim != 1 or not spectrum.size:
            raise InputError(f"spectrum has shape {spectrum.shape}: it must be a list of Σ's eigenvalues")
        require(
            "spectrum", spectrum, (spectrum > 0) & np.isfinite(spectrum), "be positive and finite: eigenvalues of Σ"
        )
        if self.truth is not None:
            _require_direction("truth", numbers("truth", self.truth), len(spectrum))
        if labeller.ndim or labeller != 1:
            _require_direction("labeller", labeller, len(spectrum))
            if self.truth_direction @ self.labeller_direction <= 0:
                raise InputError("labeller must have a positive cosine to truth, in the metric of the spectrum")

    @property
    def stages(self) -> int:
        return len(self.additions) + 1

    @property
    def shape(self) -> tuple[int, ...]:
        return common_shape(
            **{
                f"additions[{place}]": np.empty(plan.shape)
                for place, plan in enumerate(self.additions)
                if isinstance(plan, Addition)
            }
        )

    def cells(self) -> Iterator[Cell]:
        shape = self.shape
        for index in np.ndindex(shape):
            yield replace(
                self._cell,
                additions=[plan.at(index, shape) if isinstance(plan, Addition) else plan for plan in self.additions],
            )

    @cached_property
    def _cell(self) -> Cell:
        one = np.ones(1)
        first = self.initial if isinstance(self.initial, MeasuredRows) else Group(self.initial)
        return Cell(
            phi=self.phi,
            ridges=np.broadcast_to(np.asarray(self.lam, dtype=float), self.stages),
            loss=self.loss,
            eigenvalues=self.eigenvalues,
            basis=self.labeller_direction[:, None],
            truth=self.truth_direction,
            labeller=one,
            initial=(PlacedRows(first, self.flip, one, one[None]),),
            accumulate=self.accumulate,
            flip=self.flip,
        )

    @cached_property
    def eigenvalues(self) -> Float[Array, " modes"]:
        """A single mode stands for all where Σ = I."""
        return np.ones(1) if self.spectrum is None else np.asarray(self.spectrum, dtype=float)

    @cached_property
    def labeller_direction(self) -> Float[Array, " modes"]:
        if self.spectrum is not None and np.ndim(self.labeller) == 0:
            return self.truth_direction
        return _unit(self.eigenvalues, self.labeller)

    @cached_property
    def truth_direction(self) -> Float[Array, " modes"]:
        """The unit vector along Σ^½w0. Where Σ = I, its component along w_g alone."""
        if self.spectrum is None:
            return np.atleast_1d(np.asarray(self.labeller, float))
        return _unit(self.eigenvalues, 1.0 if self.truth is None else self.truth)

    def solve(self, tolerance: float | None) -> PracticePrediction:
        from dp_theory.loop.prediction import predict_practice

        return predict_practice(self, tolerance=tolerance)

    def draw(self, d: int | None, trials: int, *, engine: str, seed: int, workers: int | None) -> PracticeSimulation:
        from dp_theory.loop.experiment import simulate_practice

        return simulate_practice(self, d, trials, seed=seed, workers=workers)


def _require_direction(name: str, vector: Array, size: int) -> None:
    if vector.shape != (size,) or not np.all(np.isfinite(vector)) or not np.any(vector):
        raise InputError(f"{name} must be {size} finite numbers, not all 0: an entry for each eigenvalue")


def _unit(eigenvalues: Array, vector: ArrayLike) -> Array:
    whitened = np.sqrt(eigenvalues) * np.asarray(vector, float)
    return whitened / np.linalg.norm(whitened)
