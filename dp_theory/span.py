"""The span recipe: exact limits of ridge regression on selected, weighted, relabelled Gaussian rows.

One computation gives Theorem 1 and its λ → 0 limit (Corollary 1), soft weights, verifiers, mixtures of groups with
different rules, wrong labellers, flipped labels and a general covariance. It goes beyond the paper's Section 4.

Conventions
- Rows x = Σ^½ z with z ~ N(0, I_d). Vectors are written in the eigenbasis of Σ, whose eigenvalues are `spectrum`.
  `spectrum=None` is Σ = I; then nothing but the angles between directions matters, so that vectors may be as short
  as these angles need (two entries for two directions).
- A rule sees the standardised projection t = x·w / ‖Σ^½ w‖ ~ N(0, 1), so that thresholds are the paper's α, and the
  label y = ±1 *as observed*: sign(x·labeller), flipped with probability `flip`.
- ŵ = argmin (1/2n) Σ_i q_i (ŵ·x_i − y_i)² + (λ/2) ‖ŵ‖², the sum over kept rows with weights q_i. n is a normaliser:
  group j has ratio_j · n candidate rows, and φ = d/n. With one group of ratio 1, n is the pool, as in Theorem 1.
- θ = Σ^½ ŵ. Its coordinates in the span of the special directions Σ^½ (truth, labellers, `along`) converge to a vector
  a, the rest of it has squared norm σ²; test error = angle(θ, Σ^½ truth) / π.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import orth
from scipy.special import expit, ndtr

from dp_base.errors import ConvergenceError, InputError
from dp_theory.checks import Real, require
from dp_theory.problem import Prediction, Problem
from dp_theory.rules import Rule

Array = NDArray[np.floating]
Weight = Callable[..., ArrayLike]  # (t_1, ..., t_r, y) -> values, one t per direction in `along`


# -- weights that the paper's symmetric rules (dp_theory.rules) leave out --------------------------------------------


@dataclass(frozen=True)
class Agree:
    """1[y t > 0]: the label-aware rule, which keeps a row if the direction's own label is the observed one."""

    def __call__(self, t: ArrayLike, y: ArrayLike) -> Array:
        return np.asarray(np.multiply(y, t) > 0, dtype=float)


@dataclass(frozen=True)
class Verifier:
    """σ(slope · y t), σ the logistic function: a verifier's probability that the observed label is right."""

    slope: float

    def __call__(self, t: ArrayLike, y: ArrayLike) -> Array:
        return expit(self.slope * np.multiply(y, t))


@dataclass(frozen=True)
class Interpolating:
    """[4 σ(κt) (1 − σ(κt))]^ω: 1 at t = 0; ω > 0 favours hard rows, ω < 0 easy ones (Kolossov et al. 2024)."""

    omega: float
    slope: float = 1.0

    def __call__(self, t: ArrayLike, y: ArrayLike) -> Array:
        return np.cosh(self.slope * np.asarray(t) / 2) ** (-2 * self.omega)


