"""Prompts as language models are asked by them, apart from the client of endpoints, which is an extra."""

from __future__ import annotations

from collections.abc import Sequence

from dp_real.examples import ExampleSet
from dp_real.runtime.seeds import Stream, rng
from dp_real.text.codes import to_texts

JUDGE = "{text}\n\nWhich of these is the text above?\n{classes}\nAnswer with the letter alone."
"""The question for the class of a text."""
NO_GUIDANCE = "tokens are discrete: they cannot be guided, but chosen among (guidance.candidates)"


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
