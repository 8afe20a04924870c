"""Best rules of dp_theory.selection as problems to hold against the experiment, as fixed numbers."""

import numpy as np

from dp_theory.loop import Addition, Group, PracticeProblem, SpanProblem
from dp_theory.selection import Bands


def selected() -> dict[str, SpanProblem]:
    """The best of all rules that keep a tenth of the rows, for one row per dimension and a selector at cosine .9."""
    score = Bands(((1.38, 1.828),))
    label = Bands(((0.8565, 1.06),), labels=True)
    pruner = (0.9, np.sqrt(0.19))
    truth = (1.0, 0.0)
    signed = (-1.06, -0.8565, 0.8565, 1.06)
    return {
        "best rule of the score": SpanProblem(truth, [Group(10.0, along=pruner, keep=score.rule)], 1.0, 0.05905),
        "best rule of score and label": SpanProblem(
            truth, [Group(10.0, along=pruner, keep=label, breaks=signed)], 1.0, 0.0036
        ),
    }


def selecting_loops() -> dict[str, PracticeProblem]:
    """The first two rounds of the best sequences that keep at least a tenth, one first pool of rows a round."""
    near, seeing = (
        [Addition(kept=1.0, keep=rule.rule if not rule.labels else rule, breaks=rule.breaks) for rule in rules]
        for rules in (
            (Bands(((0.0, 0.1075), (0.199, 0.4937))), Bands(((0.0, 0.0812), (0.7918, 0.8539)))),
            (Bands(((-np.inf, 0.6121),), labels=True), Bands(((-np.inf, -0.13), (0.953, 1.116)), labels=True)),
        )
    )
    return {
        "practice, best rules of the score": PracticeProblem(0.25, 1e-3, near),
        "practice, best rules of score and label": PracticeProblem(0.25, 1e-3, seeing),
    }
