"""Texts as numbers: a text is int32 [L], the code points of its characters, with zeros behind them."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def to_codes(texts: Iterable[str], length: int) -> Tensor:
    """The texts as int32 [n, length]. Characters beyond `length` are cut off, and null characters left out."""
    rows = [np.frombuffer(text.replace("\0", "")[:length].encode("utf-32-le", "replace"), np.int32) for text in texts]
    codes = np.zeros((len(rows), length), np.int32)
    for code, row in zip(codes, rows, strict=True):
        code[: len(row)] = row
    return torch.from_numpy(codes)


def to_texts(codes: Tensor) -> list[str]:
    """The texts of numbers [n, L], of any dtype."""
    rows = codes.detach().to("cpu", torch.int32).numpy()
    return [row[row != 0].tobytes().decode("utf-32-le") for row in rows]
