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
from scipy.linalg import solve
from scipy.optimize import root_scalar
from scipy.special import ndtr, owens_t

from dp_base.errors import ConvergenceError, InputError
from dp_theory.checks import require
from dp_theory.parallel import spread
from dp_theory.rules import KeepAll, KeepHard, Rule

TOLERANCE = 1e-9  # of the fixed point, relative
RESOLUTION = 1e-6  # least test error that double precision resolves, to about 1e-6 of it
_ORDER = 16  # of the Gauss-Legendre panels

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
        return (*self.breaks, *(self.keep.breakpoints if isinstance(self.keep, Rule) else ()))

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


Rows = Addition | MeasuredRows
Plan = Rows | Callable[[float], Rows]  # rows to add, or how to choose them from the test error so far


@dataclass(frozen=True, eq=False)
class Practice:
    """What is practised; `predict` and `simulate` read the same object. Fields as in the module's head.

    additions: one per round, so that there are len(additions) + 1 learners. spectrum: eigenvalues of Σ, with
    truth: w0 in its eigenbasis (constant if not given); None is Σ = I. lam: one ridge, or one for each stage; 0 needs
    more kept rows than dimensions. initial: size of the first pool of plain rows, or the rows themselves.
    """

    phi: float
    lam: float | Sequence[float]
    additions: Sequence[Plan] = ()
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
    def initial_rows(self) -> Rows:
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

    practice: Practice
    additions: tuple[Rows, ...]
    test_error: np.ndarray
    kept: np.ndarray
    candidates: np.ndarray
    overlap: np.ndarray
    covariance: np.ndarray
    response: np.ndarray
    certificate: float


# -- rows that join together ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cohort:
    """Rows that joined together, as atoms of equal weight: E[1, y(t, ζ), (t, ζ)(t, ζ)ᵀ; atom], in units of n.

    (t, ζ) is the selector's view of a row and the coordinate in the labeller's direction off it. selector: the
    stage that chose the rows, None for the plain ones; first, last: the stages first ≤ s < last train on them.
    """

    weight: np.ndarray  # (J,)
    mass: np.ndarray  # (J,)
    linear: np.ndarray  # (J, 2)
    second: np.ndarray  # (J, 2, 2)
    candidates: float
    selector: int | None
    first: int
    last: int


def _cohort(addition: Rows, flip: float, cosine: float, selector: int | None, first: int, last: int) -> _Cohort:
    """The rows of an addition, chosen by a learner with cos(θ_k, Σ^½w_g) = cosine."""
    if isinstance(addition, MeasuredRows):
        size, one = addition.kept, np.ones(1)
        linear, second = size * addition.linear[None], size * addition.second[None]
        return _Cohort(one, size * one, linear, second, size, selector, first, last)
    weight, mass, linear, second = _atoms(addition, flip, cosine)
    total = mass.sum()
    require("kept fraction", total, total > 0, f"be positive: {addition} keeps no row")
    size = addition.size(total)
    return _Cohort(weight, size * mass, size * linear, size * second, size, selector, first, last)


