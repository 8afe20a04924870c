"""The practice loop under any convex loss: the equations of dp_theory.practice.dmft, with the forces of
dp_theory.practice.answers, solved stage by stage."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from scipy.optimize import root

from dp_base.errors import ConvergenceError, InputError
from dp_theory.numerics.checks import Array
from dp_theory.practice.answers import Block, Order, Quadratic, closest, forces
from dp_theory.practice.cohorts import Cohort
from dp_theory.practice.dmft import Forces, Quadratics, residuals
from dp_theory.practice.practice_problem import Addition, PracticeProblem, RoundRows
from dp_theory.practice.rows import draw
from dp_theory.span.losses import Loss, candidate_limits

FEW = 2**11  # points with which a stage is solved first
EXACT = 1e-9  # residual, relative, at which it is solved
MOST_RESPONSES = 1500  # of a row's forces to its scores, over all cohorts: 16 stages, 400 MB
NEAR = 1e-6  # residual over few points from which it is looked for over all
WRONG = 1e6  # residual of what is no covariance
_NUDGE = 1e-6  # of the unknowns, for derivatives
_STEPS, _STARTS = 60, 5
_POWELL = {"xtol": 1e-10, "factor": 1.0}


class ConvexLoop:
    """A loop with scalar rules, its stages solved one after the other over `size` points per cohort.

    losses: of the stages solved so far: the problem's, or HARD_MARGIN where lam = 0 and the rows are separable. Raises
    InputError for so many stages that they would not fit into memory.
    """

    def __init__(self, problem: PracticeProblem, size: int, seed: int) -> None:
        widths = np.arange(1, problem.stages + 1) if problem.accumulate else np.ones(problem.stages)
        if np.sum(widths**2) > MOST_RESPONSES:
            raise InputError(
                f"{problem.stages - 1} rounds that accumulate are more than memory allows under {problem.loss}: ask for"
                " fewer, or take the square loss"
            )
        self.problem, self.size, self.seed = problem, size, seed
        self.losses: list[Loss] = []
        self.stand_ins = Quadratics.square(0)
        self.blocks: list[Block] = []
        self.forces = Forces(np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0))

    def next_stage(self, cohort: Cohort, rows: RoundRows, cosine: float, order: Order) -> tuple[Order, float]:
        """Order parameters with one more stage, that trains on this cohort too, and the relative residual.

        Raises InputError for rows that are known by their moments alone, and ConvergenceError.
        """
        if not isinstance(rows, Addition):
            raise InputError("rows that are known by their moments alone are for the square loss: give a rule")
        s = len(self.losses)
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(s,)))
        self.blocks.append(Block.of(draw(cohort, rows, rows.flips(self.problem.flip), cosine, self.size, rng)))
        given, ridge = self.problem.loss, float(self.problem.ridges[s])
        off = np.inf
        for loss, lam in candidate_limits(given, ridge):
            p, off, stand_ins = self._solve(loss, lam, order)
            if off <= EXACT:
                solved = insert(order, p)
                self._accept(loss, lam, solved, stand_ins)
                return solved, off
        remedy = "a larger lam, if the rows are about to be separable"
        if ridge == 0:
            remedy = "a small lam, such as 0.03: of max-margin solutions, this one was not found"
        raise ConvergenceError(
            f"practice at phi = {self.problem.phi:g}, lam = {ridge:g}, {given}, stage {s}: the order parameters miss"
            f" their equations by {off:.1e}; give {remedy}"
        )

    def _solve(self, loss: Loss, lam: float, order: Order) -> tuple[Array, float, Quadratics]:
        """The newest stage's unknowns, what they miss the equations by, and the quadratic losses that stand in.

        First over few points by Powell's method, from the best starts in turn; then over all by Broyden's.
        """
        few = [block.first(FEW) for block in self.blocks]
        equations = self._equations(loss, lam, order, few, self._extended(0.0, 1.0))
        p, off = np.zeros(0), np.inf
        for guess in starts(order, lambda p: float(np.abs(equations(p)).max())):
            p = root(equations, guess, method="hybr", options=_POWELL).x
            off = float(np.abs(equations(p)).max())
            if off <= NEAR:
                break
        else:
            return p, off, self.stand_ins
        stand_ins = self._extended(*closest(few, insert(order, p), loss))
        equations = self._equations(loss, lam, order, few, stand_ins)
        at = equations(p)
        jacobian = np.column_stack([(equations(p + step) - at) / _NUDGE for step in _NUDGE * np.eye(len(p))])
        try:
            inverse = np.linalg.inv(jacobian)
        except np.linalg.LinAlgError:
            return p, float(np.abs(at).max()), stand_ins
        return *broyden(self._equations(loss, lam, order, self.blocks, stand_ins), p, inverse), stand_ins

    def _equations(
        self, loss: Loss, lam: float, order: Order, blocks: list[Block], stand_ins: Quadratics
    ) -> Callable[[Array], Array]:
        """The newest stage's residuals as a function of its unknowns; WRONG where these are no order parameters."""
        problem = self._with_ridge(lam)

        def off(p: Array) -> Array:
            try:
                with np.errstate(over="raise", invalid="raise", divide="raise"):
                    trial = insert(order, p)
                    by = residuals(problem, forces(blocks, self.forces, trial, loss, stand_ins), *trial)
                    return np.clip(relative(by, trial), -WRONG, WRONG)
            except (np.linalg.LinAlgError, FloatingPointError, ConvergenceError):  # ConvergenceError: of the prox
                return np.full(len(p), WRONG)

        return off

    def _extended(self, stiffness: float, target: float) -> Quadratics:
        """The quadratic losses that stand in, with one for the newest stage."""
        return Quadratics(np.append(self.stand_ins.stiffness, stiffness), np.append(self.stand_ins.target, target))

    def _with_ridge(self, lam: float) -> PracticeProblem:
        """The problem with the newest stage's ridge."""
        ridges = self.problem.ridges.copy()
        ridges[len(self.losses)] = lam
        return replace(self.problem, lam=ridges.tolist())

    def _accept(self, loss: Loss, lam: float, order: Order, stand_ins: Quadratics) -> None:
        """Let all rows answer to the newest stage, whose order parameters are found."""
        s = len(self.losses)
        self.problem, self.stand_ins = self._with_ridge(lam), stand_ins
        self.losses.append(loss)
        quadratic = Quadratic(float(stand_ins.stiffness[s]), float(stand_ins.target[s]))
        self.forces = forces(self.blocks, self.forces, order, loss, stand_ins)
        for block in self.blocks:
            if block.points.cohort.last > s:
                block.of_loss = block.of_loss.after(*block.newest(loss, block.of_loss, order)[:2])
                block.of_stand_in = block.of_stand_in.after(*block.newest(quadratic, block.of_stand_in, order)[:2])


