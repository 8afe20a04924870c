"""The selection rules, a file each, and the registry `RULES` of those that have a name; see dp_theory.rules.base."""

from dp_base.errors import InputError
from dp_theory.numerics.checks import Real
from dp_theory.rules.base import RULES, Rule, kept_fraction
from dp_theory.rules.custom import Direct, SymmetricRule
from dp_theory.rules.entropy_rule import Entropy
from dp_theory.rules.keep_easy import KeepEasy
from dp_theory.rules.keep_hard import KeepHard
from dp_theory.rules.moments import Fourth, Moments
from dp_theory.rules.random import KeepAll, Random

__all__ = [
    "RULES",
    "Direct",
    "Entropy",
    "Fourth",
    "KeepAll",
    "KeepEasy",
    "KeepHard",
    "Moments",
    "Random",
    "Rule",
    "SymmetricRule",
    "kept_fraction",
    "make_rule",
    "rule_names",
]


def rule_names(holds: str) -> tuple[str, ...]:
    """Names of the rules whose class variable `holds` (swept or optimised) is true, in the registry's order."""
    return tuple(name for name, kind in RULES.items() if getattr(kind, holds))


def make_rule(name: str, *, keep: Real = None, **arguments: Real) -> Rule:
    """The rule called `name`, from the one argument that fixes it.

    Parameters
    ----------
    name
        A name of RULES.
    keep
        The fraction of the rows that the rule keeps.
    arguments
        The rule's own parameter (alpha, omega, …) instead of `keep`, and options such as kappa. Options that other
        rules have are ignored, and so is an argument that is None.

    Raises
    ------
    InputError
        For an unknown name, for other arguments, and for values that the rule refuses.
    MissingError
        Where the package of the rule cannot be loaded.

    Examples
    --------
    >>> make_rule("keep-hard", alpha=0.8)
    KeepHard(alpha=0.8)
    >>> make_rule("random", keep=0.2)
    Random(p=0.2)
    """
    kind = _kind(name)
    given = {key: value for key, value in {**arguments, "keep": keep}.items() if value is not None}
    options_of_all = {option for _, other in RULES.items() for option in other.options}
    options = {key: given.pop(key) for key in options_of_all & given.keys()}
    options = {key: value for key, value in options.items() if key in kind.options}
    if kind.parameter is None and not given:
        return kind()
    if list(given) not in ([kind.parameter], ["keep"]):
        own = kind.parameter if kind.parameter != "keep" else None
        wanted = f"exactly one of {own} and keep" if own else "keep and nothing else"
        raise InputError(f"rule {name} takes {wanted}; given: {', '.join(given) or 'nothing'}")
    ((key, value),) = given.items()
    if key == "keep":
        return kind.with_keep_fraction(value, **options)
    return kind(**{key: value}, **options)


def _kind(name: str) -> type[Rule]:
    try:
        return RULES[name]
    except InputError:
        raise InputError(f"unknown rule '{name}': one of {', '.join(RULES)}") from None
