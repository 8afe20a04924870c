from collections.abc import Sequence
from typing import Any

import torch
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor, nn
from torch.nn import functional as F

from dp_real.text.codes import texts_of

EMBEDDINGS = 2**14  # shared by n-grams, by a hash
MAX_N = 4  # characters of an n-gram
WIDTH = 64  # of the embeddings and the hidden layer
BUCKETS = 2**18  # of a bag of words, shared by words, by a hash
EDGE = -1  # stands before and after a text
MIX = 0x9E3779B97F4A7C15 - 2**64  # the golden ratio in 64 bits, odd, so that multiplication is a bijection


def ngrams(units: Tensor, lengths: Sequence[int], buckets: int) -> Tensor:
    """Buckets, from 1, of all n-grams of units, with the text's ends as units, padded by 0. int64 [B, N]."""
    count = (units != 0).sum(1, keepdim=True)
    framed = F.pad(units, (1, max(1, max(lengths) - units.shape[1] - 1)))
    framed[:, 0] = EDGE
    framed = framed.scatter(1, count + 1, EDGE)
    codes = []
    for n in lengths:
        windows = framed.unfold(1, n, 1)
        key = torch.full_like(windows[..., 0], n)
        for unit in windows.unbind(-1):
            key = key * MIX + unit  # a hash like splitmix64's: products modulo 2⁶⁴, and shifts
            key = (key ^ (key >> 32)) * MIX
            key = (key ^ (key >> 29)) * MIX
            key = key ^ (key >> 32)
        codes.append(torch.where((windows != 0).all(-1), 1 + key.remainder(buckets), 0))
    return torch.cat(codes, 1)


class NGramNetwork(nn.Module):
    """Texts [B, L] -> logits [B, K]: embeddings of their n-grams, averaged, and an MLP."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(EMBEDDINGS + 1, WIDTH, mode="sum", padding_idx=0)
        self.layers = nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, n_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits. Sums of embeddings are divided by the root of the number of n-grams, for similar lengths."""
        codes = ngrams(x.long(), range(1, MAX_N + 1), EMBEDDINGS)
        count = (codes != 0).sum(1, keepdim=True).clamp(min=1)
        return self.layers(self.embedding(codes) / count.sqrt())


class BagOfWords(nn.Module):
    """Texts [B, L] -> logits [B, K], linear in the words; weights start at 0.

    A text's counts are scaled to length 1. A single letter is a word, too.
    """

    def __init__(self, n_classes: int, buckets: int = BUCKETS) -> None:
        super().__init__()
        self.vectorizer = HashingVectorizer(token_pattern=r"\w+", n_features=buckets, alternate_sign=False)
        self.weight = nn.Parameter(torch.zeros(buckets, n_classes))
        self.bias = nn.Parameter(torch.zeros(n_classes))

    def forward(self, x: Tensor) -> Tensor:
        counts: Any = self.vectorizer.transform(texts_of(x))
        begins, columns, values = (
            torch.from_numpy(each).to(self.weight.device) for each in (counts.indptr, counts.indices, counts.data)
        )
        values = values.to(self.weight.dtype)
        logits = F.embedding_bag(
            columns, self.weight, begins, mode="sum", per_sample_weights=values, include_last_offset=True
        )
        return logits + self.bias