# -- the description, read by theory and simulator alike -------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Group:
    """`ratio`·n candidate rows that share a labeller, a flip rate and a rule.

    labeller: direction that labels the rows; None: the problem's truth. flip: probability that a label is flipped.
    along: the direction, or the r directions as rows, whose projections t_1, ..., t_r the rule sees; () for none.
    keep: probability that a row is kept: a number, a function (t_1, ..., t_r, y), or a `Rule` of one direction.
    weight: q of a kept row: a number or such a function.
    breaks: where these functions jump in t: numbers, or with several directions a sequence of numbers for each
        (0 is always one, and so are a Rule's own). Forgotten ones cost accuracy, which the certificate notices.
    """

    ratio: float = 1.0
    labeller: ArrayLike | None = None
    flip: float = 0.0
    along: ArrayLike = ()
    keep: float | Rule | Weight = 1.0
    weight: float | Weight = 1.0
    breaks: Sequence = ()

    def __post_init__(self) -> None:
        require("ratio", self.ratio, 0 < self.ratio < np.inf, "be positive: it is the group's candidate rows over n")
        require("flip", self.flip, 0 <= self.flip <= 1, "lie in [0, 1]: it is a probability")
        directions = len(np.atleast_2d(self.along)) if np.size(self.along) else 0
        if isinstance(self.keep, Rule) and directions != 1:
            raise InputError(f"keep = {self.keep} sees one direction, but along has {directions}")
        if len(self.breaks) and directions != 1 and len(self.breaks) != directions:
            raise InputError(f"breaks = {self.breaks} must hold a sequence of thresholds for each of the {directions} "
                             "directions in along")  # fmt: skip

    def select(self, t: Array, y: Array) -> tuple[Array, Array]:
        """Keep probability and weight of rows with projections t (r, rows) and observed labels y (rows,)."""
        if isinstance(self.keep, Rule):
            keep = self.keep.keep_probability(t[0])
        else:
            keep = self.keep(*t, y) if callable(self.keep) else self.keep
        weight = self.weight(*t, y) if callable(self.weight) else self.weight
        keep, weight = (np.broadcast_to(np.asarray(values, float), y.shape) for values in (keep, weight))
        require("keep", keep, (keep >= 0) & (keep <= 1 + 1e-12), "lie in [0, 1]: it is a probability")
        require("weight", weight, (weight >= 0) & np.isfinite(weight), "be at least 0 and finite")
        return keep, weight

    def jumps(self, directions: int) -> list[tuple[int, float]]:
        """(direction, threshold) of every jump of the rule."""
        breaks = [self.breaks] if directions == 1 else self.breaks
        named = {(i, float(b)) for i, thresholds in enumerate(breaks) for b in thresholds}
        if isinstance(self.keep, Rule):
            named |= {(0, s * float(b)) for b in self.keep.breakpoints if np.isfinite(b) for s in (-1, 1)}
        return sorted(named | {(i, 0.0) for i in range(directions)})


@dataclass(frozen=True, eq=False)
class SpanProblem:
    """Ridge (or a convex loss) on a mixture of groups of rows; the module's head states the conventions.

    truth: direction w0 that decides the true label. phi = d/n > 0 and lam ≥ 0: numbers or arrays that broadcast;
    lam = 0 is the limit λ → 0+. spectrum: the eigenvalues of Σ, one per entry of the vectors.

    Raises InputError for a direction that is zero, not finite or of another length than the spectrum, and for
    parameters outside their domain.
    """

    truth: ArrayLike
    groups: Sequence[Group]
    phi: Real
    lam: Real = 0.0
    spectrum: ArrayLike | None = None

    def __post_init__(self) -> None:
        phi, lam, spectrum = np.asarray(self.phi, float), np.asarray(self.lam, float), self.eigenvalues
        require("phi", phi, (phi > 0) & np.isfinite(phi), "be positive and finite: it is d/n")
        require("lam", lam, (lam >= 0) & np.isfinite(lam), "be at least 0 and finite: 0 is the ridgeless limit")
        require("spectrum", spectrum, (spectrum > 0) & np.isfinite(spectrum), "be positive and finite: Σ's eigenvalues")
        if not self.groups:
            raise InputError("groups is empty: give at least one group of rows")
        vectors = [("truth", self.truth)]
        vectors += [("labeller", group.labeller) for group in self.groups if group.labeller is not None]
        vectors += [("along", row) for group in self.groups for row in np.atleast_2d(group.along) if np.size(row)]
        for name, vector in vectors:
            if np.shape(vector) != spectrum.shape:
                raise InputError(f"{name} has shape {np.shape(vector)}, truth and spectrum have {spectrum.shape}")
            if not (np.all(np.isfinite(vector)) and np.any(vector)):
                raise InputError(f"{name} = {vector} must be finite and not zero: it is a direction")

    @classmethod
    def of(cls, problem: Problem) -> "SpanProblem":
        """Theorem 1's problem; its rule and rho must be scalar."""
        rho = float(problem.rho)
        group = Group(along=(rho, np.sqrt((1 - rho) * (1 + rho))), keep=problem.rule)
        return cls((1.0, 0.0), (group,), problem.phi, problem.lam)

    @cached_property
    def eigenvalues(self) -> Array:
        """Eigenvalues of Σ (d,)."""
        return np.ones(np.size(self.truth)) if self.spectrum is None else np.asarray(self.spectrum, float)

    def whitened(self, vectors: ArrayLike) -> Array:
        """Unit vectors along Σ^½ w, one row for each w: (d,) or (r, d) -> (r, d)."""
        rows = np.sqrt(self.eigenvalues) * np.reshape(np.asarray(vectors, float), (-1, self.eigenvalues.size))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def directions(self, group: Group) -> tuple[Array, Array]:
        """Whitened labeller (d,) and `along` (r, d) of a group."""
        labeller = self.truth if group.labeller is None else group.labeller
        return self.whitened(labeller)[0], self.whitened(group.along)

    @cached_property
    def basis(self) -> Array:
        """U (d, k): orthonormal basis of the span of all whitened directions."""
        pairs = [self.directions(group) for group in self.groups]
        rows = [self.whitened(self.truth), *(labeller[None] for labeller, _ in pairs), *(along for _, along in pairs)]
        return orth(np.concatenate(rows).T)


