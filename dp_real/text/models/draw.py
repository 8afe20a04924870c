"""Draws tokens: one uniform number a row and token, so that a row is a function of its own seed."""

import torch
from torch import Tensor
from transformers.generation.logits_process import LogitsProcessor


def inverse_transform(logits: Tensor, uniform: Tensor) -> Tensor:
    """Indices int64 [B] with probability softmax(logits), [B, V], at the quantiles `uniform`, [B] in [0, 1)."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    drawn = torch.searchsorted(cumulative, uniform.unsqueeze(1).contiguous(), right=True)
    # Rounding may leave the whole sum below the quantile: then the last index that adds to it.
    last = torch.searchsorted(cumulative, cumulative[:, -1:].contiguous())
    return torch.minimum(drawn, last).squeeze(1)


class SeededDraw(LogitsProcessor):
    """Makes the greedy choice of `generate` a draw from the distribution: all tokens but the drawn one become -inf."""

    def __init__(self, uniform: Tensor, prompt: int) -> None:
        """`uniform` is float64 [B, most new tokens]. `prompt` counts the tokens of the padded prompts."""
        self.uniform = uniform
        self.prompt = prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        drawn = inverse_transform(scores, self.uniform[:, input_ids.shape[1] - self.prompt])
        return torch.full_like(scores, -torch.inf).scatter(1, drawn.unsqueeze(1), 0.0)
