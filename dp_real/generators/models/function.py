"""A generator that asks a function for samples, and checks what it gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp_base.errors import InputError
from dp_real.examples import Task
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.text.codes import to_codes


class FunctionGenerator:
    """Samples of function(labels int64 [B], seeds uint64 [B]), numpy arrays both. name: begins errors.

    The function returns floats [B, *sample_shape], of numpy or torch, images in [-1, 1]; or B texts, each a str, which
    are cut to sample_shape. Row i must be a function of labels[i] and seeds[i] alone.
    """

    def __init__(
        self, function: Callable[[np.ndarray, np.ndarray], Any], name: str, task: Task, text: bool = False
    ) -> None:
        self.function, self.name, self.text = function, name, text
        self.sample_shape, self.n_classes = task.sample_shape, task.n_classes

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        """See Generator. Raises InputError for what the function raises, a wrong type, shape or range, and guidance."""
        if guidance is not None:
            raise InputError(f"{self.name} gives no gradient: its samples cannot be pushed")
        try:
            given = self.function(labels.numpy().copy(), seeds.copy())  # which it may change
        except (Exception, SystemExit) as error:  # it may raise anything
            raise InputError(f"{self.name} raised {type(error).__name__}: {error}; --debug shows where") from error
        return self._texts(given, len(labels)) if self.text else self._numbers(given, len(labels))

    def _texts(self, given: Any, count: int) -> Tensor:
        texts = list(given) if isinstance(given, list | tuple | np.ndarray) else []
        if len(texts) != count or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{self.name} gave no {count} texts for {count} labels: should be a list of str")
        return to_codes((text.strip() for text in texts), self.sample_shape[0])

    def _numbers(self, given: Any, count: int) -> Tensor:
        if not isinstance(given, np.ndarray | Tensor):
            raise InputError(f"{self.name} gave a {type(given).__name__}: should be an array of numpy or torch")
        shape = (count, *self.sample_shape)
        if tuple(given.shape) != shape:
            raise InputError(f"{self.name} gave shape {[*given.shape]} for {count} labels: should be {[*shape]}")
        floats = given.is_floating_point() if isinstance(given, Tensor) else given.dtype.kind == "f"
        if not floats:
            raise InputError(f"{self.name} gave {given.dtype}: should be floats, images in [-1, 1]")
        given = given.detach() if isinstance(given, Tensor) else torch.from_numpy(given.astype(np.float32))
        x = given.to("cpu", torch.float32, copy=True)
        beyond = x[x.isfinite() & (x.abs() > 1)] if len(shape) == 4 else x[:0]  # the others are redrawn, as anywhere
        if len(beyond):
            raise InputError(f"{self.name} gave values from {x.min():g} to {x.max():g}: should be in [-1, 1]")
        return x

    def rest(self) -> None:
        """See Generator. Nothing is held here."""
