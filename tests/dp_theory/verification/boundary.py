"""Cells of tests.dp_theory.verification.beyond with labels that are wrong near the boundary."""

import numpy as np

from dp_theory.loop import LOGISTIC, Addition, BoundaryFlips, Group, PracticeProblem, SpanProblem, Window
from dp_theory.rules import Entropy, KeepHard

PRUNER = np.array([0.9, np.sqrt(0.19)])
SOFT = BoundaryFlips(0.3)
HEAVY = BoundaryFlips(0.2, 0.4, lambda u: 1 / (1 + u**2))
BAND = BoundaryFlips(0.5, 0.3, "window")


def span_cells() -> dict[str, SpanProblem]:
    """Named problems: plain, pruned and entropy-selected rows, both losses."""
    hard = KeepHard(0.5)
    tilted = Entropy(8.0)
    return {
        "soft labels, plain": SpanProblem((1.0, 0.0), [Group(flip=SOFT)], 0.4, 0.05),
        "soft labels, keep-hard": SpanProblem((1.0, 0.0), [Group(along=PRUNER, keep=hard, flip=SOFT)], 0.3, 0.02),
        "heavy flips, entropy": SpanProblem((1.0, 0.0), [Group(along=PRUNER, keep=tilted, flip=HEAVY)], 0.3, 0.05),
        "flips in a band": SpanProblem((1.0, 0.0), [Group(along=PRUNER, keep=tilted, flip=BAND)], 0.3, 0.05),
        "logistic, soft labels, keep-hard": SpanProblem(
            (1.0, 0.0), [Group(along=PRUNER, keep=hard, flip=SOFT)], 0.3, 0.02, loss=LOGISTIC
        ),
    }


def noisy_loops() -> dict[str, PracticeProblem]:
    """Named practice loops."""
    hard = Addition(2, keep=KeepHard(0.3))
    return {
        "practice, soft labels": PracticeProblem(0.5, 0.1, [Window(1)] * 3, flip=SOFT),
        "practice, heavy flips, labeller": PracticeProblem(0.5, 0.05, [hard] * 2, labeller=0.9, flip=HEAVY),
        "practice, flips in a band": PracticeProblem(0.5, 0.05, [hard] * 2, flip=BAND),
        "practice, selected rows labelled worse": PracticeProblem(
            0.5, 0.1, [Addition(2, keep=KeepHard(0.3), flip=SOFT)] * 2, flip=0.05
        ),
    }
