"""What the paper proves, and the theory beyond it: selection rules, asymptotics, simulators and sweeps.

`predict` and `simulate` answer for every kind of problem
    Problem          ridge regression on selected rows: Theorem 1 and Corollary 1
    SpanProblem      mixtures of groups with rules, soft weights, labellers and flips; any covariance, any convex loss
    PracticeProblem  the practice loop, round by round
    SoftmaxProblem   softmax regression with K classes on rows that a selector of K classes chose
`fit` and `forecast` read measured curves, `check` says whether the theory holds for features that somebody has,
`noise` says what practice is worth where labels are wrong,
`sweep`, `optimum` and `scaling` compare ways to spend a budget, `best_selection` and `best_sequence` search all rules,
`verify` holds theory against simulation, `derive` has the formulas in symbols, and `RULES` the selection rules by name.

Everything here is imported on first use, so that `import dp_theory` stays quick; nothing needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dp_base import __version__

if TYPE_CHECKING:
    from dp_base.errors import ConvergenceError, InputError
    from dp_theory import (
        budgets,
        derive,
        fitting,
        multiclass,
        noise,
        numerics,
        practice,
        ridge,
        rules,
        selection,
        span,
        validity,
    )
    from dp_theory.api import predict, simulate
    from dp_theory.budgets.optimum import optimum
    from dp_theory.budgets.sweeps import sweep
    from dp_theory.fitting import Curve, Fit, fit, forecast, held_out, read_curve
    from dp_theory.multiclass import SoftmaxPrediction, SoftmaxProblem, SoftmaxSimulation, make_selection
    from dp_theory.multiclass.curves import classes_curves
    from dp_theory.practice import (
        Addition,
        MeasuredRows,
        PracticePrediction,
        PracticeProblem,
        PracticeSimulation,
        Window,
        row_errors,
    )
    from dp_theory.practice.exponents import scaling
    from dp_theory.ridge.finite import FinitePrediction
    from dp_theory.ridge.problem import Prediction, Problem, Simulation
    from dp_theory.ridge.theorem1 import corollary1, theorem1
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
    from dp_theory.selection import Bands, best_selection, best_sequence, compare_selections, influence
    from dp_theory.span import (
        LOGISTIC,
        SQUARE,
        SQUARED_HINGE,
        Agree,
        BoundaryFlips,
        Group,
        Interpolating,
        LabelCheck,
        SpanProblem,
        Verifier,
    )
    from dp_theory.validity import Check, Features, check, read_features
    from dp_theory.verification.theorem1 import verify

__all__ = [
    "LOGISTIC",
    "RULES",
    "SQUARE",
    "SQUARED_HINGE",
    "Addition",
    "Agree",
    "Bands",
    "BoundaryFlips",
    "Check",
    "ConvergenceError",
    "Curve",
    "Direct",
    "Entropy",
    "Features",
    "FinitePrediction",
    "Fit",
    "Group",
    "InputError",
    "Interpolating",
    "KeepAll",
    "KeepEasy",
    "KeepHard",
    "LabelCheck",
    "MeasuredRows",
    "Moments",
    "PracticePrediction",
    "PracticeProblem",
    "PracticeSimulation",
    "Prediction",
    "Problem",
    "Random",
    "Rule",
    "Simulation",
    "SoftmaxPrediction",
    "SoftmaxProblem",
    "SoftmaxSimulation",
    "SpanProblem",
    "SymmetricRule",
    "Verifier",
    "Window",
    "__version__",
    "best_selection",
    "best_sequence",
    "budgets",
    "check",
    "classes_curves",
    "compare_selections",
    "corollary1",
    "derive",
    "fit",
    "fitting",
    "forecast",
    "held_out",
    "influence",
    "make_rule",
    "make_selection",
    "multiclass",
    "noise",
    "numerics",
    "optimum",
    "practice",
    "predict",
    "read_curve",
    "read_features",
    "ridge",
    "row_errors",
    "rules",
    "scaling",
    "selection",
    "simulate",
    "span",
    "sweep",
    "theorem1",
    "validity",
    "verify",
]

_ROOMS = (
    "budgets",
    "derive",
    "fitting",
    "multiclass",
    "noise",
    "numerics",
    "practice",
    "ridge",
    "rules",
    "selection",
    "span",
    "validity",
)
_HOMES = {  # of the names that are no room: the module, and the names that it has
    "dp_base.errors": ("ConvergenceError", "InputError"),
    "dp_theory.api": ("predict", "simulate"),
    "dp_theory.ridge.finite": ("FinitePrediction",),
    "dp_theory.fitting": ("Curve", "Fit", "fit", "forecast", "held_out", "read_curve"),
    "dp_theory.multiclass": ("SoftmaxPrediction", "SoftmaxProblem", "SoftmaxSimulation", "make_selection"),
    "dp_theory.multiclass.curves": ("classes_curves",),
    "dp_theory.practice.exponents": ("scaling",),
    "dp_theory.practice": (
        "Addition", "MeasuredRows", "PracticePrediction", "PracticeProblem", "PracticeSimulation", "Window",
        "row_errors",
    ),
    "dp_theory.ridge.problem": ("Prediction", "Problem", "Simulation"),
    "dp_theory.ridge.theorem1": ("corollary1", "theorem1"),
    "dp_theory.rules": (
        "RULES", "Direct", "Entropy", "KeepAll", "KeepEasy", "KeepHard", "Moments", "Random", "Rule", "SymmetricRule",
        "make_rule",
    ),
    "dp_theory.selection": ("Bands", "best_selection", "best_sequence", "compare_selections", "influence"),
    "dp_theory.span": (
        "LOGISTIC", "SQUARE", "SQUARED_HINGE", "Agree", "BoundaryFlips", "Group", "Interpolating", "LabelCheck",
        "SpanProblem", "Verifier",
    ),
    "dp_theory.budgets.optimum": ("optimum",),
    "dp_theory.budgets.sweeps": ("sweep",),
    "dp_theory.validity": ("Check", "Features", "check", "read_features"),
    "dp_theory.verification.theorem1": ("verify",),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"dp_theory.{name}")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'dp_theory' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *(name for names in _HOMES.values() for name in names)})
