from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp_real.data.examples import TrainingExamples
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime import distributed
from dp_real.runtime.resumable import Resumable
from dp_real.runtime.seeds import Stream, row_uniforms, seed_layers, seeded, torch_rng

if TYPE_CHECKING:
    from dp_real.text.language_models import CharLMSizes

REMEDY = "the texts that it learns are at fault"
EDGE = 0  # index of the token that begins and ends a text
BATCH = 128  # texts per training step
DROPOUT, WEIGHT_DECAY = 0.1, 0.01  # in training


def inverse_transform(logits: Tensor, uniform: Tensor) -> Tensor:
    """Indices int64 [B] with probability softmax(logits), [B, V], at the quantiles `uniform`, [B] in [0, 1)."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    drawn = torch.searchsorted(cumulative, uniform.unsqueeze(1), right=True)
    # By rounding the whole sum may be below the quantile; then the last index with a probability is taken.
    last = torch.searchsorted(cumulative, cumulative[:, -1:].contiguous())
    return torch.minimum(drawn, last).squeeze(1)


class CharLM(nn.Module):
    """A GRU that predicts the next character from the earlier ones and the class.

    Characters are indices from 1 into `characters`, ascending code points; 0 is EDGE.
    """

    characters: Tensor

    def __init__(self, characters: Tensor, n_classes: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("characters", characters)
        self.character = nn.Embedding(len(characters) + 1, width)
        self.label = nn.Embedding(n_classes, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.drop = nn.Dropout(dropout)
        self.leave = nn.Linear(width, len(characters) + 1)

    def forward(self, before: Tensor, label: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [B, T, 1 + characters] after `before` [B, T], and the GRU's state.

        Without a `state` no character comes before these, and the first cannot be EDGE.
        """
        h, after = self.gru(self.drop(self.character(before) + self.label(label).unsqueeze(1)), state)
        logits = self.leave(self.drop(h))
        if state is None:
            logits[:, 0, EDGE] = -torch.inf
        return logits, after

    def indices(self, codes: Tensor) -> Tensor:
        """An unknown character becomes a neighbour."""
        codes = codes.to(self.characters.device).contiguous()
        place = torch.searchsorted(self.characters, codes).clamp(max=len(self.characters) - 1)
        return torch.where(codes == 0, EDGE, 1 + place)

    def codes(self, indices: Tensor) -> Tensor:
        """What follows the first EDGE is dropped."""
        known = torch.cat([self.characters.new_zeros(1), self.characters])[indices]
        return known * (indices != EDGE).cumprod(1)

    def log_likelihood(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Log-likelihoods in nats. A text of L characters need not end there."""
        after = self.indices(codes)
        before = F.pad(after, (1, 0))[:, :-1]
        counted = before != EDGE  # the characters, and the EDGE after them
        counted[:, 0] = True
        logits, _ = self(before, labels)
        return logits.log_softmax(-1).gather(2, after.unsqueeze(2)).squeeze(2).where(counted, 0).sum(1)


@dataclass(eq=False)
class CharLMGenerator:
    """Draws texts of at most `length` characters."""

    model: CharLM
    length: int
    n_classes: int
    temperature: float

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False).to(distributed.device())
        self.sample_shape = (self.length,)

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        assert guidance is None, "characters are discrete: texts can only be selected"
        labels = labels.to(distributed.device())
        drawn = [torch.full_like(labels, EDGE).unsqueeze(1)]
        state = None
        for uniform in row_uniforms(seeds, self.length).to(labels.device):
            logits, state = self.model(drawn[-1], labels, state)
            drawn.append(inverse_transform(logits[:, 0] / self.temperature, uniform).unsqueeze(1))
        return self.model.codes(torch.cat(drawn[1:], 1)).to("cpu", torch.int32)

    def log_posterior(self, x: Tensor) -> Tensor:
        labels = torch.arange(self.n_classes, device=distributed.device()).split(1)
        log_likelihood = torch.stack([self.model.log_likelihood(x, label) for label in labels], 1)
        return log_likelihood.double().log_softmax(1).cpu()


def known_characters(texts: Tensor) -> Tensor:
    """The code points in texts, ascending."""
    codes = texts.unique()
    return codes[codes != 0]


def train_char_lm(
    sizes: "CharLMSizes",
    texts: TrainingExamples,
    n_classes: int,
    seed: int,
    unfinished: Path | None,
) -> CharLM:
    """Train by AdamW with a cosine decay to 0, from the state in `unfinished`, if any."""
    torch_generator = torch_rng(seed, Stream.GENERATOR)
    device = distributed.device()
    with seeded(torch_generator):
        model = CharLM(known_characters(texts.x), n_classes, sizes.width, DROPOUT).to(device)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=sizes.train_learning_rate, weight_decay=WEIGHT_DECAY, fused=True
        )
        lr_scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, sizes.train_steps)
        loop = Resumable(
            "the generator", REMEDY, {"model": model}, optimizer, lr_scheduler, torch_generator, unfinished
        )
        for step in loop.steps(sizes.train_steps):
            seed_layers(torch_rng(seed, Stream.DROPOUT, step), device)
            rows = torch.randint(len(texts.x), (BATCH,), generator=torch_generator)
            x, y = texts.x[rows], texts.y[rows].to(device)
            lengths = (x != 0).sum(1)
            x = F.pad(x, (0, 1))[:, : int(lengths.max()) + 1]  # each text ends
            loop.backward(-model.log_likelihood(x, y).sum() / (lengths + 1).sum())  # a character
            loop.update(max_norm=1.0)
    return model