# -- Gaussian expectations -------------------------------------------------------------------------------------------

_SPLITS = np.array([-8.0, -2.0, 0.0, 2.0, 8.0])  # panel edges around a smooth step, in units of its width


def _with_crossings(planes: Array, level: Array, width: Array) -> tuple[Array, Array, Array]:
    """The planes, and where two of them cross along the coordinate that is integrated first: a kink for the others."""
    for i in range(planes.shape[1] - 1, 0, -1):
        f, g = np.array(list(combinations(np.flatnonzero(np.abs(planes[:, i]) > 1e-14), 2)), int).reshape(-1, 2).T
        slope = planes[:, i]
        blurred = np.hypot(width, np.linalg.norm(planes[:, i + 1 :], axis=1))
        crossing = planes[f] / slope[f, None] - planes[g] / slope[g, None]
        crossing[:, i:] = 0.0
        thickness = np.hypot(blurred[f] / slope[f], blurred[g] / slope[g])
        sharp = thickness < 0.5 * np.linalg.norm(crossing, axis=1)  # a thicker one is no kink
        planes = np.concatenate([planes, crossing[sharp]])
        level = np.concatenate([level, (level[f] / slope[f] - level[g] / slope[g])[sharp]])
        width = np.concatenate([width, thickness[sharp]])
    return planes, level, width


def _gauss_nodes(planes: Array, level: Array, width: Array, order: int, reach: float) -> tuple[Array, Array]:
    """Nested Gauss-Legendre nodes and weights for r independent standard normals.

    The integrand is smooth but for steps of thickness `width` (F,) across the F planes {t : planes[f]·t = level[f]}.
    Coordinate by coordinate, the line is cut where a plane meets it, at a distance on the scale on which the step is
    blurred by its own width and by the coordinates still to come. Returns t (r, N) and weights (N,) that sum to 1.
    """
    planes, level, width = _with_crossings(planes, level, width)
    x, v = np.polynomial.legendre.leggauss(order)
    t, mass = np.empty((0, 1)), np.ones(1)
    for i in range(planes.shape[1]):
        crossing = np.flatnonzero(np.abs(planes[:, i]) > 1e-14)
        slope = planes[crossing, i, None]
        centre = (level[crossing, None] - planes[crossing, :i] @ t) / slope  # (crossing, N)
        scale = np.hypot(width[crossing], np.linalg.norm(planes[crossing, i + 1 :], axis=1))[:, None] / np.abs(slope)
        edges = (centre + scale * np.unique(_SPLITS * np.any(scale > 0))[:, None, None]).reshape(-1, t.shape[1])
        fixed = np.repeat([[-reach], [-3.0], [3.0], [reach]], t.shape[1], axis=1)
        edges = np.sort(np.clip(np.concatenate([fixed, edges]), -reach, reach), axis=0)
        middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges, axis=0) / 2
        s = middle[..., None] + half[..., None] * x  # (panels, N, order)
        weight = mass[:, None] * half[..., None] * v * _pdf(s)
        used = weight > 0
        parent = np.broadcast_to(np.arange(t.shape[1])[:, None], s.shape)[used]
        t, mass = np.concatenate([t[:, parent], s[used][None]]), weight[used]
    return t, mass


