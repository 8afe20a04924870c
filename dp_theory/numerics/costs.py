"""What samples cost: the one model by which strategies are compared, in `sweep`, `optimum` and `scaling`.

A strategy says how training rows are made, an axis what is counted (ours, after the paper's sections 2 and 5).

    strategies  static   generates plain samples and trains on all of them
                prune    generates plain samples and trains on the share p that a rule keeps; it pays for all
                direct   draws from the distribution that the rule selects (guidance) and trains on every draw
    axes        generated  samples generated, plain or direct
                kept       training rows
                compute    generation and training together
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dp_theory.numerics.checks import require, require_in, require_number, require_one_of

AXES = ("generated", "kept", "compute")
STRATEGIES = ("static", "prune", "direct")

# The cost of an entropy-guided sample, in plain samples (paper, section 2).
DIRECT_COST = 1.82
# The cost of training on a row, in plain samples: our order of magnitude, since the paper gives none.
TRAINING_COST = 0.1
# The least kept fraction of any search: below it, moments lose their digits.
MIN_SEARCHED_KEEP = 1e-12
# The hardest selection considered: where candidates are free, nothing else bounds it.
MIN_KEEP = 0.002


def generated(strategy: str, kept: Any, p: Any) -> Any:
    """Samples generated for `kept` training rows."""
    return kept / p if strategy == "prune" else kept


def require_least_keep(**keep: float) -> None:
    """At least MIN_SEARCHED_KEEP, below 1."""
    require_in(f"[{MIN_SEARCHED_KEEP:g}, 1)", "it is the least kept fraction", **keep)


def require_costs(**costs: float) -> None:
    """Each is at least 0 and finite."""
    require_number(**costs)
    for name, cost in costs.items():
        require(name, cost, 0 <= cost < np.inf, "be at least 0 and finite")


def require_axis(x: str) -> None:
    """One of AXES."""
    require_one_of("x", x, AXES)


@dataclass(frozen=True)
class Costs:
    """The cost of a directly drawn sample and of training on a row, in plain samples."""

    direct: float = DIRECT_COST
    training: float = TRAINING_COST

    def sample(self, strategy: str) -> float:
        return self.direct if strategy == "direct" else 1.0

    def row(self, strategy: str, p: Any = 1.0) -> Any:
        """The cost of one training row; prune generates 1/p samples for it."""
        return self.training + generated(strategy, self.sample(strategy), p)

    def axes(self, strategy: str, generated: Any, kept: Any, first: Any = 0.0) -> dict[str, Any]:
        """What each axis counts; `first` samples are plain whatever the strategy."""
        generation = first + self.sample(strategy) * (generated - first)
        return {"generated": generated, "kept": kept, "compute": generation + self.training * kept}
