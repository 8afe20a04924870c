"""A linear model of scikit-learn's bag of hashed n-grams."""

from typing import Any, Literal

import torch
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor, nn
from torch.nn import functional as F

from dp_real.text.codes import to_texts


class BagOfWords(nn.Module):
    """Texts [B, L] (dp_real.text.codes) -> logits [B, K]: a weight for each n-gram and class, and one for each class.

    All weights begin at zero, so that an n-gram which training has not seen says nothing. The counts of a text have
    length 1. Words are in lower case and without punctuation, and one letter is a word, too.
    """

    def __init__(self, n_classes: int, unit: Literal["word", "character"], longest: int, buckets: int) -> None:
        super().__init__()
        self.vectorizer = HashingVectorizer(
            analyzer="word" if unit == "word" else "char_wb",
            token_pattern=r"\w+",
            ngram_range=(1, longest),
            n_features=buckets,
            alternate_sign=False,
        )
        self.weight = nn.Parameter(torch.zeros(buckets, n_classes))
        self.bias = nn.Parameter(torch.zeros(n_classes))

    def forward(self, x: Tensor) -> Tensor:
        counts: Any = self.vectorizer.transform(to_texts(x))
        begins, columns, values = (
            torch.from_numpy(each).to(self.weight.device) for each in (counts.indptr, counts.indices, counts.data)
        )
        options = {"mode": "sum", "per_sample_weights": values.to(self.weight.dtype), "include_last_offset": True}
        return F.embedding_bag(columns, self.weight, begins, **options) + self.bias
