"""The selection rules by name."""

from dp_base.errors import InputError
from dp_theory.checks import Real
from dp_theory.rules.base import Moments, Rule
from dp_theory.rules.custom import Direct, SymmetricRule
from dp_theory.rules.entropy import Entropy
from dp_theory.rules.keep_easy import KeepEasy
from dp_theory.rules.keep_hard import KeepHard
from dp_theory.rules.random import KeepAll, Random

__all__ = ["RULES", "Direct", "Entropy", "KeepAll", "KeepEasy", "KeepHard", "Moments", "Random", "Rule",
           "SymmetricRule", "make_rule"]  # fmt: skip

RULES: dict[str, type[Rule]] = {
    "keep-hard": KeepHard,
    "keep-easy": KeepEasy,
    "keep-all": KeepAll,
    "random": Random,
    "entropy": Entropy,
}


def make_rule(name: str, *, alpha: Real = None, keep: Real = None, omega: Real = None, kappa: Real = 1.0) -> Rule:
    """The rule called `name` from the parameter that fixes it: alpha or keep, for entropy omega or keep."""
    if name not in RULES:
        raise InputError(f"unknown rule '{name}': one of {', '.join(RULES)}")
    own = {"keep-hard": "alpha", "keep-easy": "alpha", "entropy": "omega"}.get(name)
    given = {"alpha": alpha, "keep": keep, "omega": omega}
    named = [key for key, value in given.items() if value is not None]
    if name == "keep-all" and not named:
        return KeepAll()
    if named not in ([own], ["keep"]):
        wanted = f"exactly one of {own} and keep" if own else "keep and nothing else"
        raise InputError(f"rule {name} takes {wanted}; given: {', '.join(named) or 'nothing'}")
    if name == "entropy":
        return Entropy(omega, kappa) if omega is not None else Entropy.with_keep_fraction(keep, kappa)
    return RULES[name].with_keep_fraction(keep) if alpha is None else RULES[name](alpha)  # pyright: ignore[reportCallIssue]  # alpha is for keep-hard and keep-easy only
