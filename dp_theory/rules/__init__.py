"""The selection rules, a file each, and the registry `RULES` of those that have a name; see dp_theory.rules.base."""

from dp_base.errors import InputError
from dp_theory.numerics.checks import Real
from dp_theory.rules.base import RULES, Fourth, Moments, Rule
from dp_theory.rules.custom import Direct, SymmetricRule
from dp_theory.rules.entropy import Entropy
from dp_theory.rules.keep_easy import KeepEasy
from dp_theory.rules.keep_hard import KeepHard
from dp_theory.rules.random import KeepAll, Random

__all__ = ["RULES", "Direct", "Entropy", "Fourth", "KeepAll", "KeepEasy", "KeepHard", "Moments", "Random", "Rule",
           "SymmetricRule", "make_rule", "rule_names"]  # fmt: skip


def rule_names(holds: str) -> tuple[str, ...]:
    """Names of the rules whose class variable `holds` (swept, optimised) is true, in the registry's order."""
    return tuple(name for name, kind in RULES.items() if getattr(kind, holds))


def make_rule(name: str, *, keep: Real = None, **arguments: Real) -> Rule:
    """The rule called `name` from the one argument that fixes it: its own parameter, or the fraction that it keeps.

    arguments: alpha, omega or what else a rule has as its parameter, and options such as kappa, which rules without
    them ignore. None: not given. Raises InputError for an unknown name, for another argument and for values that the
    rule refuses; MissingError where the package of the rule cannot be loaded.
    """
    kind = _kind(name)
    given = {key: value for key, value in {**arguments, "keep": keep}.items() if value is not None}
    of_some = {option for _, other in RULES.items() for option in other.options}
    options = {key: given.pop(key) for key in of_some & given.keys()}
    options = {key: value for key, value in options.items() if key in kind.options}
    if kind.parameter is None and not given:
        return kind()
    if list(given) not in ([kind.parameter], ["keep"]):
        own = kind.parameter if kind.parameter != "keep" else None
        wanted = f"exactly one of {own} and keep" if own else "keep and nothing else"
        raise InputError(f"rule {name} takes {wanted}; given: {', '.join(given) or 'nothing'}")
    ((key, value),) = given.items()
    return kind.with_keep_fraction(value, **options) if key == "keep" else kind(**{key: value}, **options)


def _kind(name: str) -> type[Rule]:
    try:
        return RULES[name]
    except InputError:
        raise InputError(f"unknown rule '{name}': one of {', '.join(RULES)}") from None
