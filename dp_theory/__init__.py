"""What the paper proves, and the theory beyond it: selection rules, asymptotics, simulators and sweeps.

Theorem 1 is here (`predict`); what goes further is a module each, imported on first use so that `import dp_theory`
stays quick and never needs torch
    span      mixtures of groups with rules, soft weights, labellers, flips, any covariance; `convex` for other losses
    practice  the practice loop, round by round; `exponents` of its scaling against the other strategies
    law       one draw in law of an experiment in millions of dimensions; `dense` the experiment itself
    optimum   the best rule and keep fraction; `derive` the formulas in symbols
    parallel  how simulations are spread over processes or a cluster
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dp_base.errors import ConvergenceError, InputError
from dp_theory.problem import Prediction, Problem, Simulation
from dp_theory.ridge import corollary1, theorem1
from dp_theory.ridge import predict_theorem1 as predict
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
from dp_theory.simulators.dense import simulate
from dp_theory.sweeps import sweep
from dp_theory.verification.theorem1 import verify

if TYPE_CHECKING:
    from dp_theory import derive, optimum, parallel, practice, span
    from dp_theory.practice import Addition, PracticeProblem, Window
    from dp_theory.practice.exponents import scaling
    from dp_theory.span import Agree, Group, Interpolating, SpanProblem, Verifier

_MODULES = ("derive", "optimum", "parallel", "practice", "span")
_NAMES = {
    **dict.fromkeys(("Agree", "Group", "Interpolating", "SpanProblem", "Verifier"), "span"),
    **dict.fromkeys(("Addition", "PracticeProblem", "Window"), "practice"),
    "scaling": "practice.exponents",
}

__all__ = [
    "RULES",
    "Addition",
    "Agree",
    "ConvergenceError",
    "Direct",
    "Entropy",
    "Group",
    "InputError",
    "Interpolating",
    "KeepAll",
    "KeepEasy",
    "KeepHard",
    "Moments",
    "PracticeProblem",
    "Prediction",
    "Problem",
    "Random",
    "Rule",
    "Simulation",
    "SpanProblem",
    "SymmetricRule",
    "Verifier",
    "Window",
    "corollary1",
    "derive",
    "make_rule",
    "optimum",
    "parallel",
    "practice",
    "predict",
    "scaling",
    "simulate",
    "span",
    "sweep",
    "theorem1",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"dp_theory.{name}")
    if name in _NAMES:
        return getattr(import_module(f"dp_theory.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'dp_theory' has no attribute '{name}'")
