"""The loop in which small generators are trained."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dp_real.runtime.computing import require_finite

LOOKED_AT_EVERY = 100  # steps, since checking a loss waits for the device


class Training:
    """Steps of AdamW, whose `rate` falls to 0 by a cosine, or is multiplied by `factor` of the step.

    DivergedError, with the `remedy`, if losses or weights of `what` are not finite.
    """

    def __init__(
        self,
        what: str,
        remedy: str,
        module: nn.Module,
        steps: int,
        rate: float,
        factor: Callable[[int], float] | None = None,
        **options: Any,
    ) -> None:
        self.what, self.remedy, self.module, self.total = what, remedy, module, steps
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=rate, fused=True, **options)
        schedules = torch.optim.lr_scheduler
        self.schedule: torch.optim.lr_scheduler.LRScheduler = (
            schedules.LambdaLR(self.optimizer, factor) if factor else schedules.CosineAnnealingLR(self.optimizer, steps)
        )

    def steps(self, advance: Callable[[int], None]) -> Iterator[int]:
        """The steps, from 0. Calls advance(1) after each."""
        for step in range(self.total):
            yield step
            advance(1)
            done = step + 1
            if done % LOOKED_AT_EVERY == 0 or done == self.total:
                require_finite(f"training {self.what}: step {done}: losses", self.remedy, [self.loss])
        require_finite(f"weights of {self.what}", self.remedy, self.module.state_dict().values())

    def backward(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.loss = loss.detach()

    def update(self, longest: float | None = None) -> None:
        """A step along the gradient, which is clipped to the norm `longest`."""
        if longest is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), longest)
        self.optimizer.step()
        self.schedule.step()
