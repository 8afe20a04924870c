"""The practice loop."""

from dp_theory.practice.experiment import PracticeSimulation, simulate
from dp_theory.practice.hindsight import row_errors
from dp_theory.practice.prediction import predict
from dp_theory.practice.problem import (
    Addition,
    MeasuredRows,
    PracticePrediction,
    PracticeProblem,
    RoundPlan,
    RoundRows,
    Window,
)

__all__ = [
           "Addition",
           "MeasuredRows",
           "PracticePrediction",
           "PracticeProblem",
           "PracticeSimulation",
           "RoundPlan",
           "RoundRows",
           "Window",
           "predict",
           "row_errors",
           "simulate",
]  # fmt: skip
