"""The loop's limits, stage by stage."""

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.practice.cohorts import cohort
from dp_theory.practice.dmft import next_stage
from dp_theory.practice.problem import PracticePrediction, PracticeProblem

TOLERANCE = 1e-9  # of the fixed point, relative
RESOLUTION = 1e-6  # least test error that double precision resolves, to about 1e-6 of it


def predict(practice: PracticeProblem) -> PracticePrediction:
    """Exact limits of every stage, for fresh or accumulated pools, stage by stage; see the module's head.

    Raises ConvergenceError where the order parameters miss their equations by more than TOLERANCE, or where the
    test error falls below RESOLUTION.
    """
    cohorts, additions, certificate = [], [], 0.0
    a, c, x = np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0))
    stages = len(practice.additions) + 1
    errors = np.zeros(stages)
    for s in range(stages):
        if s == 0:
            addition, cosine = practice.initial_rows, 1.0
        else:
            plan = practice.additions[s - 1]
            addition = plan(errors[s - 1]) if callable(plan) else plan
            additions.append(addition)
            cosine = a[s - 1] / np.hypot(a[s - 1], np.sqrt(c[s - 1, s - 1]))
        last = stages if practice.accumulate else s + 1
        cohorts.append(cohort(addition, practice.flip, cosine, s - 1 if s else None, s, last))
        a, c, x, residual = next_stage(practice, cohorts, a, c, x)
        where = f"practice at phi = {practice.phi:g}, lam = {practice.ridges[s]:g}, stage {s}"
        if not (residual < TOLERANCE and c[s, s] > 0):
            raise ConvergenceError(f"{where}: relative residual {residual:.1e}, C = {c[s, s]:.3g}")
        certificate = max(certificate, residual)
        errors[s] = _test_error(a[s], c[s, s], practice.labeller)
        if errors[s] < RESOLUTION:
            raise ConvergenceError(
                f"{where}: test error {errors[s]:.1e}; below {RESOLUTION:.0e} double precision does not resolve the"
                " loop: ask for fewer rounds"
            )
    return PracticePrediction(
        practice,
        tuple(additions),
        errors,
        np.cumsum([cohort.mass.sum() for cohort in cohorts]),
        np.cumsum([cohort.candidates for cohort in cohorts]),
        a,
        c,
        x,
        certificate,
    )


def _test_error(overlap: float, variance: float, labeller: float) -> float:
    """angle(θ, Σ^½w0)/π from the overlap with the labeller; off it θ is isotropic, so cosines multiply."""
    if labeller == 1:
        return float(np.arctan2(np.sqrt(variance), overlap) / np.pi)
    return float(np.arccos(labeller * overlap / np.hypot(overlap, np.sqrt(variance))) / np.pi)
