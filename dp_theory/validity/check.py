"""Whether the Gaussian theory of selection holds for given features, and how wrong it would be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from dp_base.errors import InputError
from dp_theory.api import predict
from dp_theory.numerics.checks import (
    MOST_TRIALS,
    require,
    require_number,
    require_seed,
    require_size,
    require_some,
    require_whole,
)
from dp_theory.rules import Rule, make_rule
from dp_theory.validity.assumptions import (
    equal_lengths,
    isotropic_rest,
    no_pull,
    normal_plane,
    normal_selector,
    normal_truth,
    uniform_flips,
)
from dp_theory.validity.experiment import MOST_USED, measured_errors
from dp_theory.validity.features import Features
from dp_theory.validity.moments import KeptMoments
from dp_theory.validity.recipe import LAWS, predicted_error
from dp_theory.validity.view import View

if TYPE_CHECKING:
    import pandas as pd

RULES = ("random", "keep-hard", "keep-easy")
LAM = 0.05
MOST_SIZES, FEWEST_KEPT = 6, 16  # sizes that are compared: d/2, d, 2d, …, of at least this many rows
STEPS = ("gaussian", *LAWS, "measured law")  # each column of predictions takes one thing more from the rows


@dataclass(frozen=True, eq=False)
class Check:
    """What a check found.

    curves: a row for each rule and number of kept rows: rule, kept, share (of the rows, that the rule keeps), the
    predictions STEPS, and measured, se (with test rows also that of their number, and of the law's), z (of the Gaussian
    theory; in units of se and of what N rows leave open, which are not all rows of their kind), z_law (of the measured
    law, which knows these rows). `gaussian` knows Σ, ρ and the flips. Each further column replaces one thing by what
    was measured: the law of t, of ζ, of both, of labels, of rows' lengths, and at last all second moments of kept rows.
    nan: not measured, since too few rows are kept.

    assumptions: assumption, statistic, p_value, effect (the largest relative change of a prediction when the assumption
    is replaced by what was measured), at (its rule and kept rows), verdict: 'holds', 'fails, harmless' where the effect
    is within the tolerance, 'fails'. The last two rows hold the predictions of theory and of the measured law against
    the experiment; there the effect is the measured error over the predicted one, less 1.
    """

    view: View
    curves: pd.DataFrame
    assumptions: pd.DataFrame

    @property
    def gaussian_holds(self) -> bool:
        """Whether the Gaussian theory's errors are those that were measured, within tolerance or noise.

        Where a rule keeps too few rows to measure, no assumption must fail either.
        """
        *verdicts, theory, _ = self.assumptions["verdict"]
        judged = verdicts if self.curves["measured"].isna().any() else []
        return "fails" not in (theory, *judged)

    @property
    def law_holds(self) -> bool:
        """Whether the errors predicted from the measured law are."""
        return bool(self.assumptions["verdict"].iloc[-1] != "fails")


def check(
    features: Features,
    rules: Sequence[str] = RULES,
    *,
    keep: float = 0.3,
    lam: float = LAM,
    sizes: Sequence[int] | None = None,
    trials: int = 20,
    seed: int = 0,
    level: float = 0.01,
    tolerance: float = 0.1,
    advance: Callable[[int], None] = lambda done: None,
) -> Check:
    """Hold the theory of ridge regression on selected rows against features, assumption by assumption.

    rules: by name, each at the threshold that keeps a share `keep` of normal scores. lam: ridge per kept row, in units
    of the features' mean variance. sizes: numbers of kept rows; by default d/2, d, 2d, … as far as there are rows.
    trials: experiments, on random rows. level: of all tests together. tolerance: a relative error that does not matter.
    advance(1) is called after each rule.

    Raises InputError for parameters outside their domain, too few rows, also of those kept, and features without
    variance or labels that have nothing to do with them.
    """
    import pandas as pd

    require_number(keep=keep, lam=lam, level=level, tolerance=tolerance)
    require_whole(trials=trials)
    require_seed(seed)
    require("lam", lam, 0 < lam < np.inf, "be positive: the ridge per kept row, over the mean variance")
    require("level", level, 0 < level < 1, "lie in (0, 1): it is a probability")
    require("tolerance", tolerance, 0 < tolerance < np.inf, "be positive: a relative error")
    require_size("trials", trials, 4, MOST_TRIALS, "a standard error is needed")
    if not rules or len(set(rules)) < len(rules):
        raise InputError(f"rules = {', '.join(rules) or 'none'}: name at least one, each once")
    chosen = {name: make_rule(name, keep=None if name == "keep-all" else keep) for name in rules}
    view = View.of(features, lam)
    rows = []
    for name, rule in chosen.items():
        rows += [{"rule": name} | row for row in _curve(view, rule, lam, _sizes(view, sizes), trials, seed)]
        advance(1)
    curves = pd.DataFrame(rows)
    if curves["measured"].isna().all():
        most = round(MOST_USED * curves["share"].max() * len(view.y))
        raise InputError(f"keep = {keep:g}: too few rows are kept to measure anything, {most} at most: raise it")
    return Check(view, curves, _table(view, curves, list(chosen.values()), trials, level, tolerance))


def _sizes(view: View, wanted: Sequence[int] | None) -> list[int]:
    """Numbers of kept rows to compare, as far as half of the rows go."""
    if wanted is None:
        doubled = [round(view.dimension * 2.0**power) for power in range(-1, MOST_SIZES - 1)]
        return [size for size in doubled if FEWEST_KEPT <= size <= len(view.y) / 2] or [max(FEWEST_KEPT, doubled[0])]
    require_some(sizes=wanted)
    for size in wanted:
        require_whole(sizes=size)
        require_size("sizes", size, 2, MOST_USED * len(view.y), "kept rows, while a quarter of the rows test")
    return sorted(set(wanted))


def _curve(view: View, rule: Rule, lam: float, sizes: Sequence[int], trials: int, seed: int) -> list[dict[str, float]]:
    """A rule's rows of `Check.curves`."""
    moments = KeptMoments(view, rule)
    laws = {name: law(view) for name, law in LAWS.items()}
    errors = measured_errors(view, rule, np.asarray(sizes), lam, trials, seed)
    p = float(rule.moments(0.0).p)
    angles = predict(view.problem(rule, p * view.dimension / np.asarray(sizes, float), lam * p)).test_error
    found = []
    for place, size in enumerate(sizes):
        trained = errors[:, place]
        enough = not np.isnan(trained).any() and size <= MOST_USED * moments.independent
        if not enough:
            trained = np.full(trials, np.nan)
        if found and not enough:
            break
        row = {"kept": size, "share": moments.kept_rows / len(view.y)}
        row["gaussian"] = view.flips + (1 - 2 * view.flips) * float(angles[place])
        row |= {name: predicted_error(view, law, rule, size, lam) for name, law in laws.items()}
        row["measured law"] = moments.error(size, lam) if enough else np.nan
        mean, se = float(trained.mean()), float(trained.std(ddof=1) / np.sqrt(trials))
        likely = _likely(mean, row["gaussian"], len(view.y))
        sample = likely * (1 - likely) / len(view.y)  # of what these rows, which all trials share, happen to be
        if view.test is not None:  # all trials share the rows that test, and all laws those that they were measured on
            likely = _likely(mean, row["gaussian"], len(view.test[1]))
            se = float(np.sqrt(se**2 + likely * (1 - likely) / len(view.test[1]) + sample))
        resolved = np.maximum(se, 0.5 / len(view.y))  # no finer than half an error among all rows
        of_theory = resolved if view.test is not None else np.hypot(resolved, np.sqrt(sample))
        row |= {"measured": mean, "se": se, "z": (mean - row["gaussian"]) / of_theory}
        found.append(row | {"z_law": (mean - row["measured law"]) / resolved})
    return found


