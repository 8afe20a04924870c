"""Whether the Gaussian theory holds for given features."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from dp_base.errors import InputError
from dp_theory.api import predict
from dp_theory.numerics.checks import (
    MAX_TRIALS,
    Advance,
    Array,
    Float,
    list_of,
    require_kind,
    require_number,
    require_positive_number,
    require_seed,
    require_size,
    require_some,
    require_tolerance,
    require_whole,
    unseen,
)
from dp_theory.ridge.simulators.dense import fit_ridge
from dp_theory.rules import Rule, listed, make_rule
from dp_theory.validity.assumptions import (
    equal_lengths,
    normal,
    uniform_flips,
)
from dp_theory.validity.features import Features
from dp_theory.validity.second_moments import KeptMoments
from dp_theory.validity.view import FeatureView

if TYPE_CHECKING:
    import pandas as pd

RULES = ("random", "keep-hard", "keep-easy")
LAM_PER_ROW = 0.05
# The fewest trials that give a standard error.
MIN_TRIALS = 4
# Numbers of kept rows that are compared by default: d/2, d, 2d, ….
MAX_SIZES = 6
# The least of them.
MIN_KEPT = 16
# The largest share of the kept rows that trials are taken to share.
MAX_SHARED = 0.95
# Share of the rows that may train; the others test, where there are no test rows.
MAX_USED = 0.75
# After which no more trials are added.
SECONDS = 60.0
# Level of significance of all tests together.
LEVEL = 0.01
# Families of tests that share the level: of the assumptions, of the theory and of the measured law.
FAMILIES = 3
Conclusion = Literal["holds", "fails", "undecided"]


class Needed(NamedTuple):
    """Rows and trials that would decide on the Gaussian theory; 0 where it is decided."""

    rows: int
    trials: int


@dataclass(frozen=True, eq=False)
class Check:
    """What a check found.

    Attributes
    ----------
    curves
        A row for each rule and number of kept rows. rule, kept and share (of the rows, that the rule keeps) say which.
        Predicted test errors are `gaussian`, which knows the covariance, rho and the flips, and `measured law`, which
        knows all second moments of kept rows. `measured` is the error of the experiment with standard error `se`. `z`
        and `z_law` are the differences from the two predictions over `se_gaussian` and `se_law`; `se_trials` is the
        part of the trials alone. Numbers are nan where too few rows are kept.
    assumptions
        A row for each assumption, with its statistic and p_value, and the verdict "rejected" or "not rejected". The
        last two rows hold the two predictions against the experiment. Their `effect` is the largest measured error over
        the predicted one, less 1, and `at` says where. Their verdict is "holds" where all errors are shown to be within
        the tolerance, "fails" where one is significantly off by more, and else "undecided".
    needed
        About how many more would decide on the Gaussian theory.
    trials
        Experiments that were made for each rule.
    """

    view: FeatureView
    curves: "pd.DataFrame"
    assumptions: "pd.DataFrame"
    needed: Needed
    trials: int

    @property
    def gaussian(self) -> Conclusion:
        """The verdict; where a rule keeps too few rows, nobody knows unless all assumptions hold."""
        *of_assumptions, of_theory, _ = self.assumptions["verdict"]
        if of_theory == "holds" and "rejected" in of_assumptions and self.curves["measured"].isna().any():
            return "undecided"
        return of_theory

    @property
    def law(self) -> Conclusion:
        return self.assumptions["verdict"].iloc[-1]


def check(
    features: Features,
    rules: str | Sequence[str] = RULES,
    *,
    keep: float = 0.3,
    lam_per_row: float = LAM_PER_ROW,
    kept: Sequence[int] | None = None,
    trials: int = 20,
    seed: int = 0,
    tolerance: float = 0.1,
    advance: Advance = unseen,
) -> Check:
    """Hold the theory of ridge regression on selected rows against features, assumption by assumption.

    Parameters
    ----------
    features
        By `Features.of`.
    rules
        As `make_rule` takes them, each once.
    keep
        Share of normal scores that each rule keeps, in (0, 1].
    lam_per_row
        Ridge per kept row, positive, in units of the features' mean variance.
    kept
        Numbers of kept rows, from 2 to 3/4 of all, by default d/2, d, 2d, … as far as there are rows.
    trials
        Experiments to begin with, at least 4, each on random rows. They double until the Gaussian theory is decided
        or more of them would not tell, and for SECONDS at most.
    tolerance
        A relative error of predictions that does not matter, positive.
    seed
        Of all random numbers.
    advance
        advance(1) is called after each rule.

    Raises
    ------
    InputError
        For parameters outside their domain, for too few rows or too few that are kept, for features without variance,
        and for labels that have nothing to do with them.
    """
    import pandas as pd

    require_kind("features", features, Features, "Features, as by Features.of(X, y)")
    require_number(keep=keep)
    require_whole(trials=trials)
    require_seed(seed)
    require_positive_number("the ridge per kept row, over the mean variance", lam_per_row=lam_per_row)
    require_tolerance(tolerance)
    require_size("trials", trials, MIN_TRIALS, MAX_TRIALS, "a standard error is needed")
    rules = listed(rules)
    if not rules or len(set(rules)) < len(rules):
        raise InputError(f"rules = {', '.join(rules) or 'none'}: name at least one, each once")
    rule_of = {name: make_rule(name, keep=None if name == "keep-all" else keep) for name in rules}
    until = monotonic() + SECONDS
    view = FeatureView.of(features, lam_per_row)
    sizes = _sizes(view, kept)
    measured = []
    for name, rule in rule_of.items():
        measured.append(_MeasuredCurve.of(view, name, rule, lam_per_row, sizes, trials, seed))
        advance(1)
    level = LEVEL / FAMILIES
    tested = _tested_assumptions(view, level)
    while True:
        level /= 2  # which every look at the trials so far takes half of what is left of
        curves = pd.concat([each.table() for each in measured], ignore_index=True)
        if curves["measured"].isna().all():
            max_kept = round(MAX_USED * curves["share"].max() * len(view.y))
            raise InputError(
                f"keep = {keep:g}: too few rows are kept to measure anything, {max_kept} at most: raise it"
            )
        compared = _compared_predictions(curves, trials, level, tolerance)
        is_undecided = compared[0]["verdict"] == "undecided"
        needed = _needed(len(view.y), curves, trials, level, tolerance) if is_undecided else Needed(0, 0)
        if not needed.trials or 2 * trials > MAX_TRIALS or monotonic() > until:
            return Check(view, curves, pd.DataFrame(tested + compared), needed, trials)
        measured = [each.grown(trials, seed) for each in measured]
        trials *= 2


def _sizes(view: FeatureView, wanted: Sequence[int] | None) -> list[int]:
    rows = len(view.y)
    if wanted is None:
        doubled = [round(view.dimension * 2.0**power) for power in range(-1, MAX_SIZES - 1)]
        fitting = [size for size in doubled if MIN_KEPT <= size <= rows / 2]
        return fitting or [max(MIN_KEPT, doubled[0])]
    sizes = list_of(wanted)
    require_some(kept=sizes)
    for size in sizes:
        require_whole(kept=size)
        require_size("kept", size, 2, MAX_USED * rows, "rows that train, while a quarter of the rows test")
    return sorted(set(sizes))


# -- curves


@dataclass(frozen=True)
class _MeasuredCurve:
    """A rule's predictions at some numbers of kept rows, and its experiments there; nan where too few rows are kept."""

    view: FeatureView
    name: str
    rule: Rule
    lam: float
    sizes: Sequence[int]
    moments: KeptMoments
    gaussian: Float[Array, " sizes"]
    law: Float[Array, " sizes"]
    errors: Float[Array, "trials sizes"]

    @classmethod
    def of(
        cls, view: FeatureView, name: str, rule: Rule, lam: float, sizes: Sequence[int], trials: int, seed: int
    ) -> "_MeasuredCurve":
        moments = KeptMoments(view, rule)
        errors = measured_errors(view, rule, sizes, lam, range(trials), seed)
        is_kept = np.isfinite(errors).all(0) & (np.asarray(sizes) <= MAX_USED * moments.independent)
        count = max(1, int(np.append(is_kept, False).argmin()))  # up to the first that is too large
        is_kept, sizes = is_kept[:count], sizes[:count]
        p = float(rule.moments(0.0).p)
        problems = [view.problem(rule, p * view.dimension / size, lam * p) for size in sizes]
        against_truth = np.array([predict(problem).test_error for problem in problems])
        law = [moments.error(size, lam) if kept else np.nan for size, kept in zip(sizes, is_kept, strict=True)]
        errors = np.where(is_kept, errors[:, :count], np.nan)
        gaussian = view.flips + (1 - 2 * view.flips) * against_truth
        return cls(view, name, rule, lam, sizes, moments, gaussian, np.array(law), errors)

    def grown(self, more: int, seed: int) -> "_MeasuredCurve":
        """With so many more trials."""
        before = len(self.errors)
        errors = measured_errors(self.view, self.rule, self.sizes, self.lam, range(before, before + more), seed)
        return replace(self, errors=np.vstack([self.errors, np.where(np.isnan(self.law), np.nan, errors)]))

    def table(self) -> "pd.DataFrame":
        import pandas as pd

        view, all_rows = self.view, len(self.view.y)
        errors = pd.DataFrame(self.errors)  # a trial may have kept too few rows
        mean, deviation = errors.mean().to_numpy(), errors.std().to_numpy()
        se_trials = deviation / np.sqrt(errors.count().to_numpy().clip(1))
        rate = np.maximum(mean, self.gaussian).clip(0.5 / all_rows, 0.5)  # as large as the true one may be
        se, of_rows = se_trials, rate * (1 - rate) / all_rows
        if view.test is not None:
            tests = len(view.test[1])
            rate = rate.clip(0.5 / tests)
            se, of_rows = np.sqrt(se_trials**2 + rate * (1 - rate) / tests + of_rows), 0.0
        se_law = np.maximum(se, 0.5 / all_rows)  # half an error among all rows
        # trials share a fraction f of the kept rows, so the theory's difference also scatters by f·s²/(1 − f)
        kept = np.asarray(self.sizes)
        shared = np.minimum(kept / np.maximum(kept, self.moments.independent), MAX_SHARED)
        se_gaussian = np.sqrt(se_law**2 + shared / (1 - shared) * deviation**2 + of_rows)
        return pd.DataFrame(
            {
                "rule": self.name,
                "kept": kept,
                "share": self.moments.kept_rows / all_rows,
                "gaussian": self.gaussian,
                "measured law": self.law,
                "measured": mean,
                "se": se,
                "se_trials": se_trials,
                "se_gaussian": se_gaussian,
                "se_law": se_law,
                "z": (mean - self.gaussian) / se_gaussian,
                "z_law": (mean - self.law) / se_law,
            }
        )


