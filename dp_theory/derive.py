"""Computer algebra for the theory: sympy derives the formulas that the rest of the package evaluates.

Symbols as in dp_theory.ridge.problem; c = 1 - 2·(flip rate of the labels), psi = d/m for m kept rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import sympy as sp

alpha, gamma, phi, psi, lam = sp.symbols("alpha gamma phi psi lambda", positive=True)
p, m = sp.symbols("p m", positive=True)
rho, beta, beta_tilde = sp.symbols("rho beta beta_tilde", real=True)
clean = sp.Symbol("c", positive=True)
_g = sp.Symbol("g", real=True)

SINE = sp.sqrt(1 - rho**2)
PLAIN = {  # moments of plain data with flipped labels: E[y x] = c·√(2/π)·w0
    p: sp.Integer(1),
    gamma: sp.Integer(1),
    beta: clean * sp.sqrt(2 / sp.pi) * SINE,
    beta_tilde: clean * sp.sqrt(2 / sp.pi) * rho,
}


@dataclass(frozen=True)
class Derivation:
    """What is derived, by name, and differences that must be 0.

    Names are ASCII, so that LaTeX prints them; tan2 is tan²(πE).
    """

    title: str
    results: dict[str, Any]
    identities: dict[str, Any]


def _pdf(t: Any) -> Any:
    return sp.exp(-(t**2) / 2) / sp.sqrt(2 * sp.pi)


@cache
def lemma1() -> Derivation:
    """Keep-hard: the moments over |G| ≤ alpha, from their integrals."""
    sine = sp.Symbol("s", positive=True)  # √(1 - rho²), so that sympy sees what is positive
    tau = rho / sine
    density = _pdf(_g)
    window = (_g, -alpha, alpha)
    crossing = sp.integrate(_pdf(_g / sine) / sp.sqrt(2 * sp.pi), window)  # pdf(g)·pdf(tau g), 1 + tau² = 1/s²
    cdf = (1 + sp.erf(tau * _g / sp.sqrt(2))) / 2
    boundary = -density * cdf  # by parts, from g·pdf(g) = -pdf'(g)
    results = {
        "p": sp.integrate(density, window),
        "gamma": sp.integrate(_g**2 * density, window),
        "beta": 2 * crossing,
        "beta_tilde": 2 * (boundary.subs(_g, alpha) - boundary.subs(_g, -alpha) + tau * crossing),
    }
    by_parts = sp.diff(boundary, _g) + _pdf(_g) * tau * _pdf(tau * _g) - cdf * _g * density
    return Derivation(
        "Lemma 1: moments of keep-hard, q = 1[|t| ≤ α]",
        {name: sp.expand(value).subs(sine, SINE) for name, value in results.items()},
        {"integration by parts of beta_tilde": sp.simplify(by_parts)},
    )


def lemma2() -> Derivation:
    """Keep-easy: the moments of all rows less those of keep-hard."""
    hard = lemma1().results
    everything = {str(symbol): value.subs(clean, 1) for symbol, value in PLAIN.items()}
    sine = sp.Symbol("s", positive=True)
    limits = {name: sp.limit(value.subs(SINE, sine), alpha, sp.oo).subs(sine, SINE) for name, value in hard.items()}
    return Derivation(
        "Lemma 2: moments of keep-easy, q = 1[|t| > α]",
        {name: everything[name] - value for name, value in hard.items()},
        {f"{name}, alpha to infinity less all kept": sp.simplify(limits[name] - everything[name]) for name in hard},
    )


def theorem1(factors: tuple[sp.Expr, sp.Expr] = (beta, beta_tilde)) -> dict[str, sp.Expr]:
    """Theorem 1 as printed, in terms of m: overlap = m0/(1 + phi m) and squared_norm = nu0/(1 + phi m)².

    The squares of `factors` multiply m and m_tilde in r. The main text prints (√(1 - rho²)·beta, rho·beta_tilde), the
    proof in C.2 has (beta, beta_tilde).
    """
    one = 1 + phi * m
    m_tilde = 1 / (gamma / one + lam)
    slope = m**2 / (1 - phi * p * m**2 / one**2)
    slope_tilde = m_tilde**2 * (1 + gamma * phi * slope / one**2)
    weights = [factor**2 for factor in factors]
    r = weights[0] * m + weights[1] * m_tilde
    r_slope = weights[0] * slope + weights[1] * slope_tilde
    m0 = SINE * beta * m + rho * beta_tilde * m_tilde
    nu0 = p * phi * slope + r_slope - 2 * phi * slope * r / one
    return {"overlap": m0 / one, "squared_norm": nu0 / one**2}


@cache
def corollary1() -> Derivation:
    """The limit lam → 0+ of Theorem 1: m is finite where phi < p, and c/lam where phi > p."""
    fixed_point = lam + p / (1 + phi * m) - 1 / m
    (below,) = sp.solve(fixed_point.subs(lam, 0), m)
    c = sp.Symbol("c", positive=True)
    (above,) = sp.solve(sp.cancel(sp.together(fixed_point.subs(m, c / lam) / lam)).subs(lam, 0), c)
    ridge = theorem1()
    results = {}
    for phase, value in (("phi < p", below), ("phi > p", above / lam)):
        for name, expression in ridge.items():
            limit = sp.cancel(sp.together(expression.subs(m, value))).subs(lam, 0)
            results[f"{name}, {phase}"] = sp.collect(sp.factor(limit), (beta, beta_tilde))
    identities = {}
    for phase, (a, b) in _printed_corollary1().items():
        gap = a**2 * results[f"squared_norm, {phase}"] - b * results[f"overlap, {phase}"] ** 2
        identities[f"gap to the printed corollary, {phase}"] = sp.simplify(gap)
    return Derivation("Corollary 1: Theorem 1 as λ → 0+", results, identities)


def scaling_law() -> Derivation:
    """Plain data at small phi = d/n, lam → 0+; and the best p when the truth itself selects hard rows from a pool."""
    tangent2 = sp.factor(_tangent2("phi < p").subs(PLAIN))
    root = sp.Symbol("x", positive=True)  # √phi
    error = sp.atan(sp.sqrt(tangent2.subs(phi, root**2) / root**2) * root) / sp.pi
    expansion = sp.series(error, root, 0, 4).removeO()
    # rho = 1: leading orders of the moments in alpha, beta_tilde = E[q |G|], then alpha by p
    hard = lemma1().results
    small = {p: _leading(hard["p"]), gamma: _leading(hard["gamma"]), beta: 0}
    small[beta_tilde] = _leading(sp.integrate(2 * _g * _pdf(_g), (_g, 0, alpha)))
    (threshold,) = sp.solve(small[p] - p, alpha)
    pruned = sp.factor(_tangent2("phi < p").subs(rho, 1).subs(small).subs(alpha, threshold))
    (best,) = sp.solve(sp.diff(sp.log(pruned), p), p)
    return Derivation(
        "Scaling as φ → 0: plain data, E = constant·√φ + next·φ^(3/2); ρ = 1 at its best p, E = constant·φ",
        {
            "tan2": tangent2,
            "constant": sp.factor(expansion.coeff(root, 1)),
            "constant, clean labels": sp.factor(expansion.coeff(root, 1).subs(clean, 1)),
            "next": sp.factor(expansion.coeff(root, 3)),
            "tan2, rho = 1": pruned,
            "best p, rho = 1": best,
            "constant, rho = 1": sp.sqrt(pruned.subs(p, best)) / phi / sp.pi,
        },
        {},
    )


def keep_hard() -> Derivation:
    """lam → 0+ first, then alpha → 0; a loop on fresh rows has sin(πE) for √(1 - rho²)."""
    plain = sp.factor(_tangent2("phi < p").subs(PLAIN)).subs(phi, psi)
    hard = {name: _leading(value) for name, value in lemma1().results.items()}
    moments = {p: hard["p"], gamma: hard["gamma"], beta: clean * hard["beta"], beta_tilde: clean * hard["beta_tilde"]}
    law = sp.factor(sp.limit(sp.simplify(_tangent2("phi < p").subs(phi, psi * p).subs(moments)), alpha, 0))
    contraction = sp.sqrt(plain.subs(clean, 1))
    rate = psi * sp.log(contraction)
    best = sp.nsolve(sp.diff(rate, psi), psi, 0.3)
    return Derivation(
        "Keep-hard law: λ → 0+, then p → 0, at ψ = d/m < 1; and a round of practice on fresh rows, E → contraction·E",
        {
            "tan2, plain": plain,
            "tan2, keep-hard": law,
            "contraction": contraction,
            "best psi": best,
            "d ln(E) / d(kept rows per dimension)": rate.subs(psi, best).evalf(),
        },
        {"tan2, keep-hard less (1 - rho squared) of plain": sp.simplify(law - (1 - rho**2) * plain)},
    )


def practice() -> Derivation:
    """The second stage of a loop that accumulates: the right sides of (T3.9) to (T3.11), from the forces of (T3.16)."""
    response, variance = sp.symbols("X_00 C_00", positive=True)
    second = _second_stage()
    plain = sp.Matrix([[1 + response, 0], [second.x10, 1 + second.x11]]).inv()  # B of (T3.16), of plain rows
    c1 = clean * sp.sqrt(2 / sp.pi)
    a = sp.Matrix([second.length * rho, second.a1])
    ones = sp.ones(2, 1)
    covariance = sp.Matrix([[variance, second.c10], [second.c10, second.c11]])
    scores = ones * ones.T - c1 * (a * ones.T + ones * a.T) + a * a.T + covariance
    ff = plain * scores * plain.T
    fg = plain * (c1 * ones - a)
    chosen = _chosen_rows(second)
    gamma_10 = sp.Symbol("Gamma_10", real=True)
    own = second.x11 / phi  # M_11
    ff_11 = ff[1, 1] + chosen.ff_11
    results = {
        "Gamma_10": plain[1, 0] + chosen.gamma_10,
        "a_1": (fg[1] + chosen.fg) / lam,
        "C_10": own * (response * ff[1, 0] - gamma_10 * variance),
        "C_11": own**2 * (gamma_10**2 * variance - 2 * gamma_10 * response * ff[1, 0] + phi * ff_11),
        "X_10": -own * gamma_10 * response,
        "X_11": phi / (lam + plain[1, 1] + chosen.gamma_11),
    }
    sines = {second.sine: sp.sqrt(variance) / second.length}
    named = {name: value.subs(sines) for name, value in results.items()}
    return Derivation(
        "Two stages of practice, (T3.9) to (T3.17): right sides for the second, a_0 = L ρ, C_00 = L² (1 - ρ²)",
        named,
        {"effect of selection, densities at the thresholds less Stein": _stein_of_a_window(second)}
        | _fresh_rows_are_theorem1(second),
    )


def softmax_stationarity() -> Derivation:
    """The fixed point (T6.6) and (T6.7) as the stationary point of the function (T6.11)."""
    delta, sigma, b, curvature, q = sp.symbols("delta sigma b Gamma q", positive=True)
    a = sp.symbols("a_1 a_2", real=True)
    c = sp.symbols("c_1 c_2", real=True)
    slopes = {
        **{a_j: lam * a_j - c_j for a_j, c_j in zip(a, c, strict=True)},
        sigma: curvature * sigma - sp.sqrt(phi) * b + lam * sigma,
        delta: (b**2 - q) / 2,
        b: b * delta - sp.sqrt(phi) * sigma,
    }
    (found,) = sp.solve(list(slopes.values()), list(slopes), dict=True)
    response = 1 / (lam + curvature)
    identities = {
        f"{a_j} less (T6.7)": sp.simplify(found[a_j] - response * (c_j + curvature * found[a_j]))
        for a_j, c_j in zip(a, c, strict=True)
    }
    identities["sigma squared less (T6.7)"] = sp.simplify(found[sigma] ** 2 - phi * response**2 * q)
    identities["delta less (T6.6)"] = sp.simplify(found[delta] - phi * response)
    return Derivation(
        "Softmax regression: the stationary point of (T6.11), c_j = E[f g_j]/(K-1) and q = E|f|²/(K-1)",
        {str(symbol): sp.factor(value) for symbol, value in found.items()},
        identities | _envelope_of_three_classes(delta),
    )


DERIVATIONS: dict[str, Callable[[], Derivation]] = {
    "lemma1": lemma1,
    "lemma2": lemma2,
    "corollary1": corollary1,
    "scaling": scaling_law,
    "keep-hard": keep_hard,
    "practice": practice,
    "softmax": softmax_stationarity,
}


# -- two stages of practice -------------------------------------------------------------------------------------------


class _SecondStage(NamedTuple):
    """Symbols: the unknowns of stage 1; of stage 0 its length, and the sine of its angle to the truth."""

    a1: sp.Symbol
    c10: sp.Symbol
    c11: sp.Symbol
    x10: sp.Symbol
    x11: sp.Symbol
    length: sp.Symbol
    sine: sp.Symbol


def _second_stage() -> _SecondStage:
    unknowns = sp.symbols("a_1 C_10 C_11 X_10", real=True)
    return _SecondStage(*unknowns, *sp.symbols("X_11 L s", positive=True))


class _ChosenForces(NamedTuple):
    fg: sp.Expr
    ff_11: sp.Expr
    gamma_10: sp.Expr
    gamma_11: sp.Expr


def _chosen_rows(second: _SecondStage) -> _ChosenForces:
    """By (T3.14) to (T3.17): the force is (y - η_1)/(1 + X_11)."""
    variance = (second.length * second.sine) ** 2
    g = sp.Matrix([rho, second.sine])
    z0: Any = second.length * second.sine * sp.Matrix([second.sine, -rho])
    view: Any = second.a1 * g + second.c10 / variance * z0
    linear = sp.Matrix([beta_tilde, beta])
    moments = sp.diag(gamma, p)
    answer = 1 / (1 + second.x11)
    by_view: Any = answer * (linear - moments * view)
    noise = p * (second.c11 - second.c10**2 / variance)
    return _ChosenForces(
        fg=by_view.dot(g),
        ff_11=answer**2 * (p - 2 * view.dot(linear) + view.dot(moments * view) + noise),
        gamma_10=-(by_view.dot(z0) + p * answer * second.c10) / variance,
        gamma_11=p * answer,
    )


def _stein_of_a_window(second: _SecondStage) -> sp.Expr:
    """Γ_10 of keep-hard by the derivative of its window, less that of (T3.17)."""
    moments = lemma1().results
    sine = second.sine
    known = {symbol: moments[str(symbol)].subs(SINE, sine) for symbol in (p, gamma, beta, beta_tilde)}
    by_stein = _chosen_rows(second).gamma_10.subs(known)
    along = second.a1 * rho + second.c10 / second.length  # of η_1 by t: a_1 ρ + C_10 r²L/C_00
    label = sp.erf(rho / sine * alpha / sp.sqrt(2))
    direct = 2 * _pdf(alpha) / second.length * (label - along * alpha) / (1 + second.x11)
    gap = sp.expand(direct - by_stein)
    names = {function: sp.Dummy() for function in gap.atoms(sp.erf, sp.exp)}
    return _reduced(gap.subs(names), sine)


def _fresh_rows_are_theorem1(second: _SecondStage) -> dict[str, sp.Expr]:
    chosen = _chosen_rows(second)
    sine = second.sine
    variance = (second.length * sine) ** 2
    answer = 1 / (1 + second.x11)
    by_t = answer * beta_tilde / (lam + gamma * answer)
    by_zeta = answer * beta / (lam + p * answer)
    learner = {second.a1: rho * by_t + sine * by_zeta, second.c10: second.length * sine * (sine * by_t - rho * by_zeta)}
    own = 1 / (lam + chosen.gamma_11)
    square = own**2 * (chosen.gamma_10**2 * variance + phi * chosen.ff_11.subs(second.c11, 0))
    c11 = square / (1 - phi * own**2 * p * answer**2)
    gaps = {
        "equation of a_1": chosen.fg - lam * second.a1,
        "equation of C_10": second.c10 + own * chosen.gamma_10 * variance,
        "overlap less Theorem 1": second.a1 - theorem1()["overlap"].subs(SINE, sine),
        "squared_norm less Theorem 1": second.a1**2 + c11 - theorem1()["squared_norm"].subs(SINE, sine),
    }
    at_root = {second.x11: phi * m, lam: 1 / m - p / (1 + phi * m)}
    return {f"fresh rows, {name}": _reduced(gap.subs(learner).subs(at_root), sine) for name, gap in gaps.items()}


def _reduced(gap: sp.Expr, sine: sp.Symbol) -> sp.Expr:
    """0 if the expression vanishes where sine² = 1 - rho²."""
    half = sp.Symbol("h", positive=True)
    circle = {rho: (1 - half**2) / (1 + half**2), sine: 2 * half / (1 + half**2)}
    return sp.expand(sp.numer(sp.together(gap.subs(circle))))


# -- softmax ----------------------------------------------------------------------------------------------------------


def _envelope_of_three_classes(delta: sp.Symbol) -> dict[str, sp.Expr]:
    h = sp.Matrix(sp.symbols("h_1:4", real=True))
    total = sum(sp.exp(score) for score in h)
    loss = sp.log(total) - h[0]
    shares = sp.Matrix([sp.exp(score) / total for score in h])
    force = sp.Matrix([1, 0, 0]) - shares
    theta = h - delta * force
    envelope = loss + delta * force.dot(force) / 2
    by_h = sp.Matrix([sp.diff(envelope, score) for score in h]) + theta.jacobian(h).T * force
    by_delta = sp.diff(envelope, delta) + force.dot(theta.diff(delta)) + force.dot(force) / 2

    pi: Any = sp.Matrix(sp.symbols("pi_1:4", positive=True))
    matrix = sp.diag(*pi) - pi * pi.T
    bent: Any = sp.Matrix([share / (1 + delta * share) for share in pi])
    trace = (matrix * (sp.eye(3) + delta * matrix).inv()).trace() - sum(bent) + bent.dot(bent) / sum(bent)
    return {
        "three classes: slope of the envelope by theta, plus f": sp.simplify(by_h.dot(by_h)),
        "three classes: slope of the envelope by delta, plus |f|^2/2": sp.simplify(by_delta),
        "three classes: trace less (T6.5)": sp.simplify(trace.subs(pi[2], 1 - pi[0] - pi[1])),
    }


# -- all ---------------------------------------------------------------------------------------------------------------


def _tangent2(phase: str) -> sp.Expr:
    ridgeless = corollary1().results
    return ridgeless[f"squared_norm, {phase}"] / ridgeless[f"overlap, {phase}"] ** 2 - 1


def _leading(expression: sp.Expr) -> sp.Expr:
    return sp.simplify(expression.series(alpha, 0, 4).removeO().as_leading_term(alpha))


def _printed_corollary1() -> dict[str, tuple[sp.Expr, sp.Expr]]:
    """(a, b) with cos(πE) = |a|/√b, by phase."""
    w = SINE * beta
    w_tilde = rho * beta_tilde
    r = beta**2 + beta_tilde**2 * p / gamma
    r_slope = p * (beta**2 + beta_tilde**2 * ((p - phi) * p / gamma**2 + phi / gamma))
    c0 = 1 - p / phi
    c1 = 1 - (p - gamma) / phi
    return {
        "phi < p": ((w + w_tilde * p / gamma) / (p - phi), (p**2 * phi + r_slope - 2 * phi * r) / (p - phi) ** 3),
        "phi > p": ((w + w_tilde / c1) * c0, (p * phi - beta**2 - beta_tilde**2 / c1) * c0),
    }