def _pdf(t: ArrayLike) -> Array:
    return np.exp(-np.square(t) / 2) / np.sqrt(2 * np.pi)


@dataclass(frozen=True)
class Rows:
    """The kept rows of one group as weighted atoms: E[F; kept] = Σ_atoms mass · F.

    Given an atom the direction vector g of the row is Q t + ζ e + (noise orthogonal to both): t are the coordinates
    that the rule sees and ζ is the labeller's own. `mass`, `zeta`, `zeta2` are E[1, ζ, ζ²; the atom].
    """

    y: Array  # (N,) observed label
    q: Array  # (N,) weight, positive
    t: Array  # (r, N)
    mass: Array
    zeta: Array
    zeta2: Array
    frame: Array  # (k, r + 1): [Q, e]; e = 0 where the labeller lies in the span of Q

    def mean(self, f: Array) -> float:
        """E[f] for one value of f per atom."""
        return float(f @ self.mass)

    def linear(self, f: Array) -> Array:
        """E[f g] (k,)."""
        return self.frame @ np.append(self.t @ (f * self.mass), f @ self.zeta)

    def quadratic(self, f: Array) -> Array:
        """E[f g gᵀ] (k, k): the frame's block, and E[f] times the identity off the frame."""
        cross = (self.t @ (f * self.zeta))[:, None]
        inner = np.block([[(self.t * (f * self.mass)) @ self.t.T, cross], [cross.T, f @ self.zeta2]])
        total = self.mean(f)
        return total * np.eye(len(self.frame)) + self.frame @ (inner - total * np.eye(len(inner))) @ self.frame.T


def kept_rows(problem: SpanProblem, group: Group, order: int, score: Array | None = None) -> Rows:
    """Atoms of a group: nodes of the given order for what its rule sees, the labeller's remainder ζ in closed form.

    y0 = sign(c·t + κζ) given t, hence E[1, ζ, ζ²; y0 = s | t] = Φ(sb), s φ(b), Φ(sb) − sb φ(b) with b = c·t/κ.
    `score` (k + 1,): one more unit vector to integrate over, with a coordinate off the span (for a convex loss).
    """
    labeller, along = (vectors @ problem.basis for vectors in problem.directions(group))
    seen = along
    if score is not None:
        labeller, along = np.append(labeller, 0.0), np.pad(along, ((0, 0), (0, 1)))
        seen = np.concatenate([along, score[None]])
    frame, triangle = np.linalg.qr(seen.T)
    c = labeller @ frame
    rest = labeller - frame @ c
    kappa = float(np.linalg.norm(rest))
    jumps = group.jumps(len(along))
    coordinates = triangle.T  # of the seen directions in the frame; lower triangular
    t, weight = _gauss_nodes(
        np.vstack([coordinates[[i for i, _ in jumps]], c]),
        np.array([b for _, b in jumps] + [0.0]),
        np.array([0.0] * len(jumps) + [kappa]),
        order,
        # at the order's own distance, so that refining the order refines the cut of the tails too
        reach=np.hypot(8 + order / 16, max((abs(b) for _, b in jumps), default=0.0)),
    )
    b = np.clip(c @ t / max(kappa, 1e-200), -40, 40)  # Φ(−40) = 0 in double precision
    agree, differ = ((ndtr(s * b), s * _pdf(b), ndtr(s * b) - s * b * _pdf(b)) for s in (1, -1))  # y0 = 1, −1
    mass, zeta, zeta2 = (
        np.concatenate([weight * (p + group.flip * (m - p)), weight * (m + group.flip * (p - m))])  # y = 1, −1
        for p, m in zip(agree, differ, strict=True)
    )
    y, t = np.repeat([1.0, -1.0], t.shape[1]), np.tile(t, 2)
    keep, q = group.select((coordinates @ t)[: len(along)], y)
    share = group.ratio * keep
    used = (share * mass > 0) & (q > 0)
    e = rest / kappa if kappa > 1e-14 else 0 * rest
    mass, zeta, zeta2 = ((share * moment)[used] for moment in (mass, zeta, zeta2))
    return Rows(y[used], q[used], t[:, used], mass, zeta, zeta2, np.column_stack([frame, e]))


