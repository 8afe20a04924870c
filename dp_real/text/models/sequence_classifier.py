"""Sequence classifiers of transformers."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, ByT5Tokenizer
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as ARCHITECTURES,
)

from dp_real.data.examples import Task
from dp_real.learners.models.architectures import class_names, fresh_network, is_of_head
from dp_real.runtime.hub import load, load_tokenizer, save
from dp_real.text.codes import TEXT_BATCH_SIZE, texts_of

UNLIMITED = 2**31  # tokens of a text, where positions are relative


class SequenceClassifier(nn.Module):
    """Texts [B, L], cut to `max_tokens` tokens, -> logits [B, K].

    Zeros in floats stand for a text of `max_tokens` tokens, to count costs.
    """

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.options = tokenizer_options(model, max_tokens)
        self.max_tokens = tokenizer.model_max_length = self.options["max_length"]  # also where others load it

    def forward(self, x: Tensor) -> Tensor:
        """Logits. Without gradients, texts of similar length are computed together, with less padding."""
        if x.is_floating_point():
            tokens = torch.zeros(len(x), self.max_tokens, dtype=torch.int64, device=self.model.device)
            tokens[:, -1] = self.tokenizer.eos_token_id or 0  # the token that BART and similar models use
            return self.model(input_ids=tokens).logits
        if torch.is_grad_enabled() or len(x) <= TEXT_BATCH_SIZE:
            return self._read(x)
        shortest_first = (x != 0).sum(1).argsort(stable=True)
        logits = torch.cat([self._read(x[rows]) for rows in shortest_first.split(TEXT_BATCH_SIZE)])
        return logits[shortest_first.argsort()]

    def _read(self, x: Tensor) -> Tensor:
        tokens = self.tokenizer(texts_of(x), return_token_type_ids=False, **self.options)
        return self.model(**tokens.to(self.model.device)).logits

    def save(self, folder: Path, task: Task) -> None:
        """Save model and tokenizer for AutoModelForSequenceClassification and AutoTokenizer."""
        save(self.model, folder)
        self.tokenizer.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        self.model.load_state_dict(load(AutoModelForSequenceClassification, str(folder)).state_dict())


def tokenizer_options(model: Any, max_tokens: int) -> dict[str, Any]:
    """How texts are cut to `max_tokens` and the model's limit, and padded where this changes no logits."""
    config: Any = getattr(model, "config", None)
    positions = max(0, getattr(config, "max_position_embeddings", None) or 0) or UNLIMITED  # XLNet says -1
    parts = model.named_modules() if isinstance(model, nn.Module) else ()
    paddings = (getattr(part, "padding_idx", None) for name, part in parts if name.endswith(".position_embeddings"))
    offset = max((1 + index for index in paddings if index is not None), default=0)  # RoBERTa's begin behind it
    side = "left" if getattr(config, "summary_type", "") == "last" else "right"  # XLNet looks at the last position
    options = {"padding": True, "padding_side": side, "truncation": True, "return_tensors": "pt"}
    return options | {"max_length": min(max_tokens, positions - offset)}


def fresh_classifier(task: Task, architecture: str, sizes: Mapping[str, Any], max_tokens: int) -> SequenceClassifier:
    """A fresh classifier; tokens are UTF-8 bytes."""
    tokenizer = ByT5Tokenizer(extra_ids=0)
    own = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    own |= {"eos_token_id": tokenizer.eos_token_id} | class_names(task)
    wrap = partial(SequenceClassifier, tokenizer=tokenizer, max_tokens=max_tokens)
    return fresh_network(AutoModelForSequenceClassification, ARCHITECTURES, architecture, sizes, own, wrap)


def pretrained_classifier(model: str, task: Task, max_tokens: int) -> SequenceClassifier:
    """An existing classifier; another task's last layer is replaced."""
    tokenizer = load_tokenizer(model, "right")
    loaded = load(AutoModelForSequenceClassification, model, fresh=is_of_head, **class_names(task))
    if loaded.config.pad_token_id is None:  # models that use the last token must find it
        loaded.config.pad_token_id = tokenizer.pad_token_id
    return SequenceClassifier(loaded, tokenizer, max_tokens)
