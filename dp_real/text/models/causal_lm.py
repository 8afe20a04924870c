import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from dp_base.errors import InputError
from dp_real.data import DataConfig
from dp_real.data.examples import RealData
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime.cache import cached
from dp_real.runtime.distributed import DeviceBatches, device
from dp_real.runtime.hub import load, load_tokenizer, quietly, reading
from dp_real.runtime.seeds import row_uniforms
from dp_real.text.codes import texts_of, to_codes
from dp_real.text.models.char_lm import inverse_transform
from dp_real.text.models.prompted import THOUGHT, PromptedGenerator

if TYPE_CHECKING:
    from dp_real.text.language_models import CausalLMConfig

REMEDY = "generator.dtype = 'bfloat16', generator.max_new_tokens or shorter generator.prompts take less"
STAND_IN_RECIPE = 1  # raise it when the written files change
STAND_IN_CHAT = "{% for turn in messages %}{{ turn.role }}: {{ turn.content }}\n{% endfor %}assistant: "


@dataclass
class SeededDraw(LogitsProcessor):
    """Turns the greedy choice of `generate` into a seeded draw: other tokens become -inf."""

    uniforms: Iterator[Tensor]  # float64 [B], for each new token

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        drawn = inverse_transform(scores, next(self.uniforms))
        return torch.full_like(scores, -torch.inf).scatter(1, drawn.unsqueeze(1), 0.0)


class CausalLMGenerator(PromptedGenerator):
    """A language model of transformers. A row's seed determines its tokens, too."""

    def __init__(self, config: "CausalLMConfig", model: str, source: DataConfig, data: RealData | None = None) -> None:
        super().__init__(config, source, data)
        self.tokenizer: Any = load_tokenizer(model, "left")
        if config.chat and not self.tokenizer.chat_template:
            raise InputError(f"{model}: its tokenizer has no chat template: set generator.chat = false")
        self.model: Any = load(AutoModelForCausalLM, model, config.dtype).eval().requires_grad_(False)
        if len(self.tokenizer) > self.model.get_input_embeddings().num_embeddings:
            raise InputError(f"{model}: its tokenizer has more tokens than the model: they do not belong together")
        self.context = getattr(self.model.config, "max_position_embeddings", None) or sys.maxsize
        ends = self.model.generation_config.eos_token_id
        # This replaces the model's own settings, such as a penalty or beams, with which generate() would draw from
        # another distribution than the configuration's and log_posterior's.
        self.model.generation_config = GenerationConfig(
            max_new_tokens=config.max_new_tokens,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.tokenizer.eos_token_id if ends is None else ends,
            stop_strings=list(config.stop) or None,
        )
        self.batches = DeviceBatches(config.batch_size, REMEDY)
        with reading(model, "a prompt"):  # raised by a broken chat template
            seeds = range(len(config.prompts))  # each selects another prompt
            prompts = [self.chat_prompt(label, seed) for label in range(self.n_classes) for seed in seeds]
        self.tokenize(prompts, config.max_new_tokens)

    def chat_prompt(self, label: int, seed: int) -> str:
        prompt = self.prompt(label, seed)
        if not self.config.chat:
            return prompt
        turns = [{"role": "user", "content": prompt}]
        return self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    def tokenize(self, prompts: Sequence[str], room: int) -> Any:
        """Token ids and their mask, int64 [B, T] each."""
        special = not self.config.chat  # a chat template adds them itself
        tokens = self.tokenizer(
            prompts, return_tensors="pt", padding=True, add_special_tokens=special, return_token_type_ids=False
        )
        longest = tokens["input_ids"].shape[1]
        if longest + room > self.context:
            raise InputError(
                f"generator.prompts: one of {longest} tokens, with {room} to follow, is longer than the context of "
                f"{self.context} tokens of {self.model.name_or_path}: shorten it, or lower generator.max_new_tokens or "
                "shots"
            )
        return tokens.to(device())

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        return self.batches.draw(len(labels), lambda rows: self._written(labels[rows], seeds[rows]))

    def _written(self, labels: Tensor, seeds: np.ndarray) -> Tensor:
        config = self.config
        prompts = [*map(self.chat_prompt, labels.tolist(), seeds.tolist())]
        inputs = self.tokenize(prompts, config.max_new_tokens)
        processors = LogitsProcessorList([TemperatureLogitsWarper(config.temperature)])
        if config.top_k:
            processors.append(TopKLogitsWarper(config.top_k))
        if config.top_p < 1:
            processors.append(TopPLogitsWarper(config.top_p))
        processors.append(SeededDraw(iter(row_uniforms(seeds, config.max_new_tokens).to(device()))))
        written = self.model.generate(
            **inputs,
            generation_config=self.model.generation_config,
            logits_processor=processors,
            tokenizer=self.tokenizer,
        )
        new = written[:, inputs["input_ids"].shape[1] :]
        texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        begun = [re.search(rf"(?i)<{THOUGHT}\s*$", prompt) for prompt in prompts]  # by some chat templates
        answers = [f"{tag[0]}{text}" if tag else text for tag, text in zip(begun, texts, strict=True)]
        texts = [self.cut(self.strip_reasoning(answer)) for answer in answers]
        return to_codes(texts, self.sample_shape[0], self.model.name_or_path)

    def log_posterior(self, x: Tensor) -> Tensor:
        """By Bayes' rule, from the likelihoods after each class's first prompt, with equal examples for all rows."""
        texts = texts_of(x)
        log_likelihood = self.batches.draw(len(texts), lambda rows: self._log_likelihood(texts[rows]), "likelihood")
        return log_likelihood.log_softmax(1)

    def _log_likelihood(self, texts: list[str]) -> Tensor:
        """Log-likelihoods in nats, [B, K], of the part that the model's context has room for after each prompt."""
        prompts = [self.tokenize([self.chat_prompt(label, 0)], 1)["input_ids"] for label in range(self.n_classes)]
        room = self.context - max(prompt.shape[1] for prompt in prompts)
        tokens = self.tokenizer(
            texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False
        ).to(device())
        after, mask = (tokens[key][:, :room] for key in ("input_ids", "attention_mask"))
        columns = []
        for prompt in prompts:
            input_ids = torch.cat([prompt.expand(len(texts), -1), after], 1)
            attention_mask = F.pad(mask, (prompt.shape[1], 0), value=1)
            kept = after.shape[1] + 1  # the prompt's last position predicts the first token
            answer = self.model(input_ids=input_ids, attention_mask=attention_mask, logits_to_keep=kept)
            logits = answer.logits[:, -kept:-1].float()
            each = logits.gather(2, after.unsqueeze(2)).squeeze(2).double() - logits.logsumexp(2).double()
            columns.append((each * mask).sum(1).cpu())
        return torch.stack(columns, 1)


def stand_in_folder() -> str:
    """A tiny model with random weights, for trial runs; made on first use."""
    from transformers import ByT5Tokenizer, GPT2Config, GPT2LMHeadModel  # imported here, as this takes long

    def write(folder: Path) -> None:
        tokenizer = ByT5Tokenizer(extra_ids=0)
        tokenizer.chat_template = STAND_IN_CHAT
        end = tokenizer.eos_token_id
        sizes = GPT2Config(
            n_embd=32,
            n_layer=2,
            n_head=2,
            n_positions=1024,
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=end,
            eos_token_id=end,
        )
        with torch.random.fork_rng(devices=[]), quietly():
            torch.manual_seed(0)
            GPT2LMHeadModel(sizes).save_pretrained(folder)
            tokenizer.save_pretrained(folder)

    return str(cached("stand-in/language-model", {"recipe": STAND_IN_RECIPE}, write))
