"""A generator that asks a function for samples, and checks what the function gives."""

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt64
from torch import Tensor

from dp_base.errors import InputError, MissingError
from dp_real.examples import Task, as_numbers
from dp_real.guidance.entropy import EntropyGuidance

log = logging.getLogger(__name__)

WAITS = (1.0, 4.0, 16.0)
"""Seconds before a service that could not be reached is asked again."""


class FunctionGenerator:
    """A Generator: samples of function(labels, seeds).

    The function takes labels int64 [batch] and seeds uint64 [batch] of numpy. It returns floats [batch, *sample_shape]
    of numpy or torch, images in [-1, 1], or what else `as_samples` takes. Row i must be a function of labels[i] and
    seeds[i] alone.

    `as_samples` makes samples of what was returned for a number of labels, or raises InputError. Its last argument is
    `name`, with which errors begin.
    """

    def __init__(
        self,
        function: Callable[[np.ndarray, np.ndarray], Any],
        name: str,
        task: Task,
        as_samples: Callable[[Any, int, str], Tensor] | None = None,
    ) -> None:
        self.function = function
        self.name = name
        self.as_samples = as_samples or self._as_numbers
        self.sample_shape = task.sample_shape
        self.n_classes = task.n_classes

    def sample(
        self,
        labels: Int64[Tensor, " batch"],
        seeds: UInt64[np.ndarray, " batch"],
        guidance: EntropyGuidance | None,
    ) -> Float32[Tensor, "batch *sample"] | Int32[Tensor, "batch characters"]:
        """Raises InputError for what the function raises, for a wrong type, shape or range, and for guidance.

        Raises MissingError if the function raises ConnectionError or TimeoutError four times in a row.
        """
        if guidance is not None:
            raise InputError(f"{self.name} gives no gradient: its samples cannot be guided")
        return self.as_samples(self._asked(labels, seeds), len(labels), self.name)

    def _asked(self, labels: Tensor, seeds: np.ndarray) -> Any:
        """A service that cannot be reached is asked again, after longer and longer waits."""
        for wait in (*WAITS, None):
            try:
                return self.function(labels.numpy().copy(), seeds.copy())  # which it may change
            except (ConnectionError, TimeoutError) as error:
                if wait is None:
                    raise MissingError(
                        f"{self.name} raised {type(error).__name__} {len(WAITS) + 1} times: {error}; nothing is lost: "
                        "dp real resume goes on when it answers"
                    ) from error
                log.warning("%s raised %s: %s; again in %g s", self.name, type(error).__name__, error, wait)
                time.sleep(wait)
            except (Exception, SystemExit) as error:  # it may raise anything
                raise InputError(f"{self.name} raised {type(error).__name__}: {error}; --debug shows where") from error
        raise AssertionError("the last attempt returns or raises")

    def _as_numbers(self, given: Any, count: int, name: str) -> Float32[Tensor, "batch *sample"]:
        return as_numbers(given, (count, *self.sample_shape), name)

    def offload(self) -> None:
        """Nothing is held here."""
