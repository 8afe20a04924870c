"""The practice loop's training against a bare torch loop and transformers' Trainer, and its overhead.

All train the digits learner by AdamW on batches of 64 from the same 1,000 rows, in turn, in one thread; medians of CPU
time are printed. Overhead is a run's share outside generation, training steps, validation and checkpoints.
"""

import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from _timing import row
from dp_experiments.studies.digits.digits_runs import digits
from dp_experiments.terminal import progress
from torch import Tensor
from torch.nn import functional as F
from transformers.optimization import get_wsd_schedule
from transformers.trainer import Trainer
from transformers.training_args import TrainingArguments

from dp_real import run
from dp_real.config import Config
from dp_real.learners.models.network import NetworkLearner
from dp_real.practice import LoopState, Practice
from dp_real.runs.prepare import fresh_learner, load_generator

STEPS, REPEATS = 2000, 5


class Memory:
    """Each loop copies its mini-batches from the CPU to its module's device."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y, self.newest, self.in_memory = x, y, len(y), True

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"x": self.x[row], "labels": self.y[row]}

    def minibatch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.x[rows], self.y[rows]


def practice_loop(config: Config, rows: Memory) -> None:
    unused: Any = None
    pool: Any = rows
    practice = Practice(config, fresh_learner(config), pool, unused, unused, LoopState(STEPS))
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


class WithLoss(torch.nn.Module):
    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(self.module(x), labels)}


def trainer_loop(config: Config, rows: Memory) -> None:
    learner = fresh_learner(config)
    assert isinstance(learner, NetworkLearner)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=STEPS,
            per_device_train_batch_size=config.training.batch_size,
            use_cpu=learner.device.type == "cpu",
            learning_rate=config.training.learning_rate,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            optim="adamw_torch_fused",
            max_grad_norm=0.0,
            dataloader_pin_memory=False,
        )
        Trainer(model=WithLoss(learner.module), args=arguments, train_dataset=rows).train()  # pyrefly: ignore[bad-argument-type]


def compare_loops(config: Config) -> None:
    labels = torch.arange(1000) % 10
    x = torch.rand(1000, *config.task.sample_shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows = Memory(x, labels)
    rivals = {"practice loop": practice_loop, "bare torch loop": bare_loop, "transformers Trainer": trainer_loop}
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(REPEATS):
        for name, loop in rivals.items():
            begin = time.process_time()
            loop(config, rows)
            seconds[name].append(time.process_time() - begin)
    ours = statistics.median(seconds["practice loop"])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:22s}{STEPS / median:8.0f} steps/s   practice loop / this: {median / ours:.2f}")
        if values is not seconds["practice loop"]:
            row(
                f"practice loop's steps against {name}",
                f"{STEPS / ours:.0f}/s",
                f"{STEPS / median:.0f}/s",
                median / ours,
            )


def overhead(config: Config) -> None:
    """The timers themselves count as part of the rest."""
    parts: list[tuple[Any, str]] = [
        (Practice, "run"),
        (Practice, "add_examples"),
        (NetworkLearner, "train_step"),
        (Practice, "evaluate"),
        (Practice, "checkpoint"),
    ]
    spent = {name: timed(owner, name) for owner, name in parts}
    with tempfile.TemporaryDirectory() as folder:
        run(config, Path(folder) / "run")
    whole = sum(spent.pop("run"))
    for name, seconds in spent.items():
        print(f"{name:22s}{sum(seconds) / whole:8.1%} of the loop")
    rest = 1 - sum(map(sum, spent.values())) / whole
    print(f"{'the rest':22s}{rest:8.1%}   (aim: at most 5 %)")
    row("overhead of the practice loop", f"{rest:.1%}", "5 %", rest / 0.05)


def timed(owner: Any, name: str) -> list[float]:
    """Each call appends its CPU seconds to the returned list."""
    method, seconds = getattr(owner, name), []

    def call(*arguments: Any, **options: Any) -> Any:
        begin = time.process_time()
        try:
            return method(*arguments, **options)
        finally:
            seconds.append(time.process_time() - begin)

    setattr(owner, name, call)
    return seconds


def main() -> None:
    torch.set_num_threads(1)
    compare_loops(digits(f"training.steps={STEPS}"))
    load_generator(digits(), progress=progress)  # trained before the clock runs
    overhead(digits())


if __name__ == "__main__":
    main()