def _likely(mean: float, predicted: float, rows: int) -> float:
    """The error that scatters as the mean over so many rows does: one of none is no proof that none are made."""
    return min(0.5, max(mean, predicted, 0.5 / rows))


def _table(
    view: View, curves: pd.DataFrame, rules: Sequence[Rule], trials: int, level: float, tolerance: float
) -> pd.DataFrame:
    """`Check.assumptions`."""
    import pandas as pd

    tests = [
        ("selector's score t is normal", normal_selector(view), "gaussian", "selector"),
        ("truth's score g is normal", normal_truth(view), "selector", "margins"),
        ("(t, g) are jointly normal", normal_plane(view), "margins", "plane"),
        ("labels are sign(g), flips uniform", uniform_flips(view), "plane", "labels"),
        ("rows are equally long off the plane", equal_lengths(view), "labels", "lengths"),
        ("kept labels do not pull off the plane", no_pull(view, rules), "lengths", "measured law"),
        ("kept rows are isotropic off the plane", isotropic_rest(view, rules), "lengths", "measured law"),
    ]
    rows = []
    for name, test, before, after in tests:
        change = (curves[after] / curves[before] - 1).to_numpy(float)
        rows.append(_row(name, test.statistic, test.p_value, change, curves, level / len(tests), tolerance))
    known = curves["measured"].notna().to_numpy()
    for name, column, z in (
        ("Gaussian theory, all in all", "gaussian", "z"),
        ("the measured law", "measured law", "z_law"),
    ):
        sizes = np.nan_to_num(curves[z].abs().to_numpy(float))
        p = np.minimum(1.0, max(1, known.sum()) * 2 * student.sf(sizes, trials - 1))
        off = (curves["measured"] / curves[column] - 1).to_numpy(float)
        judged = np.where(p < level, off, np.nan) if np.any(p < level) else off
        rows.append(_row(name, f"largest |z| = {sizes.max():.3g}", float(p.min()), judged, curves, level, tolerance))
    return pd.DataFrame(rows)


def _row(
    name: str, statistic: str, p: float, change: np.ndarray, curves: pd.DataFrame, level: float, tolerance: float
) -> dict[str, object]:
    """A row of `Check.assumptions`. change: relative, of each row of the curves; nan where there is none."""
    known = np.where(np.isfinite(change), np.abs(change), -1.0)
    where = int(known.argmax())
    effect = float(change[where]) if known[where] >= 0 else np.nan
    verdict = "holds" if not p < level else "fails" if abs(effect) > tolerance else "fails, harmless"
    at = f"{curves['rule'].iloc[where]}, {curves['kept'].iloc[where]}"
    return {"assumption": name, "statistic": statistic, "p_value": p, "effect": effect, "at": at, "verdict": verdict}
