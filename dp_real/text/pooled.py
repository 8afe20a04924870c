"""A pool's texts, and the like of other sets."""

from dp_real.examples import ExampleArray
from dp_real.text.codes import to_texts

BLOCK = 4096  # texts that are read together


def texts_of(x: ExampleArray) -> list[str]:
    """The texts of examples [n, L], in order."""
    n = x.shape[0]
    return [text for start in range(0, n, BLOCK) for text in to_texts(x[start : min(start + BLOCK, n)])]