def measured_errors(
    view: FeatureView, rule: Rule, sizes: Sequence[int], lam: float, trials: Sequence[int], seed: int
) -> Float[Array, "trials sizes"]:
    """Test errors on kept rows, nan where a rule keeps too few. All sizes of a trial share a random order."""
    errors = np.full((len(trials), len(sizes)), np.nan)
    keep = view.keep_probability(rule)
    max_rows = int(MAX_USED * len(keep))
    for row, trial in zip(errors, trials, strict=True):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(trial,)))
        order = rng.permutation(len(keep))
        kept = np.flatnonzero(rng.random(max_rows) < keep[order[:max_rows]])  # places in the order
        for i, size in enumerate(sizes):
            if size <= len(kept):
                train = order[kept[:size]]
                w = fit_ridge(view.x[train], view.y[train], size * lam)
                not_reached = order[kept[size - 1] + 1 :]
                x, y = view.test or (view.x[not_reached], view.y[not_reached])
                row[i] = np.mean(y * (x @ w) <= 0)
    return errors


# -- verdicts


def _tested_assumptions(view: FeatureView, level: float) -> list[dict[str, Any]]:
    tests = {
        "selector's score t is normal": normal(view.plane[0]),
        "truth's score g is normal": normal(view.score),
        "labels are sign(g), flips uniform": uniform_flips(view),
        "rows are equally long off the plane": equal_lengths(view),
    }
    rows = []
    for name, test in tests.items():
        verdict = "rejected" if test.p_value < level / len(tests) else "not rejected"
        rows.append({"assumption": name, **test._asdict(), "effect": np.nan, "at": "", "verdict": verdict})
    return rows


