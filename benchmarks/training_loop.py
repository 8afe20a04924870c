"""The practice loop's training against a bare torch loop, and its overhead.

Both train the digits learner by AdamW on batches of 64 from the same 1,000 rows, in turn, in one thread, by
CPU time. Overhead is a run's share outside generation, training steps, validation and checkpoints.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _timing import row, seconds
from dp_experiments.presets.presets import load_preset
from torch import Tensor
from torch.nn import functional as F
from transformers.optimization import get_wsd_schedule

from dp_real import run
from dp_real.config import Config
from dp_real.learners.models.network import NetworkLearner
from dp_real.runs.loop import LoopState, TrainingLoop
from dp_real.runs.prepare import fresh_learner, load_generator

STEPS = 2000


class Memory:
    """Each loop copies its mini-batches from the CPU to its module's device."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y, self.newest, self.in_memory = x, y, len(y), True

    def __len__(self) -> int:
        return len(self.y)

    def minibatch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.x[rows], self.y[rows]


def practice_loop(config: Config, rows: Memory) -> None:
    pool: Any = rows
    unused: Any = None
    data = config.data.load()
    practice = TrainingLoop(config, pool, LoopState(STEPS), None, fresh_learner(config), data, unused)
    for _ in range(STEPS):
        practice.train_step()


def bare_loop(config: Config, rows: Memory) -> None:
    learner = fresh_learner(config)
    assert isinstance(learner, NetworkLearner)
    module, options = learner.module.train(), config.training
    optimizer = torch.optim.AdamW(module.parameters(), lr=options.learning_rate, weight_decay=0.0, fused=True)
    schedule = get_wsd_schedule(optimizer, options.warmup_steps, options.cooldown_steps, STEPS)
    draw = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        chosen = torch.randint(len(rows), (options.batch_size,), generator=draw)
        x = rows.x[chosen].to(learner.device)
        y = rows.y[chosen].to(learner.device)
        loss = F.cross_entropy(module(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()


def compare_loops(config: Config) -> None:
    labels = torch.arange(1000) % 10
    x = torch.rand(1000, *config.task.sample_shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows = Memory(x, labels)
    ours, bare = seconds(lambda: practice_loop(config, rows), lambda: bare_loop(config, rows))
    row("practice loop's steps", f"{STEPS / ours:.0f}/s", f"bare torch loop {STEPS / bare:.0f}/s", bare / ours)


def overhead(config: Config) -> None:
    """The timers themselves count as part of the rest."""
    whole = timed(TrainingLoop, "run")
    parts = [timed(TrainingLoop, name) for name in ("add_examples", "evaluate", "checkpoint")]
    parts.append(timed(NetworkLearner, "train_step"))
    with tempfile.TemporaryDirectory() as folder:
        run(config, Path(folder) / "run")
    rest = 1 - sum(map(sum, parts)) / sum(whole)
    row("overhead of the practice loop", f"{rest:.1%}", "5 %", rest / 0.05)


def timed(owner: Any, name: str) -> list[float]:
    """Each call appends its CPU seconds to the returned list."""
    method, times = getattr(owner, name), []

    def call(*arguments: Any, **options: Any) -> Any:
        begin = time.process_time()
        try:
            return method(*arguments, **options)
        finally:
            times.append(time.process_time() - begin)

    setattr(owner, name, call)
    return times


def main() -> None:
    torch.set_num_threads(1)
    compare_loops(load_preset("digits", [f"training.steps={STEPS}"]))
    load_generator(load_preset("digits"))  # trained before the clock runs
    overhead(load_preset("digits"))


if __name__ == "__main__":
    main()