# -- the fixed point -------------------------------------------------------------------------------------------------


class Solution(NamedTuple):
    """a (k,): θ in the span's basis; variance: σ², ‖θ‖² off the span; residual of the fixed point, relative."""

    a: Array
    variance: float
    residual: float


@dataclass(frozen=True)
class Bulk:
    """What the directions outside the span contribute when a row's curvature is t on average.

    R0 = (tΣ + λI)^-1, H0 = Σ^½ R0 Σ^½, U the basis of the span: delta = tr(ΣR0)/n, spread = tr(H0²)/n,
    inside = UᵀH0U, shrink = I − t UᵀH0U (computed without the cancellation), outside = (I − UUᵀ) H0 U.
    """

    delta: float
    spread: float
    inside: Array  # (k, k)
    shrink: Array  # (k, k)
    outside: Array  # (d, k)

    @classmethod
    def of(cls, problem: SpanProblem, t: float, phi: float, lam: float) -> "Bulk":
        eigenvalues, basis = problem.eigenvalues, problem.basis
        curvature = t * eigenvalues + lam
        h0 = eigenvalues / curvature
        image = h0[:, None] * basis
        inside = basis.T @ image
        return cls(
            delta=phi * h0.mean(),
            spread=phi * np.square(h0).mean(),
            inside=inside,
            shrink=basis.T @ (lam / curvature[:, None] * basis),
            outside=image - basis @ inside,
        )

    def leak(self, a: Array) -> float:
        """Squared norm that leaves the span when θ's part in it is a: aᵀK^-1(N − K²)K^-1a; 0 if Σ = I."""
        return float(np.square(self.outside @ np.linalg.solve(self.inside, a)).sum())


def _solve_delta(
    eigenvalues: Array, phi: float, lam: float, mean_weight: Callable[[float], float]
) -> tuple[float, float]:
    """The one root δ of δ = (1/n) tr Σ(tΣ + λI)^-1, t = mean_weight(δ), and its residual. Σ = I: λδ + tδ = φ.

    tδ rises with δ, so that (right side)/δ falls.
    """
    from scipy.optimize import root_scalar

    def excess(log_delta: float) -> float:
        delta = np.exp(log_delta)
        return 1 - phi * (eigenvalues / (delta * (mean_weight(delta) * eigenvalues + lam))).mean()

    low = high = np.log(phi)
    while excess(low) > 0:
        low -= 4
    while excess(high) < 0:
        high += 4
    root = root_scalar(excess, bracket=(low, high), xtol=1e-15, rtol=1e-15).root
    return np.exp(root), abs(excess(root))


def _moments(rows: Sequence[Rows], values: Sequence[Array]) -> tuple[float, Array, Array]:
    """E[f], E[f y g] (k,), E[f g gᵀ] (k, k) over all groups, one f per atom."""
    parts = [(r.mean(f), r.linear(f * r.y), r.quadratic(f)) for r, f in zip(rows, values, strict=True)]
    mean, linear, quadratic = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
    return mean, linear, quadratic


def _square_loss(problem: SpanProblem, rows: Sequence[Rows], phi: float, lam: float) -> Solution:
    """The fixed point of the square loss: with q̃ = q/(1 + qδ), A = E[q̃ g gᵀ], c = E[q̃ y g], and Σ = I for clarity,
    a = (λI + A)^-1 c and σ² = φm² E[q̃² (y − g·a)²] / (1 − φm² E[q̃²]), m = 1/(λ + E[q̃]).

    As λ → 0 with fewer kept rows than columns, δ → ∞ like 1/λ and q̃ → 1[q > 0]/δ: the weights drop out. In units of λ
    this is the same recipe at λ = 1.
    """
    kept, c, second = _moments(rows, [np.ones_like(r.q) for r in rows])
    if lam == 0 and abs(kept / phi - 1) < 1e-12:  # the peak, where the norm diverges
        return Solution(np.linalg.solve(second, c), np.inf, 0.0)
    ridgeless = lam == 0 and kept < phi
    lam = 1.0 if ridgeless else lam

    def softened(delta: float) -> list[Array]:
        return [np.full_like(r.q, 1 / delta) if ridgeless else r.q / (1 + r.q * delta) for r in rows]

    delta, residual = _solve_delta(
        problem.eigenvalues,
        phi,
        lam,
        lambda delta: sum(r.mean(f) for r, f in zip(rows, softened(delta), strict=True)),
    )
    weights = softened(delta)
    t, c, second = _moments(rows, weights)
    bulk = Bulk.of(problem, t, phi, lam)
    a = np.linalg.solve(bulk.shrink + bulk.inside @ second, bulk.inside @ c)
    t2, c2, second2 = _moments(rows, [f * f for f in weights])
    misfit = t2 - 2 * a @ c2 + a @ second2 @ a  # E[q̃² (y − g·a)²]
    return Solution(a, float((bulk.leak(a) + bulk.spread * misfit) / (1 - bulk.spread * t2)), residual)