def _compared_predictions(curves: "pd.DataFrame", trials: int, level: float, tolerance: float) -> list[dict[str, Any]]:
    rows = []
    for name, column, se in (
        ("Gaussian theory, all in all", "gaussian", curves["se_gaussian"]),
        ("the measured law", "measured law", curves["se_law"]),
    ):
        off = curves["measured"] - curves[column]
        change = curves["measured"] / curves[column] - 1
        size = (off / se).abs()
        p_values = np.minimum(1.0, size.count() * 2 * stdtr(trials - 1, -size))
        is_off = p_values < level
        largest: Any = change[is_off if is_off.any() else size.notna()].abs().idxmax()
        farthest = off.abs() + stdtrit(trials - 1, 1 - level) * se
        verdict = "holds" if (farthest / curves[column]).max() < tolerance else "undecided"
        if is_off.any() and abs(change[largest]) > tolerance:
            verdict = "fails"
        rows.append(
            {
                "assumption": name,
                "statistic": f"largest |z| = {size.max():.3g}",
                "p_value": p_values.min(),
                "effect": change[largest],
                "at": f"{curves['rule'][largest]}, {curves['kept'][largest]}",
                "verdict": verdict,
            }
        )
    return rows


def _needed(rows: int, curves: "pd.DataFrame", trials: int, level: float, tolerance: float) -> Needed:
    off = (curves["measured"] / curves["gaussian"] - 1).abs().clip(upper=tolerance / 2)
    allowed = ((tolerance - off) * curves["gaussian"] / stdtrit(trials - 1, 1 - level)) ** 2 / 2
    of_trials = curves["se_trials"] ** 2
    of_rows = curves["se_gaussian"] ** 2 - of_trials

    def more(count: int, variance: "pd.Series") -> int:
        factor = float((variance / allowed).max())
        return max(0, round(count * factor) - count)

    return Needed(more(rows, of_rows), more(trials, of_trials))
