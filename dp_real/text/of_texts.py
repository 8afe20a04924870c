"""What all sources of texts have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dp_base.errors import InputError
from dp_real.data import DataConfig

if TYPE_CHECKING:
    from torch import Tensor

    from dp_real.text.near import NearTexts


class OfTexts(DataConfig):
    """A source whose examples are texts, which are int32 [n, L] in memory (dp_real.text.codes)."""

    examples: ClassVar[str] = "texts"
    storages: ClassVar[tuple[str, ...]] = ("text",)
    has_likeness: ClassVar[bool] = True
    pipeline_tag: ClassVar[str] = "text-classification"

    def near(self, likeness: float) -> NearTexts:
        from dp_real.text.near import NearTexts

        return NearTexts(likeness)

    def as_samples(self, given: Any, count: int, giver: str) -> Tensor:
        """A list of str, which are cut to the length of this source."""
        from dp_real.text.codes import to_codes

        texts = list(given) if isinstance(given, list | tuple | np.ndarray) else []
        if len(texts) != count or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{giver} gave no {count} texts for {count} labels: should be a list of str")
        return to_codes((text.strip() for text in texts), self.task.sample_shape[0])
