"""Computer algebra for the theory: sympy derives the formulas that the rest of the package evaluates.

Symbols as in dp_theory.ridge.problem; c = 1 - 2·(flip rate of the labels), psi = d/m for m kept rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

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


DERIVATIONS: dict[str, Callable[[], Derivation]] = {
    "lemma1": lemma1,
    "lemma2": lemma2,
    "corollary1": corollary1,
    "scaling": scaling_law,
    "keep-hard": keep_hard,
}


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
