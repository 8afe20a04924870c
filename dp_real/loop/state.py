"""All that changes in a run, beside the learner's tensors and the pool's rows. The practice loop alone writes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from dp_real.rounds.costs import Costs
from dp_real.rounds.steering import PUSH_START, Steering


@dataclass
class State:
    """Where a run stands. Seconds are of the clock, without the time in which an interrupted run did not run."""

    last_step: int  # where training ends; the cool-down ends with it
    step: int = 0
    rounds: int = 0  # in the pool, the initial one included
    stale: int = 0  # T: evaluations since the validation accuracy last rose or data was last added
    best: float = -1.0  # validation accuracy
    push: float = PUSH_START  # steering of the next round
    costs: Costs = field(default_factory=Costs)  # of generation
    seen: int = 0  # rows that training has used, with repeats, over all processes
    epoch: float = 0.0  # passes over the pool as it was at each step
    seconds: float = 0.0
    generation_seconds: float = 0.0
    training_seconds: float = 0.0  # all but generation, until data was last added
    training_flops: int = 0  # likewise
    temperature: float = 0.0  # steering of the next round

    @property
    def steering(self) -> Steering:
        """Of the next round."""
        return Steering(self.push, self.temperature)

    @steering.setter
    def steering(self, steering: Steering) -> None:
        self.push, self.temperature = steering

    def record(self) -> dict[str, Any]:
        """As JSON has it; `restored` takes it back."""
        return asdict(self)

    @classmethod
    def restored(cls, record: dict[str, Any]) -> State:
        """The state of a checkpoint."""
        fields: dict[str, Any] = record | {"costs": Costs(**record["costs"])}
        return cls(**fields)
