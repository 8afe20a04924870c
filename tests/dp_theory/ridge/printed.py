"""The lemmas and Theorem 1 as the page of derivations has them, in mpmath's numbers of any precision."""

import re
from functools import cache

import mpmath as mp
import sympy as sp

from dp_theory import KeepEasy, KeepHard, Random
from tests.source import ROOT

KINDS = {"keep-hard": KeepHard, "keep-easy": KeepEasy, "random": Random}
LEMMAS = {"keep-hard": "lemma1", "keep-easy": "lemma2"}
CODE = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs/theory/derivations.md").read_text(), re.S))


@cache
def page():
    """What the page's code names."""
    scope = {}
    exec(CODE, scope)
    return scope


@cache
def function(name, arguments, modules="mpmath"):
    """An expression of the page as a function of these of its symbols; across and along stand for its sine and rho."""
    names = page() | {"across": sp.Symbol("across"), "along": sp.Symbol("along")}
    expression = page()[name]
    if "along" in arguments:
        expression = expression.subs([(page()["sine"], names["across"]), (page()["rho"], names["along"])])
    return sp.lambdify([names[each] for each in arguments.split()], expression, modules)


def printed_moments(kind, value, rho):
    """Lemmas 1 and 2 (p, gamma, beta, beta_tilde); at rho = ±1 next to it, where they are defined."""
    rho = rho * (1 - mp.mpf(10) ** -100)
    if kind == "random":
        return [value * x for x in function("plain", "c s rho")(mp.mpf(1), mp.sqrt(1 - rho**2), rho)]
    return function(LEMMAS[kind], "alpha rho")(value, rho)


def printed_theorem1(moments, rho, phi, lam, truth=None):
    """Theorem 1.

    truth: its cosines with the labeller's part across the pruner, and with the pruner, where it is not the labeller
    (Theorem 1 of 2511.03492).
    """
    p = moments[0]
    m = (phi - p - lam + mp.sqrt((p - phi + lam) ** 2 + 4 * phi * lam)) / (2 * phi * lam)
    known = *moments, *(truth or (mp.sqrt(1 - rho**2), rho)), phi, lam, m
    overlap, norm = (
        function(name, "p gamma beta beta_tilde across along phi lam m")(*known) for name in ("overlap", "norm")
    )
    return mp.acos(abs(overlap) / mp.sqrt(norm)) / mp.pi, overlap, norm
