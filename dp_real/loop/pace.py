"""How fast a run trains, for the line that its log has of each evaluation. None of it is part of a result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from dp_real.loop.state import LoopState
from dp_real.pool import Loader

HOUR = 3600  # seconds


class Pace:
    """Measures training between two evaluations.

    Parameters
    ----------
    loader
        Of the training.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self._begin: float | None = None  # None: no step was taken since the last evaluation
        self._seen = 0
        self._waited = 0.0

    def go(self, state: LoopState) -> None:
        """Begin to measure, unless it has begun. Called before each step."""
        if self._begin is None:
            self._begin = time.monotonic()
            self._seen = state.seen
            self._waited = self.loader.waited

    def stop(self, state: LoopState) -> dict[str, float]:
        """End a measurement. Called once the device has done all steps.

        Parameters
        ----------
        state
            As it is now.

        Returns
        -------
        dict[str, float]
            `images_per_second` over all processes; `waiting_share`, of the time, for rows; and `gpu_memory`, the most
            bytes that were in use so far, if there is a GPU.
        """
        if self._begin is None:
            return {}
        seconds = max(time.monotonic() - self._begin, 1e-6)
        self._begin = None
        facts = {
            "images_per_second": (state.seen - self._seen) / seconds,
            "waiting_share": (self.loader.waited - self._waited) / seconds,
        }
        if torch.cuda.is_available():
            facts["gpu_memory"] = torch.cuda.max_memory_allocated()
        return facts


def line(row: Mapping[str, Any], pace: Mapping[str, float], last_step: int) -> str:
    """Say in one line where a run is.

    Parameters
    ----------
    row
        Of metrics.jsonl.
    pace
        What `Pace.stop` returned, and `gradient_norm` if it is known.
    last_step
        Of the run. The time left is as the time so far, by steps.

    Returns
    -------
    str
        The line.
    """
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
