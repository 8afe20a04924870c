"""What all language models that are asked by prompts have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from dp_base.errors import InputError
from dp_real.examples import ExampleSet
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime.seeds import Stream, rng
from dp_real.text.codes import to_texts

JUDGE = "{text}\n\nWhich of these is the text above?\n{classes}\nAnswer with the letter alone."
"""The question for the class of a text."""


class Prompts:
    """Prompts of each class, with `shots` real examples of it, of the set `shown`."""

    def __init__(self, templates: Sequence[Sequence[str]], shown: ExampleSet | None, shots: int) -> None:
        self.templates = templates
        self.shown = shown
        self.shots = shots
        classes = range(len(templates))
        self.members = [] if shown is None else [(shown.y == label).nonzero()[:, 0] for label in classes]

    def __len__(self) -> int:
        return len(self.templates)

    def of(self, label: int, seed: int, pick: int | None = None) -> str:
        """The seed picks the prompt if `pick` is None."""
        several = self.templates[label]
        prompt = several[seed % len(several) if pick is None else pick]
        if self.shown is None:
            return prompt
        rows = self.members[label]
        chosen = rng(seed, Stream.CHOICE).permutation(len(rows))[: self.shots]
        texts = [to_texts(self.shown.x[row : row + 1])[0] for row in rows[chosen].tolist()]
        return prompt.replace("{examples}", "\n\n".join(texts))


class AskedGenerator:
    """Texts of at most `length` characters; a row's seed picks its prompt and its examples."""

    config: Any  # the section of a kind, an AskedConfig

    def __init__(self, prompts: Prompts, length: int) -> None:
        self.prompts = prompts
        self.sample_shape = (length,)
        self.n_classes = len(prompts)

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        """Codes int32 [B, L]; an empty text is of no use, and drawn again."""
        if guidance is not None:
            raise InputError("tokens are discrete: they cannot be guided, but chosen among (guidance.candidates)")
        return self.written(labels, seeds)

    def written(self, labels: Tensor, seeds: np.ndarray) -> Tensor:
        raise NotImplementedError

    def turns(self, prompt: str) -> list[dict[str, str]]:
        """A chat of the prompt alone."""
        return [{"role": "user", "content": prompt}]

    def cut(self, text: str) -> str:
        """What is before the first stop string."""
        ends = [text.find(stop) for stop in self.config.stop if stop in text]
        return text[: min(ends, default=len(text))].strip()

    def offload(self) -> None:
        """Make room on the device, if any is held."""
