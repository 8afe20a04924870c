"""What the paper proves: selection rules, asymptotics, simulators and sweeps. Numpy and scipy; never imports torch."""

from dp_theory.errors import ConvergenceError, InputError
from dp_theory.problem import Prediction, Problem, Simulation
from dp_theory.ridge import corollary1, predict, theorem1
from dp_theory.rules import (
    RULES,
    Direct,
    Entropy,
    KeepAll,
    KeepEasy,
    KeepHard,
    Moments,
    Random,
    Rule,
    SymmetricRule,
    make_rule,
)
from dp_theory.simulate import simulate
from dp_theory.sweep import sweep
from dp_theory.verify import verify

__all__ = [
    "RULES",
    "ConvergenceError",
    "Direct",
    "Entropy",
    "InputError",
    "KeepAll",
    "KeepEasy",
    "KeepHard",
    "Moments",
    "Prediction",
    "Problem",
    "Random",
    "Rule",
    "Simulation",
    "SymmetricRule",
    "corollary1",
    "make_rule",
    "predict",
    "simulate",
    "sweep",
    "theorem1",
    "verify",
]
