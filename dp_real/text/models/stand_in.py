"""A tiny language model of random weights, to try the path of a real one; apart, for its parts take long to import."""

from pathlib import Path
from typing import Any

import torch
from transformers.models.byt5.tokenization_byt5 import ByT5Tokenizer
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel

from dp_real.runtime.cache import cached
from dp_real.runtime.hub import quietly

RECIPE = 1  # raise it when the written files change
CHAT = "{% for turn in messages %}{{ turn.role }}: {{ turn.content }}\n{% endfor %}assistant: "


def stand_in_folder() -> str:
    """The folder of the model and its tokenizer of bytes, filled on first use."""
    return str(cached("stand-in/language-model", {"recipe": RECIPE}, _write))


def _write(folder: Path) -> None:
    tokenizer = ByT5Tokenizer(extra_ids=0)
    tokenizer.chat_template = CHAT
    ends: dict[str, Any] = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    ends["pad_token_id"] = tokenizer.pad_token_id
    sizes: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 1024, "vocab_size": len(tokenizer)}
    with torch.random.fork_rng(devices=[]), quietly():
        torch.manual_seed(0)
        config = GPT2Config(**sizes, **ends)
        GPT2LMHeadModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
