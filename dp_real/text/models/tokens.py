"""Tokenizers of transformers."""

from pathlib import Path
from typing import Any, Literal

from transformers.models.auto.tokenization_auto import AutoTokenizer

from dp_base.errors import InputError
from dp_real.runtime.hub import no_code_of, quietly, reading


def load_tokenizer(model: str, side: Literal["left", "right"]) -> Any:
    """The tokenizer of a model, a folder or a hub id, that pads on a side. Its own code is never run.

    One without a padding token pads with its end token, which is masked. Raises MissingError if it cannot be read,
    InputError if it has neither.
    """
    with reading(model, "a tokenizer") as local, no_code_of(model), quietly():
        tokenizer: Any = AutoTokenizer.from_pretrained(model, local_files_only=local, trust_remote_code=False)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            where = Path(model, "tokenizer_config.json") if Path(model).is_dir() else f"{model}'s tokenizer_config.json"
            raise InputError(f"{where}: there is neither a padding nor an end token in it; give it a pad_token")
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = side
    return tokenizer