def _atoms(addition: Addition, flip: float, cosine: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weight and moments of the atoms per candidate: one atom by Lemmas 1 and 2 where a plain rule keeps rows of
    one weight, else one for each node in t > 0 and label; q(-t, -y) = q(t, y) accounts for t < 0.
    """
    if isinstance(addition.keep, Rule) and not callable(addition.weight):
        p, gamma, beta, beta_tilde = (float(moment) for moment in addition.keep.moments(cosine))
        linear = (1 - 2 * flip) * np.array([[beta_tilde, beta]])
        return np.array([addition.weight]), np.array([p]), linear, np.array([[[gamma, 0.0], [0.0, p]]])
    sine = np.sqrt((1 - cosine) * (1 + cosine))
    t, measure = _nodes(cosine / max(sine, 1e-300), addition.jumps)
    margin = np.clip(cosine * t / max(sine, 1e-300), -40, 40)  # the density is 0 beyond, in double precision
    density = np.exp(-(margin**2) / 2) / np.sqrt(2 * np.pi)
    true, false = (  # E[1, ζ, ζ²; y0 = s | t]
        np.array([ndtr(s * margin), s * density, ndtr(s * margin) - s * margin * density]) for s in (1, -1)
    )
    given = np.tile(measure, 2) * np.concatenate(
        [true + flip * (false - true), false + flip * (true - false)], axis=1
    )  # y = ±1
    t, y = np.tile(t, 2), np.repeat([1.0, -1.0], len(t))
    keep, weight = addition.select(t, y)
    mass, zeta, zeta2 = keep * given
    linear = y[:, None] * np.column_stack([t * mass, zeta])
    second = np.array([[t * t * mass, t * zeta], [t * zeta, zeta2]]).transpose(2, 0, 1)
    used = (mass > 0) & (weight > 0)
    weight, atom = np.unique(weight[used], return_inverse=True)

    def total(moment: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(weight), *moment.shape[1:]))
        np.add.at(sums, atom, moment[used])
        return sums

    return weight, total(mass), total(linear), total(second)


def _nodes(tau: float, breaks: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes t > 0 and weights of |G|, G ~ N(0, 1): panels cut at breaks and on the scale 1/tau."""
    edges = np.unique(np.clip([0, 1, 2, 3, 5, 7, 10, *breaks, *(np.array([1, 3, 9]) / max(abs(tau), 0.1))], 0, 10))
    x, w = np.polynomial.legendre.leggauss(_ORDER)
    half = np.diff(edges)[:, None] / 2
    t = edges[:-1, None] + half * (x + 1)
    return t.ravel(), (half * w * np.sqrt(2 / np.pi) * np.exp(-(t**2) / 2)).ravel()


# -- dynamical mean-field theory --------------------------------------------------------------------------------------


def _geometry(
    k: int | None, a: np.ndarray, c: np.ndarray, stages: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """How θ_s·x depends on the selector k's view (t, ζ) of a row: θ·x = L(t, ζ) + noise.

    Returns L (b, 2), the noise covariance (b, b), and the two vectors that give g = x·Σ^½w_g (normalised) and z_k
    from (t, ζ): g = ρt + rζ, z_k = s(r²t − ρrζ) with s = |θ_k|, ρ = a_k/s, r = √(1 − ρ²).
    """
    if k is None:  # the view is g itself
        return np.column_stack([a[stages], 0 * a[stages]]), c[stages, stages], np.array([1.0, 0.0]), np.zeros(2)
    norm = np.hypot(a[k], np.sqrt(c[k, k]))
    rho, r = a[k] / norm, np.sqrt(c[k, k]) / norm
    g, z_k = np.array([rho, r]), norm * r * np.array([r, -rho])
    shared = c[stages, k] / c[k, k]
    return np.outer(a[stages], g) + np.outer(shared, z_k), c[stages, stages] - np.outer(shared, c[k, stages]), g, z_k


def _update(
    practice: Practice, cohorts: Sequence[_Cohort], a: np.ndarray, c: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals of the order parameters' equations, right-hand sides minus (a, C, X), of the stages so far.

    With f = c(I + cX)^-1(y1 − θ) of a kept row, expectations summed over cohorts in units of n, and e, v over modes:
        Γ = −E[∂f/∂θ]; within a cohort's stages E[c(I + cX)^-1], and by Stein's lemma, without boundary terms,
        Γ_·k = −(E[f z_k] + E[B]C_·k)/C_kk from the selection by stage k
        M_e = e(lam·I + eΓ)^-1,  b = E[f g] + Γa
        X = (1/n)Σ M_e,  a = Σ v²M_e b,  C = Σ v²(M_e b)(M_e b)ᵀ − aaᵀ + (1/n)Σ M_e E[f fᵀ] M_eᵀ
    """
    stages = len(a)
    gamma, ff, fg = np.zeros((stages, stages)), np.zeros((stages, stages)), np.zeros(stages)
    for cohort in cohorts:
        if cohort.first >= stages:
            continue
        i = slice(cohort.first, min(cohort.last, stages))
        spread, noise, g, z_k = _geometry(cohort.selector, a, c, i)
        b = np.linalg.inv(np.eye(len(spread)) / cohort.weight[:, None, None] + x[i, i])  # (J, b, b)
        ones, slopes = b.sum(axis=2), b @ spread  # f = ones·y − slopes(t, ζ) − b·noise
        seen = (ones[:, :, None] * cohort.linear[:, None] - slopes @ cohort.second).sum(axis=0)  # E[f (t, ζ)ᵀ]
        cross = ones[:, :, None] * (slopes @ cohort.linear[:, :, None])[:, None, :, 0]
        square = ones[:, :, None] * ones[:, None] + b @ noise @ b.transpose(0, 2, 1)
        square = cohort.mass[:, None, None] * square - cross - cross.transpose(0, 2, 1)
        ff[i, i] += (square + slopes @ cohort.second @ slopes.transpose(0, 2, 1)).sum(axis=0)
        fg[i] += seen @ g
        curvature = np.tensordot(cohort.mass, b, axes=1)
        gamma[i, i] += curvature
        if (k := cohort.selector) is not None:
            gamma[i, k] -= (seen @ z_k + curvature @ c[i, k]) / c[k, k]
    e, v = practice.modes
    m = e[:, None, None] * np.linalg.inv(np.diag(practice.ridges[:stages]) + e[:, None, None] * gamma)
    drift = m @ (fg + gamma @ a)  # M_e b, (modes, stages)
    overlap = v**2 @ drift
    deviation = v[:, None] * (drift - overlap)
    fluctuation = practice.phi * (m @ ff @ m.transpose(0, 2, 1)).mean(axis=0)
    pull = fg - practice.ridges[:stages] / e[:, None] * a
    step = np.einsum("e,eij,ej->i", v**2, m, pull)  # overlap − a without cancellation
    return step, deviation.T @ deviation + fluctuation - c, practice.phi * m.mean(axis=0) - x


def _own_response(practice: Practice, cohorts: Sequence[_Cohort], lam: float) -> float:
    """X_ss: the root of X = (1/n)Σ e/(lam + eΓ), Γ = E[c/(1 + cX)] over the rows of stage s; lam is that stage's."""

    def image(response: float) -> float:
        gamma = sum(float(k.mass @ (k.weight / (1 + k.weight * response))) for k in cohorts)
        return practice.phi * float(np.mean(e / (lam + e * gamma)))

    e = practice.modes[0]
    low = high = image(0.0)
    while image(high) > high:
        low, high = high, 4 * high

    def excess(log: float) -> float:
        return float(np.log(image(np.exp(log))) - log)

    return float(np.exp(root_scalar(excess, bracket=(np.log(low), np.log(high)), xtol=1e-15).root))


def _next_stage(
    practice: Practice, cohorts: Sequence[_Cohort], a: np.ndarray, c: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Order parameters with one more stage, and the relative residual.

    X_ss solves a scalar equation of its own. Given it, f_s is affine in everything else that is new (a_s, C_s·, X_s·),
    and so are the equations: probing them along each unknown and one linear solve is exact. C_ss comes last.
    """
    s = len(a)
    here = [cohort for cohort in cohorts if cohort.first <= s < cohort.last]
    rows = sum(cohort.mass.sum() for cohort in here)
    if practice.ridges[s] == 0 and rows <= practice.phi:
        raise InputError(f"lam = 0 needs more rows than dimensions: stage {s} has {rows:.3g}·n, not above d = phi·n ="
                         f" {practice.phi:g}·n. Give lam > 0")  # fmt: skip
    delta = _own_response(practice, here, practice.ridges[s])
    a, c, x = np.append(a, 0.0), np.pad(c, (0, 1)), np.pad(x, (0, 1))
    x[s, s] = delta
    scale = np.concatenate([[1.0], np.sqrt(np.diag(c)[:s]) * np.sqrt(c[s - 1, s - 1] if s else 1.0), np.full(s, delta)])

    def insert(unknown: np.ndarray, own: float) -> None:
        a[s], c[s, :s], x[s, :s] = (values := unknown * scale)[0], values[1 : s + 1], values[s + 1 :]
        c[:s, s], c[s, s] = c[s, :s], own

    def residual(unknown: np.ndarray, own: float = 0.0) -> tuple[np.ndarray, float]:
        insert(unknown, own)
        a_off, c_off, x_off = _update(practice, cohorts, a, c, x)
        return np.concatenate([[a_off[s]], c_off[s, :s], x_off[s, :s]]) / scale, c_off[s, s]

    unknown = np.zeros(2 * s + 1)
    base = residual(unknown)[0]
    jacobian = np.column_stack([residual(unit)[0] - base for unit in np.eye(2 * s + 1)])
    for _ in range(2):  # the second step removes the first one's rounding
        unknown -= np.linalg.solve(jacobian, residual(unknown)[0])
    at_zero, at_one = residual(unknown, 0.0)[1], residual(unknown, 1.0)[1]
    own = at_zero / (at_zero - at_one)
    off, own_off = residual(unknown, own)
    return a, c, x, float(max(np.abs(off).max() / max(np.abs(unknown).max(), 1.0), abs(own_off / own)))


def predict(practice: Practice) -> PracticePrediction:
    """Exact limits of every stage, for fresh or accumulated pools, stage by stage; see the module's head.

    Raises ConvergenceError where the order parameters miss their equations by more than TOLERANCE, or where the
    test error falls below RESOLUTION.
    """
    cohorts, additions, certificate = [], [], 0.0
    a, c, x = np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0))
    stages = len(practice.additions) + 1
    errors = np.zeros(stages)
    for s in range(stages):
        if s == 0:
            addition, cosine = practice.initial_rows, 1.0
        else:
            plan = practice.additions[s - 1]
            addition = plan(errors[s - 1]) if callable(plan) else plan
            additions.append(addition)
            cosine = a[s - 1] / np.hypot(a[s - 1], np.sqrt(c[s - 1, s - 1]))
        last = stages if practice.accumulate else s + 1
        cohorts.append(_cohort(addition, practice.flip, cosine, s - 1 if s else None, s, last))
        a, c, x, residual = _next_stage(practice, cohorts, a, c, x)
        where = f"practice at phi = {practice.phi:g}, lam = {practice.ridges[s]:g}, stage {s}"
        if not (residual < TOLERANCE and c[s, s] > 0):
            raise ConvergenceError(f"{where}: relative residual {residual:.1e}, C = {c[s, s]:.3g}")
        certificate = max(certificate, residual)
        errors[s] = _test_error(a[s], c[s, s], practice.labeller)
        if errors[s] < RESOLUTION:
            raise ConvergenceError(
                f"{where}: test error {errors[s]:.1e}; below {RESOLUTION:.0e} double precision does not resolve the"
                " loop: ask for fewer rounds"
            )
    return PracticePrediction(
        practice,
        tuple(additions),
        errors,
        np.cumsum([cohort.mass.sum() for cohort in cohorts]),
        np.cumsum([cohort.candidates for cohort in cohorts]),
        a,
        c,
        x,
        certificate,
    )


def _test_error(overlap: float, variance: float, labeller: float) -> float:
    """angle(θ, Σ^½w0)/π from the overlap with the labeller; off it θ is isotropic, so cosines multiply."""
    if labeller == 1:
        return float(np.arctan2(np.sqrt(variance), overlap) / np.pi)
    return float(np.arccos(labeller * overlap / np.hypot(overlap, np.sqrt(variance))) / np.pi)


def row_errors(prediction: PracticePrediction, addition: int, wrong: bool = True) -> np.ndarray:
    """The paper's Fig. 6: each stage's error on the rows that additions[addition] brought, before and after.

    (stages,): P(y·score < 0), against the labels as observed. `wrong`: only the rows that were misclassified when
    they were added (1 at that stage). The score of a row is θ + Xf: θ·x while unseen, and the fit to it once the
    stage trains on it. Raises InputError if the addition brings no such row.
    """
    practice = prediction.practice
    added, chosen = prediction.additions[addition], addition + 1
    if isinstance(added, MeasuredRows):
        raise InputError(f"addition {addition} is known by its moments alone: they do not say how rows are fitted")
    a, c, x = prediction.overlap, prediction.covariance, prediction.response
    stages = slice(chosen, len(a) if practice.accumulate else chosen + 1)
    spread, noise, (rho, r), _ = _geometry(addition, a, c, slice(None))
    t, measure = _nodes(rho / r, added.jumps)
    t, y = np.tile(t, 2), np.repeat([1.0, -1.0], len(t))
    keep, weight = added.select(t, y)
    keep = np.tile(measure, 2) * keep * (weight > 0) * (y < 0 if wrong else 1.0)
    if not np.any(keep > 0):
        raise InputError(f"addition {addition} brings no row that is wrong when added: {added}")
    t, y, keep, weight = (array[keep > 0] for array in (t, y, keep, weight))
    fit = x[:, stages] @ np.linalg.inv(np.eye(stages.stop - chosen) / weight[:, None, None] + x[stages, stages])
    unfitted = np.tile(np.eye(len(a)), (len(t), 1, 1))
    unfitted[:, :, stages] -= fit  # score = fit·y1 + unfitted·θ, (nodes, stages)
    slope = unfitted @ spread
    margin = fit.sum(axis=2) + (y * t)[:, None] * slope[..., 0]  # mean of y·score at ζ = 0
    variance = np.einsum("jsi,ik,jsk->js", unfitted, noise, unfitted)
    width = np.maximum(np.sqrt(slope[..., 1] ** 2 + np.maximum(variance, 0.0)), 1e-100)
    errors, mass = np.zeros(len(a)), 0.0
    for true, chance in ((y, 1 - practice.flip), (-y, practice.flip)):
        label = true * rho / r * t  # the row's true label is `true` where true·ζ > −label
        joint = _bivariate_cdf(label[:, None], -margin / width, -true[:, None] * y[:, None] * slope[..., 1] / width)
        errors += chance * keep @ joint
        mass += chance * keep @ ndtr(label)
    return errors / mass


def _bivariate_cdf(h: np.ndarray, k: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """P(Z1 < h, Z2 < k) of standard normals by Owen's T function (Owen 1956)."""
    h, k = (np.where(v == 0, 1e-100, np.clip(v, -40, 40)) for v in np.broadcast_arrays(h, k))
    root = np.sqrt(np.maximum((1 - correlation) * (1 + correlation), 1e-12))
    tails = owens_t(h, (k / h - correlation) / root) + owens_t(k, (h / k - correlation) / root)
    return np.maximum((ndtr(h) + ndtr(k)) / 2 - tails - (h * k < 0) / 2, 0.0)  # up to rounding


# -- the experiment ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PracticeSimulation:
    """Independent runs of the loop in dimension d.

    test_errors: (trials, stages); their mean and standard error as properties. row_errors: (trials, rounds, stages),
    the share of the misclassified rows of a round that each stage gets wrong (see the function `row_errors`), 0 if
    it brought none.
    """

    test_errors: np.ndarray
    row_errors: np.ndarray
    kept: np.ndarray  # (trials, stages), rows so far in units of n
    d: int
    seed: int

    @property
    def test_error(self) -> np.ndarray:
        return self.test_errors.mean(axis=0)

    @property
    def test_error_se(self) -> np.ndarray:
        return self.test_errors.std(axis=0, ddof=1) / np.sqrt(len(self.test_errors))


def simulate(practice: Practice, d: int, trials: int, *, seed: int = 0, workers: int | None = 1) -> PracticeSimulation:
    """Run the loop `trials` times with every row drawn; with a spectrum d must be its length.

    Plans are resolved by the theory first, so that theory and experiment use the same thresholds and sizes.
    Trial k draws from SeedSequence(seed, spawn_key=(k,)). Raises InputError where d or trials is too small.
    """
    require("trials", trials, trials >= 2, "be at least 2: one run has no standard error")
    require("d", d, d >= 3, "be at least 3")
    if practice.spectrum is not None and d != len(practice.modes[0]):
        raise InputError(f"d = {d} must be the length of the spectrum, {len(practice.modes[0])}")
    rounds = (practice.initial_rows, *predict(practice).additions)
    drawn = [rows for rows in rounds if isinstance(rows, Addition)]
    if len(drawn) < len(rounds):
        raise InputError("rows that are known by their moments alone cannot be drawn: simulate takes rules")
    runs = spread(_run, [(practice, drawn, d, seed, trial) for trial in range(trials)], workers)
    return PracticeSimulation(*(np.array(part) for part in zip(*runs, strict=True)), d=d, seed=seed)  # pyright: ignore


def _run(
    practice: Practice, rounds: Sequence[Addition], d: int, seed: int, trial: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One run. Everything is written in the whitened eigenbasis, where rows are z ~ N(0, I) and learners θ."""
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(trial,))))
    n = d / practice.phi
    e, v = practice.modes
    e, v = (e, v) if practice.spectrum is not None else (np.ones(d), np.eye(d)[0])
    truth = practice.labeller * v + np.sqrt(1 - practice.labeller**2) * np.eye(d)[1] if practice.labeller < 1 else v
    stages = len(rounds)
    gram, moment = np.zeros((d, d)), np.zeros(d)
    thetas, wrong_rows = np.zeros((0, d)), []
    kept = np.zeros(stages)
    for s, addition in enumerate(rounds):
        z, y, t, weight = _rows(addition, practice.flip, n, v, thetas[-1] if s else None, rng)
        kept[s] = len(y) / n
        wrong_rows.append((z[y * t < 0], y[y * t < 0]))
        if not practice.accumulate:
            gram[:], moment[:] = 0.0, 0.0
        x = z * np.sqrt(e)
        gram += (x * weight[:, None]).T @ x
        moment += x.T @ (weight * y)
        w = solve(gram + n * practice.ridges[s] * np.eye(d), moment, assume_a="pos")
        thetas = np.vstack([thetas, np.sqrt(e) * w])
    test_errors = np.array([_angle(theta, truth) for theta in thetas])
    errors = [np.sum(y[:, None] * (z @ thetas.T) < 0, axis=0) / max(len(y), 1) for z, y in wrong_rows[1:]]
    return test_errors, np.reshape(errors, (-1, stages)), np.cumsum(kept)


def _angle(theta: np.ndarray, unit: np.ndarray) -> float:
    """Angle over π, accurate when small."""
    along = theta @ unit
    return float(np.arctan2(np.linalg.norm(theta - along * unit), along) / np.pi)


def _rows(
    addition: Addition, flip: float, n: float, v: np.ndarray, theta: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows z, labels, projections t and weights of those that the learner theta keeps; v is the labeller.

    Only (t, ζ), in the plane of learner and labeller, decides what is kept; the rest is drawn for kept rows alone.
    """
    view = v if theta is None else theta / np.linalg.norm(theta)
    cosine = float(np.clip(view @ v, -1, 1))
    off = v - cosine * view
    sine = np.linalg.norm(off) if theta is not None else 0.0
    off = off / sine if sine > 0 else off
    size = addition.size(_atoms(addition, flip, cosine)[1].sum())
    t, zeta = rng.standard_normal((2, round(size * n)))
    y = np.where(cosine * t + sine * zeta > 0, 1.0, -1.0) * np.where(rng.random(len(t)) < flip, -1.0, 1.0)
    keep, weight = addition.select(t, y)
    chosen = rng.random(len(t)) < keep
    t, zeta, y, weight = t[chosen], zeta[chosen], y[chosen], weight[chosen]
    z = rng.standard_normal((len(t), len(v)))
    z += np.outer(t - z @ view, view)
    if sine > 0:
        z += np.outer(zeta - z @ off, off)
    return z, y, t, weight
