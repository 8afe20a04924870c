"""The selection rules, a file each, and the registry `RULES` of those that have a name; see dp_theory.rules.base."""

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from typing import Any

from dp_base.errors import InputError
from dp_theory.numerics.checks import Real, require_kind
from dp_theory.rules.base import RULES, Fourth, Moments, Rule, kept_fraction
from dp_theory.rules.custom import Direct, SymmetricRule
from dp_theory.rules.entropy_rule import Entropy
from dp_theory.rules.keep_easy import KeepEasy
from dp_theory.rules.keep_hard import KeepHard
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
    "fields_of",
    "kept_fraction",
    "listed",
    "make_rule",
    "read_rule",
    "rule_names",
]


def rule_names(holds: str) -> tuple[str, ...]:
    """Rules whose class variable `holds` is true, in the registry's order."""
    return tuple(name for name, kind in RULES.items() if getattr(kind, holds))


def listed(rules: str | Sequence[str]) -> list[str]:
    """One name, or several."""
    require_kind("rules", rules, Iterable | Rule, "names of rules, such as keep-hard")
    return list(map(_text_of, [rules] if isinstance(rules, str | Rule) else rules))


def _text_of(rule: str | Rule) -> str:
    require_kind("rule", rule, str | Rule, "a name, such as keep-hard")
    return str(rule)


def fields_of(name: str) -> list[str]:
    """The rule's fields, and `keep` in place of the first."""
    names = [field.name for field in fields(RULES[name])]
    return [*names, "keep"] if names else []


def read_rule(rule: str, **given: Any) -> tuple[str, dict[str, Any]]:
    """The name in RULE@FIELD=VALUE@…, and its values as texts, besides those `given`."""
    name, *entries = (part.strip() for part in _text_of(rule).split("@"))
    values = {key: value for key, value in given.items() if value is not None}
    fields_taken = fields_of(name)
    for entry in entries:
        key, sign, value = (part.strip() for part in entry.partition("="))
        if not (key and sign):
            raise InputError(f"rule '{rule}': '{entry}' must read FIELD=VALUE, as in entropy@kappa=2")
        if key in values:
            raise InputError(f"rule '{rule}': {key} is given twice")
        values[key] = value
    for key in values:
        if key not in fields_taken:
            raise InputError(f"rule {name} has no {key}: it takes {' or '.join(fields_taken) or 'no parameter'}")
    return name, values


def make_rule(rule: str, **values: Real) -> Rule:
    """The rule that a name and its parameters stand for.

    Parameters
    ----------
    rule
        A name of RULES, or RULE@FIELD=VALUE@…, such as "entropy@omega=4@kappa=2".
    values
        Further fields of the rule, or `keep`: the kept fraction in (0, 1], in place of the first field. Those that are
        None do not count.

    Raises
    ------
    InputError
        For an unknown name, for what is no field of the rule, and for values that the rule refuses.
    MissingError
        Where the package of the rule cannot be loaded.

    Examples
    --------
    >>> make_rule("keep-hard", alpha=0.8)
    KeepHard(alpha=0.8)
    >>> make_rule("random@keep=0.2")
    Random(p=0.2)
    """
    name, texts = read_rule(rule, **values)
    given: dict[str, Any] = {}
    for key, value in texts.items():
        try:
            given[key] = float(value) if isinstance(value, str) else value
        except ValueError:
            raise InputError(f"rule '{rule}': {key} = '{value}' must be a number") from None
    kind = RULES[name]
    needed = [field.name for field in fields(kind) if field.default is MISSING]
    by_keep = "keep" in given
    if any(key not in given for key in needed[by_keep:]) or (by_keep and needed and needed[0] in given):
        listed = ", ".join(given) or "nothing"
        raise InputError(f"rule {name} takes exactly one of {needed[0]} and keep; given: {listed}")
    return kind.with_keep_fraction(given.pop("keep"), **given) if by_keep else kind(**given)
