"""A selection rule for the theory: rows are kept in proportion to a bell about the selector's boundary.

`keep_probability` is all that theory and simulation need. Moments are found by quadrature unless the rule has its own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dp_theory.rules import RULES, Rule


@dataclass(frozen=True)
class Bell(Rule):
    """Keeps a row with probability exp(-alpha·t²/2), where t is its score."""

    help, swept = "rows in proportion to exp(-alpha·t²/2)", True
    alpha: Any

    def keep_probability(self, t: Any) -> Any:
        """The probability q(t); it may not depend on the sign of t."""
        return np.exp(-np.asarray(self.alpha) * t**2 / 2)

    @classmethod
    def with_keep_fraction(cls, p: Any) -> "Bell":
        """The rule that keeps the fraction p, which solves p = E q(G) = (1 + alpha)^-1/2."""
        return cls(np.asarray(p) ** -2.0 - 1)


RULES.register("bell", Bell)
