"""The practice loop with the square loss: one more stage by linear algebra, without iteration.

Equations are those of docs/theory/practice.md, and of dp_theory.practice.dmft. The unknowns of a new stage s are X_ss;
a_s and the rows C_s· and X_s· left of the diagonal; and C_ss. They are found in this order:

1. X_ss solves a scalar equation of its own, since (T3.11) on the diagonal holds no other unknown of this stage.
2. Given X_ss, the force on the stage is β(y - η_s - Σ_j X_sj f_j) with β = c/(1 + c X_ss), where the f_j on the stages
   before are known. So its means (dp_theory.practice.square_forces) are affine in a_s, C_s· and X_s·, and so are
   (T3.9), (T3.10) and (T3.11) for these. One linear solve is exact.
3. C_ss enters nothing else, and its own equation in (T3.10) is affine.

Nothing acts on the stages before, so that what their rows' forces amount to is kept from stage to stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import root_scalar

from dp_base.errors import InputError
from dp_theory.practice.cohorts import Cohort
from dp_theory.practice.dmft import Forces, OrderParameters, mode_matrices, residuals
from dp_theory.practice.practice_problem import PracticeProblem
from dp_theory.practice.square_forces import AffineForces, CohortForces, NewestForces

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class SquareLoop:
    """A loop with the square loss after some of its stages. It never changes: `next_stage` gives the one after.

    Attributes
    ----------
    problem
        The loop.
    cohorts
        The rows of all rounds so far, with their forces on the stages so far.
    parameters, forces
        The order parameters, and the means of the forces there.
    """

    problem: PracticeProblem
    cohorts: tuple[CohortForces, ...]
    parameters: OrderParameters
    forces: Forces

    @classmethod
    def of(cls, problem: PracticeProblem) -> SquareLoop:
        """The loop before its first stage."""
        return cls(problem, (), OrderParameters.of_no_stage(), Forces.of_no_stage())

    def next_stage(self, cohort: Cohort) -> tuple[SquareLoop, float]:
        """The loop after one more stage, which trains on one more cohort.

        Comes with the relative residual: by how much the equations are missed, relative to the order parameters.
        Raises InputError where lam = 0 and the stage has no more rows than dimensions.
        """
        stage = self.parameters.stages
        here = [known.cohort for known in self.cohorts if known.cohort.trains(stage)] + [cohort]
        _require_rows(self.problem, here, stage)
        response = own_response(self.problem, here, self.problem.ridges[stage])
        unknowns = _Unknowns(self.parameters, response)
        cohorts = (*self.cohorts, CohortForces.of(cohort, self.parameters))
        equations = _StageEquations.of(self, cohorts, response)

        at_zero = equations.affine[:, 0] / unknowns.units
        jacobian = equations.affine[:, 1:] * unknowns.units / unknowns.units[:, None]
        solution = -np.linalg.solve(jacobian, at_zero)
        solution = solution - np.linalg.solve(jacobian, jacobian @ solution + at_zero)  # removes the first's rounding

        without = unknowns.parameters(solution, 0.0)
        _, forces = self._with_newest(cohorts, without)
        variance = float(residuals(self.problem, forces, without).c[stage, stage] / equations.variance_slope)
        solved = self.extended(cohort, unknowns.parameters(solution, variance))
        off = residuals(self.problem, solved.forces, solved.parameters)
        missed = np.concatenate([[off.a[stage]], off.c[stage, :stage], off.x[stage, :stage]]) / unknowns.units
        residual = max(np.abs(missed).max() / max(np.abs(solution).max(), 1.0), abs(off.c[stage, stage] / variance))
        return solved, float(residual)

    def extended(self, cohort: Cohort, parameters: OrderParameters) -> SquareLoop:
        """The loop with one more stage and cohort, at order parameters that include those of this stage."""
        cohorts = (*self.cohorts, CohortForces.of(cohort, self.parameters))
        newest, total = self._with_newest(cohorts, parameters)
        joined = [
            rows if on_rows is None else on_rows.joined(rows) for rows, on_rows in zip(cohorts, newest, strict=True)
        ]
        return SquareLoop(self.problem, tuple(joined), parameters, total)

    def _with_newest(
        self, cohorts: Sequence[CohortForces], parameters: OrderParameters
    ) -> tuple[list[NewestForces | None], Forces]:
        """The forces of each cohort on the stage after those of the loop, if it trains on it, and the means of all."""
        stage = self.parameters.stages
        total = Forces(*(np.pad(before, (0, 1)) for before in self.forces))
        newest: list[NewestForces | None] = []
        for rows in cohorts:
            if rows.cohort.trains(stage):
                on_rows = NewestForces.of(rows, parameters)
                on_rows.add_to(total, rows, parameters)
                newest.append(on_rows)
            else:
                newest.append(None)
        total.ff[:, stage] = total.ff[stage]
        return newest, total


def own_response(problem: PracticeProblem, cohorts: Sequence[Cohort], lam: float) -> float:
    """X_ss: the root X of (T3.11), X = (1/n)Σ e/(lam + eΓ) with Γ = E[c/(1 + cX)] over the rows of stage s.

    `cohorts` are those that train the stage, and lam is its ridge. The root is found in ln X, to rounding.
    """
    e = problem.eigenvalues
    weight = np.concatenate([cohort.weight for cohort in cohorts])
    mass = np.concatenate([cohort.mass for cohort in cohorts])

    def right_side(response: float) -> float:
        gamma = float(mass @ (weight / (1 + weight * response)))
        return problem.phi * float((e / (lam + e * gamma)).sum()) / len(e)

    def excess(log_response: float) -> float:
        return float(np.log(right_side(np.exp(log_response))) - log_response)

    low = high = right_side(0.0)
    while right_side(high) > high:
        low = high
        high = 4 * high
    return float(np.exp(root_scalar(excess, bracket=(np.log(low), np.log(high)), xtol=1e-15).root))


def _require_rows(problem: PracticeProblem, cohorts: Sequence[Cohort], stage: int) -> None:
    """Raise InputError where the stage has no ridge and no more rows, those of the cohorts, than dimensions."""
    rows = sum(cohort.mass.sum() for cohort in cohorts)
    if problem.ridges[stage] == 0 and rows <= problem.phi:
        raise InputError(
            f"lam = 0 needs more rows than dimensions: stage {stage} has {rows:.3g}·n, not above d = phi·n ="
            f" {problem.phi:g}·n. Give lam > 0"
        )


class _Unknowns:
    """The unknowns of a new stage s: the vector (2s + 1,) of a_s, C_s0 … C_s,s-1 and X_s0 … X_s,s-1.

    Attributes
    ----------
    units
        Their likely sizes, in which the vector counts.
    """

    def __init__(self, before: OrderParameters, own_response: float) -> None:
        self._known = before.with_zeros()
        self._known.x[-1, -1] = own_response
        s = before.stages
        deviations = np.sqrt(np.diag(before.c))
        covariances = deviations * np.sqrt(before.c[s - 1, s - 1] if s else 1.0)
        self.units = np.concatenate([[1.0], covariances, np.full(s, own_response)])

    def parameters(self, unknown: Float[np.ndarray, " unknowns"], variance: float) -> OrderParameters:
        """All order parameters, where the unknowns have these values and C_ss is the variance."""
        a, c, x = (known.copy() for known in self._known)
        s = len(a) - 1
        values = unknown * self.units
        a[s] = values[0]
        c[s, :s] = c[:s, s] = values[1 : s + 1]
        c[s, s] = variance
        x[s, :s] = values[s + 1 :]
        return OrderParameters(a, c, x)


class _StageEquations(NamedTuple):
    """(T3.9), (T3.10) and (T3.11) for a new stage: right sides less left sides.

    Attributes
    ----------
    affine
        For each unknown its equation, as a constant and the factors of all unknowns.
    variance_slope
        By how much less than C_ss the right side of its own equation grows.
    """

    affine: Float[np.ndarray, "unknowns terms"]
    variance_slope: float

    @classmethod
    def of(cls, loop: SquareLoop, cohorts: Sequence[CohortForces], response: float) -> _StageEquations:
        """The equations of the stage after those of a loop, whose rows are `cohorts`."""
        problem = loop.problem
        s = loop.parameters.stages
        newest = AffineForces.of(cohorts, s, response)
        fg = newest.fg
        gamma = newest.gamma
        e = problem.eigenvalues
        v = problem.labeller_direction
        m = mode_matrices(problem, loop.forces.gamma)  # M_e of the stages before
        own = e / (problem.ridges[s] + e * newest.own_gamma)  # M_ss; the rest of the row is -M_ss Γ_s· M_e
        a_place = np.eye(1, 2 * s + 2, 1)[0]

        pull = loop.forces.fg - problem.ridges[:s] / e[:, None] * loop.parameters.a
        pulled = np.einsum("esj,ej->es", m, pull)
        a_row = (v**2 * own).sum() * fg - (v**2 * own / e).sum() * problem.ridges[s] * a_place
        a_row = a_row - (v**2 * own) @ pulled @ gamma

        # The mean of the new learner's entry at each eigenvalue, M_e b of (T3.7), and its deviation from the alignment
        means = np.einsum("esj,j->es", m, loop.forces.fg + loop.forces.gamma @ loop.parameters.a)
        deviation = v[:, None] * (means - v**2 @ means)
        new_mean = own[:, None] * (fg + newest.own_gamma * a_place + loop.parameters.a @ gamma - means @ gamma)
        new_deviation = v[:, None] * (new_mean - v**2 @ new_mean)
        of_forces = (own[:, None, None] * m).mean(axis=0)
        of_fluctuations = (own[:, None, None] * (m @ loop.forces.ff @ m.mT)).mean(axis=0)
        c_rows = deviation.T @ new_deviation + problem.phi * (of_forces @ newest.ff - of_fluctuations @ gamma)
        x_rows = -problem.phi * of_forces.T @ gamma

        affine = np.vstack([a_row, c_rows, x_rows])
        affine[1:, 2:] -= np.eye(2 * s)
        return cls(affine, 1 - problem.phi * float((own**2).mean()) * newest.own_square)
