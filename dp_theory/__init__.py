"""What the paper proves, and the theory beyond it: selection rules, asymptotics, simulators and sweeps.

`predict` and `simulate` answer for every kind of problem:

    Problem          ridge regression on selected rows: Theorem 1 and Corollary 1
    SpanProblem      mixtures of groups with rules, soft weights, labellers and flips; any covariance, any convex loss
    PracticeProblem  the practice loop, round by round
    SoftmaxProblem   softmax regression with K classes on rows that a selector of K classes chose

The other questions have functions of their own:

    fit, forecast                  read measured curves, and continue them
    check                          says whether the theory holds for features that somebody has
    sweep, optimum, scaling        compare ways to spend a budget
    best_selection                 searches all selection rules

The module `noise` says what practice is worth where labels are wrong.
`RULES` has the selection rules by name.

Conventions, in all of these: rho is the cosine between selector and truth. phi = d/n is dimensions per row of the
*pool*, whether the row is kept or not, and psi = d/m is dimensions per kept row. The ridge lam is per row of the pool
in `predict` and `simulate`, and per training row in `sweep`, `optimum`, `check` and `Budget`. The module
dp_theory.ridge.problem has the formulas.

Every name is imported on first use. Nothing needs torch.
"""

from pathlib import Path

from dp_base.imports import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, Path(__file__).with_suffix(".pyi"))
