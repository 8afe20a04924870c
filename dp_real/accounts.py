"""What a run costs: seconds, samples, passes through the denoiser and FLOPs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp_base.errors import MissingError
from dp_real.batches import Loader
from dp_real.config import Config
from dp_real.distributed import from_main
from dp_real.protocols import Learner
from dp_real.rounds import Drawn, SampleDrawer
from dp_real.runtime.flops import count
from dp_real.runtime.seeds import row_seeds

HOUR = 3600  # seconds


@dataclass(frozen=True)
class GenerationCosts:
    """The costs of generating samples."""

    generated: int = 0  # samples, kept or not
    forwards: int = 0  # passes through the denoiser
    backwards: int = 0  # backward passes through the denoiser
    flops: int = 0
    redrawn: int = 0  # samples that were drawn in place of one of no use

    def __add__(self, other: GenerationCosts) -> GenerationCosts:
        return GenerationCosts(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


def price(config: Config, drawn: Drawn, flops: MeasuredFlops | None) -> GenerationCosts:
    """The costs of what one process drew for a round."""
    if not drawn.samples or flops is None:
        return GenerationCosts()
    guidance = config.guidance
    each = flops.guided if drawn.kind in ("guided", "chosen") else flops.plain
    # Only guidance through the denoiser needs its backward pass; the control needs no gradient.
    through = drawn.kind == "guided" and guidance.through == "unet" and guidance.control == "none"
    return GenerationCosts(
        generated=drawn.samples,
        forwards=drawn.samples * config.forwards,
        backwards=drawn.samples * len(config.guided_steps) if through else 0,
        flops=drawn.samples * each + drawn.rows * flops.soft_labels,
        redrawn=drawn.redrawn,
    )


@dataclass
class MeasuredFlops:
    """FLOPs of a plain sample, of a guided one (or a judged candidate), and of soft labels, each counted once.

    A count is 0 where counting does not fit: attention as separate products takes more memory than the fused kernel.
    """

    drawer: SampleDrawer
    learner: Learner

    @cached_property
    def plain(self) -> int:
        return self._count(self._draw)

    @cached_property
    def guided(self) -> int:
        label, seeds = self._row
        if self.drawer.config.guidance.candidates > 1:
            return self._count(lambda: self.drawer.chosen(self.learner, label, [seeds], 0.0))
        return self._count(lambda: self.drawer.draw(label, seeds, self.drawer.guide(self.learner, 0.0)))

    @cached_property
    def soft_labels(self) -> int:
        if not self.drawer.config.pool.soft_labels:
            return 0
        sample = self._draw()
        return self._count(lambda: self.drawer.posterior(sample))

    @property
    def _row(self) -> tuple[Tensor, np.ndarray]:
        return torch.zeros(1, dtype=torch.int64), row_seeds(self.drawer.config.seed, 0, range(1))

    def _draw(self) -> Tensor:
        return self.drawer.generator.sample(*self._row, None)

    def _count(self, work: Callable[[], object]) -> int:
        flops = 0
        with contextlib.suppress(MissingError):
            work()  # fills the generator's caches by its usual attention: that for counting rounds differently
            flops = count(work)
        self.drawer.generator.offload()
        return flops


class Clock:
    """A run's seconds over all its sessions."""

    def __init__(self, seconds: float) -> None:
        self._begin = time.monotonic() - seconds

    def advance(self, seconds: float) -> None:
        self._begin -= seconds

    def now(self) -> float:
        return time.monotonic() - self._begin

    def agreed(self) -> float:
        """By the main process's clock, in all processes."""
        return from_main(self.now())


class Pace:
    """Measures training between two evaluations; no part of a result."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self._begin: float | None = None  # None: no step was taken since the last evaluation
        self._seen = 0
        self._waited = 0.0

    def go(self, seen: int) -> None:
        """Begin, unless begun; called before each step with the rows that training has used."""
        if self._begin is None:
            self._begin = time.monotonic()
            self._seen = seen
            self._waited = self.loader.waited

    def stop(self, seen: int) -> dict[str, float]:
        """Rates over all processes, the share of waiting for rows, and a GPU's peak bytes, once all steps are done."""
        if self._begin is None:
            return {}
        seconds = max(time.monotonic() - self._begin, 1e-6)
        self._begin = None
        facts = {
            "images_per_second": (seen - self._seen) / seconds,
            "waiting_share": (self.loader.waited - self._waited) / seconds,
        }
        if torch.cuda.is_available():
            facts["gpu_memory"] = torch.cuda.max_memory_allocated()
        return facts


def line(row: Mapping[str, Any], pace: Mapping[str, float], last_step: int) -> str:
    """One line on where a run is; the time left is as the time so far, by steps."""
    parts = [
        f"step {row['step']:,} of {last_step:,}",
        f"accuracy {row['val_accuracy']:.1%}",
        f"pool {row['pool_size']:,}",
    ]
    if pace:
        parts.append(f"{pace['images_per_second']:,.0f} rows/s")
        parts.append(f"{pace['waiting_share']:.0%} of the time waiting for rows")
    if "gpu_memory" in pace:
        parts.append(f"{pace['gpu_memory'] / 1e9:.1f} GB of the GPU")
    if "gradient_norm" in pace:
        parts.append(f"gradient {pace['gradient_norm']:.3g}")
    left = row["seconds"] / row["step"] * (last_step - row["step"])
    parts.append(f"{left / HOUR:.1f} h left" if left >= HOUR else f"{left / 60:.0f} min left")
    return ", ".join(parts)
