from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from dp_real.generators import class_prompts
from dp_real.guidance import EntropyGuidance
from dp_real.runtime.seeds import Stream, rng
from dp_real.text.codes import text_of

if TYPE_CHECKING:
    from dp_real.data import DataConfig
    from dp_real.examples import RealData


class AskedGenerator:
    """Writes texts no longer than an example; a row's seed picks its prompt and shots."""

    def __init__(self, config: Any, source: DataConfig, data: RealData | None) -> None:
        """`config` is a section of language_models.AskedConfig."""
        task = source.task
        self.config = config
        self.sample_shape = task.sample_shape
        self.n_classes = task.n_classes
        self.templates = class_prompts(config.prompts, task.classes, task.definitions, task.synonyms)
        self.shown = (data or source.load()).validation if config.shots else None

    def prompt(self, label: int, seed: int, pick: int | None = None) -> str:
        """The seed picks the template if `pick` is None."""
        several = self.templates[label]
        prompt = several[seed % len(several) if pick is None else pick]
        if self.shown is None:
            return prompt
        rows = (self.shown.y == label).nonzero()[:, 0]
        chosen = rng(seed, Stream.CHOICE).permutation(len(rows))[: self.config.shots]
        texts = [text_of(self.shown.x[row : row + 1][0]) for row in rows[chosen].tolist()]
        return prompt.replace("{examples}", "\n\n".join(texts))

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        """Codes int32 [B, L]; an empty text is drawn again.

        Tokens are discrete: there is no guidance, one can only choose among texts.
        """
        raise NotImplementedError

    def cut(self, text: str) -> str:
        ends = [text.find(stop) for stop in self.config.stop if stop in text]
        return text[: min(ends, default=len(text))].strip()

    def offload(self) -> None:
        """Make room on the device, if any is held."""
