"""All that changes in a run, apart from the learner's tensors and the pool's rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from dp_real.rounds.drawing_costs import GenerationCosts
from dp_real.rounds.steering import INITIAL_TOTAL

NO_ACCURACY = -1.0  # the best validation accuracy before any was measured


@dataclass
class LoopState:
    """The progress of a run. Seconds are wall time, without the time between an interruption and resuming."""

    last_step: int  # where training and the cool-down end
    step: int = 0
    rounds: int = 0  # in the pool, the initial one included
    stale: int = 0  # T: evaluations since the validation accuracy last rose or data was last added
    best: float = NO_ACCURACY  # validation accuracy
    total_guidance: float = INITIAL_TOTAL  # of the next round's first rows
    costs: GenerationCosts = field(default_factory=GenerationCosts)
    seen: int = 0  # rows that training has used, with repeats, over all processes
    epoch: float = 0.0  # passes over the pool as it was at each step
    seconds: float = 0.0
    generation_seconds: float = 0.0
    training_seconds: float = 0.0  # until data was last added; all but generation
    training_flops: int = 0  # until data was last added

    def record(self) -> dict[str, Any]:
        """The state as values for JSON; `restored` reads them."""
        return asdict(self)

    @classmethod
    def restored(cls, record: dict[str, Any]) -> LoopState:
        """The state from such a record."""
        fields: dict[str, Any] = record | {"costs": GenerationCosts(**record["costs"])}
        return cls(**fields)
