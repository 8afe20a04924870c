"""Practice loops that several test files share. R11 to R15 and L1 have reference values from another program."""

from dataclasses import dataclass, replace

import numpy as np

from dp_theory import SQUARE, Addition, Group, KeepHard, PracticeProblem, SpanProblem, Verifier
from dp_theory.loop.losses import Loss
from tests.dp_theory.verification.beyond import interpolating


def weighted_window(kappa, kept=1.0):
    """A window whose rows of each round count equally along the direction of their learner."""

    def rows(error):
        alpha = kappa * np.tan(np.pi * error)
        return Addition(kept=kept, keep=KeepHard(alpha), weight=alpha**-2)

    return rows


HARD = KeepHard(0.3)
HARD_ROWS = Addition(1, keep=HARD)
R11 = PracticeProblem(0.5, 0.01, [Addition(2, keep=HARD)] * 3)
R13 = PracticeProblem(0.25, 1e-6, [weighted_window(1)] * 7)
R15 = PracticeProblem(0.5, 0.02, [Addition(1, weight=interpolating(1, 3.0))] * 2, flip=0.05, labeller=0.9)
R15_VERIFIER = replace(R15, additions=[Addition(1, weight=Verifier(2.0))] * 2)
L1 = PracticeProblem(0.5, 0.02, [Addition(1, keep=KeepHard(0.5))])


@dataclass(frozen=True)
class UnnamedSquare(Loss):
    """The square loss, which the theory does not know for it."""

    def slope(self, h, y):
        return h - y

    def curvature(self, h, y):
        return np.ones_like(h)

    def prox(self, score, y, strength):
        return (score + strength * y) / (1 + strength)


UNNAMED_SQUARE = UnnamedSquare()


def one_round(addition):
    """A loop of one round."""
    return PracticeProblem(0.5, 0.1, [addition])


def selected(rho, phi, lam=0.0, loss=SQUARE, **group):
    """One group of rows, chosen by a selector of the cosine rho to the truth, in the span recipe's words."""
    along = (rho, np.sqrt((1 - rho) * (1 + rho)))
    return SpanProblem((1.0, 0.0), [Group(along=along, **group)], phi, lam, loss=loss)
