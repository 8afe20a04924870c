"""Practice loops under convex losses, for comparison with the experiment."""

import numpy as np

from dp_theory.loop import (
    LOGISTIC,
    SQUARED_HINGE,
    Addition,
    Agree,
    BoundaryFlips,
    Interpolating,
    PracticeProblem,
    Verifier,
    Window,
)
from dp_theory.rules import Entropy, KeepEasy, KeepHard


def convex_loops() -> dict[str, PracticeProblem]:
    """Named loops: every kind of rule under the logistic loss, the squared hinge, and the max-margin limit."""
    hard = Addition(2, keep=KeepHard(0.3))
    easy = Addition(1, keep=KeepEasy(0.5))
    entropy = Addition(2, keep=Entropy(4.0, 3.0))
    verified = Addition(1, weight=Verifier(2))
    spectrum = np.arange(1, 201) ** -0.7
    return {
        "logistic practice, keep-hard": PracticeProblem(0.5, 0.01, [hard] * 3, loss=LOGISTIC),
        "logistic practice, keep-easy": PracticeProblem(0.5, 0.02, [easy] * 2, loss=LOGISTIC),
        "logistic practice, entropy, few rows": PracticeProblem(1.2, 0.2, [entropy] * 2, loss=LOGISTIC),
        "logistic practice, self-verification, flips": PracticeProblem(
            0.5, 0.02, [Addition(1, keep=Agree())] * 2, flip=0.1, loss=LOGISTIC
        ),
        "logistic practice, soft weights": PracticeProblem(
            0.5, 0.02, [Addition(1, weight=Interpolating(1, 3))] * 2, loss=LOGISTIC
        ),
        "logistic practice, verifier, labeller, flips": PracticeProblem(
            0.5, 0.02, [verified] * 2, labeller=0.9, flip=0.05, loss=LOGISTIC
        ),
        "logistic practice, window": PracticeProblem(0.25, 1e-3, [Window(1)] * 3, loss=LOGISTIC),
        "logistic practice, newest rows": PracticeProblem(
            0.25, 1e-3, [Addition(kept=1, keep=KeepHard(0.5))] * 3, accumulate=False, loss=LOGISTIC
        ),
        "logistic practice, power law": PracticeProblem(
            0.5, 0.02, [easy] * 2, spectrum=spectrum / spectrum.mean(), loss=LOGISTIC
        ),
        "logistic practice, soft labels": PracticeProblem(
            0.5, 0.1, [Window(1)] * 2, flip=BoundaryFlips(0.3), loss=LOGISTIC
        ),
        "squared-hinge practice": PracticeProblem(0.5, 0.01, [hard, easy], loss=SQUARED_HINGE),
        "max-margin practice": PracticeProblem(0.5, 0.0, [hard] * 2, loss=LOGISTIC),
    }
