"""A CLIP as judge of labels: it compares images with the prompts of the classes (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.auto.modeling_auto import AutoModel
from transformers.models.auto.tokenization_auto import AutoTokenizer

from dp_base.errors import InputError
from dp_real.learners.models.classifier import Classifier, normalisation
from dp_real.runtime.hub import load, no_code_of, reading
from dp_real.runtime.processes import device


class ZeroShot(nn.Module):
    """Pixels as the model expects them -> `logits` [B, K]: the cosines of an image and the prompts of each class."""

    classes: Tensor

    def __init__(self, model: Any, classes: Tensor) -> None:
        """classes: a unit vector for each class, [K, D]."""
        super().__init__()
        self.model = model
        self.register_buffer("classes", classes)

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        """As a classifier of transformers answers."""
        images = self.model.get_image_features(pixel_values=pixel_values).pooler_output
        return SimpleNamespace(logits=F.normalize(images, dim=-1) @ self.classes.T)


@dataclass(frozen=True)
class Clip:
    """A Judge: e_c is minus the cosine of a sample and class c. No noise is drawn."""

    classifier: Classifier

    @classmethod
    @torch.no_grad()
    def load(cls, model: str, prompts: Sequence[Sequence[str]]) -> Clip:
        """Load a CLIP, or another model that has its two towers, from a folder or the hub.

        prompts: of each class; the unit vectors of several are averaged. Raises MissingError if a file is missing,
        InputError if it is no such model.
        """
        loaded = load(AutoModel, model).eval().requires_grad_(False)
        if not hasattr(loaded, "get_image_features") or not hasattr(loaded, "get_text_features"):
            raise InputError(
                f"guidance.check_model = {model!r}: no CLIP, but a model of type {loaded.config.model_type}"
            )
        with reading(model, "a CLIP's tokenizer") as local, no_code_of(model):
            tokenizer: Any = AutoTokenizer.from_pretrained(model, local_files_only=local, trust_remote_code=False)
        longest = loaded.config.text_config.max_position_embeddings
        classes = []
        for several in prompts:
            tokens = tokenizer(
                list(several), padding="max_length", max_length=longest, truncation=True, return_tensors="pt"
            )
            text = loaded.get_text_features(**tokens.to(device())).pooler_output
            classes.append(F.normalize(F.normalize(text, dim=-1).mean(0), dim=-1))
        size = loaded.config.vision_config.image_size
        return cls(Classifier(ZeroShot(loaded, torch.stack(classes)), size, *normalisation(model)).to(device()))

    @torch.no_grad()
    def errors(self, x: Tensor, classes: Sequence[Tensor], seeds: np.ndarray) -> Tensor:
        """See Judge."""
        cosines = self.classifier(x.to(device())).double().cpu()
        return -cosines.gather(1, torch.stack(list(classes), dim=1))
