"""A generator that asks a function for samples, and checks what the function gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64, UInt64
from torch import Tensor

from dp_base.errors import InputError
from dp_real.codes import to_codes
from dp_real.examples import Task
from dp_real.guidance.entropy import EntropyGuidance


class FunctionGenerator:
    """A Generator: samples of function(labels, seeds).

    Parameters
    ----------
    function
        Takes labels int64 [batch] and seeds uint64 [batch], both of numpy. It returns floats [batch, *sample_shape] of
        numpy or torch, images in [-1, 1]; or a list of texts, which are cut to sample_shape. Row i must be a function
        of labels[i] and seeds[i] alone.
    name
        Of the function, with which errors begin.
    task
        What the samples are of.
    text
        Whether the function returns texts.
    """

    def __init__(
        self, function: Callable[[np.ndarray, np.ndarray], Any], name: str, task: Task, text: bool = False
    ) -> None:
        self.function = function
        self.name = name
        self.text = text
        self.sample_shape = task.sample_shape
        self.n_classes = task.n_classes

    def sample(
        self,
        labels: Int64[Tensor, " batch"],
        seeds: UInt64[np.ndarray, " batch"],
        guidance: EntropyGuidance | None,
    ) -> Float32[Tensor, "batch *sample"] | Int32[Tensor, "batch characters"]:
        """See Generator.

        Raises
        ------
        InputError
            For what the function raises, for a wrong type, shape or range, and if guidance is asked for.
        """
        if guidance is not None:
            raise InputError(f"{self.name} gives no gradient: its samples cannot be guided")
        try:
            given = self.function(labels.numpy().copy(), seeds.copy())  # which it may change
        except (Exception, SystemExit) as error:  # it may raise anything
            raise InputError(f"{self.name} raised {type(error).__name__}: {error}; --debug shows where") from error
        return self._texts(given, len(labels)) if self.text else self._numbers(given, len(labels))

    def _texts(self, given: Any, count: int) -> Int32[Tensor, "batch characters"]:
        """What the function gave as `count` texts. Raises InputError if that is something else."""
        texts = list(given) if isinstance(given, list | tuple | np.ndarray) else []
        if len(texts) != count or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{self.name} gave no {count} texts for {count} labels: should be a list of str")
        return to_codes((text.strip() for text in texts), self.sample_shape[0])

    def _numbers(self, given: Any, count: int) -> Float32[Tensor, "batch *sample"]:
        """What the function gave as `count` samples. Raises InputError if that is something else."""
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

    def offload(self) -> None:
        """See Generator. Nothing is held here."""