def insert(order: Order, p: Array) -> Order:
    """Order parameters with one more stage. p: a_s, the row of C's Cholesky factor, with the logarithm of its diagonal
    element, and the row of X likewise; all in units of the stage before."""
    a, c, x = order
    s = len(a)
    norm, response = units(order)
    row = norm * np.append(p[1 : s + 1], np.exp(p[s + 1]))
    factor = np.pad(np.linalg.cholesky(c), (0, 1))
    factor[s] = row
    a, c, x = np.append(a, norm * p[0]), np.pad(c, (0, 1)), np.pad(x, (0, 1))
    c[s] = c[:, s] = factor @ row
    x[s] = response * np.append(p[s + 2 : -1], np.exp(p[-1]))
    return a, c, x


def units(order: Order) -> tuple[float, float]:
    """|θ| and X_ss of the last stage, 1 before the first."""
    a, c, x = order
    return (float(np.hypot(a[-1], np.sqrt(c[-1, -1]))), float(x[-1, -1])) if len(a) else (1.0, 1.0)


def relative(off: Order, order: Order) -> Array:
    """The newest stage's residuals (a, C, X) over the sizes of what they are residuals of, as one vector."""
    (of_a, of_c, of_x), (a, c, x) = off, order
    size = np.sqrt(a * a + np.diag(c))
    return np.concatenate([[of_a[-1] / size[-1]], of_c[-1] / size / size[-1], of_x[-1] / x[-1, -1]])


def starts(order: Order, miss: Callable[[Array], float]) -> Iterator[Array]:
    """Unknowns to begin with: a learner near that of the stage before; then, the _STARTS that miss the equations least,
    shorter and less responsive ones, as there are where rows were separable and are no more."""
    a, c, x = order
    lengths, responses = 4.0 ** np.arange(-2, 4), 10.0 ** np.arange(-1, 9)
    near = np.array([0.5, 0.0, -1.0])
    if len(a):
        norm, response = units(order)
        row = np.linalg.cholesky(c)[-1] / norm
        near = np.concatenate([[a[-1] / norm], row, [np.log(row[-1]) - 0.5], x[-1] / response, [0.0]])
        lengths, responses = 1 / lengths, 1 / responses
    yield near
    others = np.tile(near, (len(lengths), len(responses), 1))
    others[..., : len(a) + 1] *= lengths[:, None, None]
    others[..., len(a) + 1] += np.log(lengths)[:, None]
    others[..., -1] = np.log(responses)
    yield from sorted(others.reshape(-1, len(near)), key=miss)[:_STARTS]


def broyden(equations: Callable[[Array], Array], p: Array, inverse: Array) -> tuple[Array, float]:
    """A root from p by Broyden's method, and the largest residual. inverse: of a Jacobian like the equations' own."""
    off = equations(p)
    for _ in range(_STEPS):
        if np.abs(off).max() <= EXACT / 1000:
            break
        step = -inverse @ off
        new = equations(p + step)
        if np.abs(off).max() <= EXACT and not np.abs(new).max() < np.abs(off).max():  # nothing is left but rounding
            break
        while not np.abs(new).max() < 2 * np.abs(off).max():
            step = step / 3
            if np.abs(step).max() < EXACT:
                return p, float(np.abs(off).max())
            new = equations(p + step)
        moved = inverse @ (new - off)
        inverse = inverse + np.outer(step - moved, step @ inverse) / (step @ moved)
        p, off = p + step, new
    return p, float(np.abs(off).max())
