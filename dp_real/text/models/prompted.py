import re
from typing import Any

import numpy as np

from dp_real.data import DataConfig
from dp_real.data.examples import RealData
from dp_real.generators import class_prompts
from dp_real.runtime.seeds import Stream, rng
from dp_real.text.codes import text_of

THOUGHT = "(?:think|thinking|thought|reasoning)>"  # ends the tags around a model's thought


class PromptedGenerator:
    """Writes texts of at most an example's number of characters. A row's seed selects its prompt and shots.

    An empty text is useless, and drawn again. Tokens are discrete, so there is no guidance: texts can only be selected.
    """

    def __init__(self, config: Any, source: DataConfig, data: RealData | None) -> None:
        """`config` is a language_models.PromptedConfig."""
        task = source.task
        self.config = config
        self.sample_shape = task.sample_shape
        self.n_classes = task.n_classes
        self.templates = class_prompts(config.prompts, task)
        self.shots = (data or source.load()).validation if config.shots else None

    def prompt(self, label: int, seed: int) -> str:
        prompt = self.templates[label][seed % len(self.config.prompts)]
        if self.shots is None:
            return prompt
        rows = rng(seed, Stream.CHOICE).permutation(np.flatnonzero(self.shots.y == label))[: self.config.shots]
        return prompt.replace("{examples}", "\n\n".join(text_of(self.shots.x[row : row + 1][0]) for row in rows))

    @staticmethod
    def strip_reasoning(text: str) -> str:
        """The part after the last thought; empty if a thought has no end."""
        after = re.split(f"(?i)</{THOUGHT}", text)[-1].strip()
        return "" if re.search(f"(?i)<{THOUGHT}", after) else after

    def cut(self, text: str) -> str:
        """The part before the first stop string."""
        return min((text.partition(stop)[0] for stop in self.config.stop), key=len, default=text).strip()
