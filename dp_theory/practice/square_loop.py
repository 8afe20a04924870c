"""The practice loop with the square loss: one more stage by linear algebra, without iteration.

Equations are those of docs/theory/practice.md, and of dp_theory.practice.dmft. The unknowns of a new stage s are X_ss;
a_s and the rows C_s· and X_s· left of the diagonal; and C_ss. They are found in this order:

1. X_ss solves a scalar equation of its own, since (T3.11) on the diagonal holds no other unknown of this stage.
2. Given X_ss, the force f_s is affine in a_s, C_s· and X_s·, and so are the equations (T3.9), (T3.10) and (T3.11) for
   them. The equations are evaluated at 0 and at each unit vector, and one linear solve is exact.
3. C_ss enters nothing else, and its own equation in (T3.10) is affine.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import root_scalar

from dp_base.errors import InputError
from dp_theory.numerics.checks import Array
from dp_theory.practice.cohorts import Cohort
from dp_theory.practice.dmft import Forces, OrderParameters, Quadratics, SolvedStage, linear_forces, residuals
from dp_theory.practice.practice_problem import PracticeProblem

MOST_TRIALS = 24  # at which the equations are evaluated at once, if they fit into MEMORY
MEMORY = 2**22  # elements of the largest array: (trials, modes or classes, stages, stages)


def next_stage(problem: PracticeProblem, cohorts: Sequence[Cohort], before: OrderParameters) -> SolvedStage:
    """The order parameters with one more stage.

    Parameters
    ----------
    problem
        The loop, with the square loss.
    cohorts
        The rows of all rounds so far, those of the new stage's own round included.
    before
        The order parameters of the stages before.

    Raises
    ------
    InputError
        Where lam = 0 and the stage has no more rows than dimensions.
    """
    stage = before.stages
    here = [cohort for cohort in cohorts if cohort.trains(stage)]
    _require_rows(problem, here, stage)
    equations = _SquareEquations(problem, cohorts, before, own_response(problem, here, problem.ridges[stage]))

    at_zero, jacobian = equations.linearised()
    unknown = -np.linalg.solve(jacobian, at_zero)
    unknown = unknown - np.linalg.solve(jacobian, equations.misses(unknown)[0])  # removes the first solve's rounding
    variance = equations.variance(unknown)

    off, variance_off, forces = equations.misses(unknown, variance)
    residual = max(np.abs(off).max() / max(np.abs(unknown).max(), 1.0), abs(variance_off / variance))
    return SolvedStage(equations.parameters(unknown, variance), forces, float(residual))


def own_response(problem: PracticeProblem, cohorts: Sequence[Cohort], lam: float) -> float:
    """X_ss: the root X of (T3.11), X = (1/n)Σ e/(lam + eΓ) with Γ = E[c/(1 + cX)] over the rows of stage s.

    `cohorts` are those that train the stage, and lam is its ridge. The root is found in ln X, to rounding.
    """
    e = problem.eigenvalues

    def right_side(response: float) -> float:
        gamma = sum(float(k.mass @ (k.weight / (1 + k.weight * response))) for k in cohorts)
        return problem.phi * float(np.mean(e / (lam + e * gamma)))

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


class _SquareEquations:
    """The equations of a new stage s as functions of its unknowns.

    The vector of unknowns (2s + 1,) holds a_s, C_s0 … C_s,s-1 and X_s0 … X_s,s-1, in units of their likely sizes.
    """

    def __init__(
        self, problem: PracticeProblem, cohorts: Sequence[Cohort], before: OrderParameters, own_response: float
    ) -> None:
        self._problem = problem
        self._cohorts = cohorts
        self._stage = before.stages
        self._losses = Quadratics.square(self._stage + 1)
        self._known = before.with_zeros()
        self._known.x[-1, -1] = own_response
        s = self._stage
        deviations = np.sqrt(np.diag(before.c))
        covariances = deviations * np.sqrt(before.c[s - 1, s - 1] if s else 1.0)
        self._units = np.concatenate([[1.0], covariances, np.full(s, own_response)])

    def parameters(self, unknown: Array, variance: Array | float) -> OrderParameters:
        """All order parameters, at unknowns (*trials, 2s + 1) and C_ss (*trials,)."""
        s = self._stage
        values = unknown * self._units
        trials = values.shape[:-1]
        a, c, x = (np.array(np.broadcast_to(known, (*trials, *known.shape))) for known in self._known)
        a[..., s] = values[..., 0]
        c[..., s, :s] = c[..., :s, s] = values[..., 1 : s + 1]
        c[..., s, s] = variance
        x[..., s, :s] = values[..., s + 1 :]
        return OrderParameters(a, c, x)

    def misses(self, unknown: Array, variance: Array | float = 0.0) -> tuple[Array, Array, Forces]:
        """By how much the equations of the unknowns are missed (*trials, 2s + 1), and that of C_ss (*trials,).

        The former are in the units of the unknowns. The forces at these order parameters come with them.
        """
        s = self._stage
        trial = self.parameters(unknown, variance)
        forces = linear_forces(self._cohorts, trial, self._losses)
        off = residuals(self._problem, forces, trial)
        of_unknowns = np.concatenate([off.a[..., s, None], off.c[..., s, :s], off.x[..., s, :s]], axis=-1)
        return of_unknowns / self._units, off.c[..., s, s], forces

    def linearised(self) -> tuple[Array, Array]:
        """`misses` at unknowns of 0 (2s + 1,), and their matrix of derivatives (2s + 1, 2s + 1)."""
        size = 2 * self._stage + 1
        trials = np.vstack([np.zeros(size), np.eye(size)])
        at_zero, *at_units = np.concatenate([self.misses(part)[0] for part in self._that_fit(trials)])
        return at_zero, np.column_stack(at_units) - at_zero[:, None]

    def _that_fit(self, trials: Array) -> list[np.ndarray]:
        """The trials in parts that fit into memory."""
        classes = [len(cohort.mass) for cohort in self._cohorts]
        elements = (self._stage + 1) ** 2 * max(len(self._problem.eigenvalues), *classes)  # of a trial's largest array
        at_once = max(1, min(MOST_TRIALS, MEMORY // elements))
        return np.array_split(trials, -(-len(trials) // at_once))

    def variance(self, unknown: Array) -> Array:
        """C_ss at solved unknowns, from its equation at C_ss = 0 and 1."""
        at_zero, at_one = self.misses(np.stack([unknown, unknown]), np.array([0.0, 1.0]))[1]
        return at_zero / (at_zero - at_one)