# -- predictions -----------------------------------------------------------------------------------------------------


def predict(problem: SpanProblem, *, tolerance: float = 1e-9) -> Prediction:
    """Limits of test error, overlap and squared norm under the square loss, with a certificate.

    `overlap` is θ·Σ^½w0/‖Σ^½w0‖ and `squared_norm` is ‖θ‖² with θ = Σ^½ŵ (for Σ = I: of ŵ itself); `keep_fraction` is
    kept rows over n; `certificate` is that of `certified`. All have the broadcast shape of phi and lam. At lam = 0 and
    phi = keep_fraction the norm is inf and the test error 1/2.

    Raises InputError if no row is kept, ConvergenceError if the quadrature misses `tolerance`.
    """
    rows = cache(lambda order: [kept_rows(problem, group, order) for group in problem.groups])

    def solve(order: int, phi: float, lam: float) -> Solution:
        return _square_loss(problem, rows(order), phi, lam)

    return certified(problem, solve, orders=(16, 32, 64, 128, 256), tolerance=tolerance)


def certified(
    problem: SpanProblem, solve: Callable[[int, float, float], Solution], orders: Sequence[int], tolerance: float
) -> Prediction:
    """Prediction from solve(order, phi, lam), the quadrature's order raised until it changes nothing any more.

    The certificate is the larger of the fixed point's residual and the last relative change of test error, overlap
    (over the norm), squared norm and kept fraction. The quadrature converges geometrically, so that this change, which
    is the error of the order before, bounds that of the result. Raises ConvergenceError if no order brings it below
    `tolerance`.
    """
    truth = problem.whitened(problem.truth)[0] @ problem.basis

    @cache
    def keep_fraction(order: int) -> float:
        return sum(float(kept_rows(problem, group, order).mass.sum()) for group in problem.groups)

    kept = keep_fraction(orders[0])
    require("keep_fraction", kept, kept > 0, "be positive: no row is kept with a positive weight")

    def outputs(order: int, phi: float, lam: float) -> tuple[Array, float]:
        a, variance, residual = solve(order, phi, lam)
        overlap = truth @ a
        off = np.square(a - overlap * truth).sum() + variance
        angle = np.arctan2(np.sqrt(off), overlap)
        return np.array([angle / np.pi, overlap, overlap**2 + off, keep_fraction(order)]), residual

    def cell(phi: float, lam: float) -> tuple[float, ...]:
        change, (previous, _) = np.inf, outputs(orders[0], phi, lam)
        for order in orders[1:]:
            current, residual = outputs(order, phi, lam)
            scale = np.array([current[0], np.sqrt(current[2]), *current[2:]])
            moved = current != previous  # at the peak both norms are inf
            change = np.max(np.abs(current[moved] - previous[moved]) / scale[moved], initial=residual)
            if change <= tolerance:
                return *current, change
            previous = current
        raise ConvergenceError(
            f"phi = {phi:g}, lam = {lam:g}: quadrature of order {orders[-1]} still changes the result by {change:.1e}, "
            f"more than tolerance = {tolerance:.1e}; are all jumps of the rules named in breaks?"
        )

    return Prediction(*(field[()] for field in np.vectorize(cell, otypes=[float] * 5)(problem.phi, problem.lam)))
