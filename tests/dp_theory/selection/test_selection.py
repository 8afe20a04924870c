"""The best selection: its derivative, its optimality, its limits, and the loop's sequence of rules."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, ndtr

from dp_base.errors import InputError
from dp_theory import (
    Addition,
    Bands,
    BoundaryFlips,
    Direct,
    Entropy,
    Group,
    KeepAll,
    KeepEasy,
    KeepHard,
    PracticeProblem,
    Problem,
    SpanProblem,
    SymmetricRule,
    Window,
    best_selection,
    best_sequence,
    influence,
    predict,
    simulate,
)
from dp_theory.budgets.phases import keep_hard_law
from dp_theory.numerics.quadrature import pdf
from dp_theory.selection import Budget, best_window, compare_selections
from dp_theory.selection.influence import ridge_limit, ridge_ratio
from dp_theory.selection.margins import SelectorView
from dp_theory.selection.rivals import best_entropy, rivals
from dp_theory.selection.search import RuleSearch
from dp_theory.selection.static import local_optima


def labelled(t, y):
    return 0.3 + 0.4 * expit(2 * y * t) * np.exp(-(t**2) / 8)


def blind(t, y):
    return 0.2 + 0.6 * np.exp(-(t**2) / 2)


@pytest.mark.parametrize("keep", [labelled, blind])
@pytest.mark.parametrize(("phi", "lam"), [(0.3, 0.05), (0.2, 0.0), (1.5, 0.0), (2.0, 0.3)])
def test_the_influence_is_the_derivative(keep, phi, lam):
    """Against Richardson's finite differences of the span recipe, which shares no formula with it: to 1e-8."""
    rho, flip = 0.8, 0.1

    def change(t, y):
        return 0.2 * np.cos(t) * (1 + 0.5 * np.tanh(y * t) * (keep is labelled))

    def error(step):
        group = Group(along=(rho, 0.6), flip=flip, keep=lambda t, y: keep(t, y) + step * change(t, y))
        return predict(SpanProblem((1.0, 0.0), [group], phi, lam)).test_error

    def slope(step):
        return (error(step) - error(-step)) / (2 * step)

    t, total = np.linspace(-9, 9, 6001), 0.0
    for y in (1.0, -1.0):
        density = (flip + (1 - 2 * flip) * ndtr(y * t * rho / 0.6)) * pdf(t)
        of_row = influence(keep, t, y, rho=rho, phi=phi, lam=lam, flip=flip)
        total += np.trapezoid(change(t, y) * of_row * density, t)
    assert total == pytest.approx((4 * slope(5e-3) - slope(1e-2)) / 3, rel=1e-8)
    if keep is blind:
        mean = influence(keep, t, rho=rho, phi=phi, lam=lam, flip=flip)
        assert np.trapezoid(change(t, 1.0) * mean * pdf(t), t) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("flip", [0.0, 0.49])
def test_the_best_rule_keeps_the_least_share(flip):
    """With few rows all rules are alike, so that nothing is polished."""
    found = best_selection(Budget.of(0.9, 1e-3, "kept", smallest_keep=0.1, flip=flip))
    assert found.keep == pytest.approx(0.1, rel=2e-6)
    asked = Budget.of(0.9, 1e-3, "kept", smallest_keep=0.1, flip=flip)
    assert found.test_error == pytest.approx(asked.errors(SelectorView(0.9, flip).moments(found.rule)[:, None])[0])


@pytest.mark.parametrize("labels", [False, True])
def test_bands_are_widened_to_the_least_share(labels):
    view = SelectorView(0.8, 0.1, labels)
    for kept in (((0.5, 0.6), (0.61, 0.7)), ((0.0, 1e-3),), ((2.0, np.inf),)):
        bands = Bands(kept, labels)
        wide = RuleSearch(view, Budget.of(0.8, 1.0), 0.2).widened(bands)
        assert view.moments(wide)[0] == pytest.approx(0.2, rel=1e-9)
        assert np.all(wide([0.55, 5e-4, 3.0], 1.0) >= bands([0.55, 5e-4, 3.0], 1.0))
        assert RuleSearch(view, Budget.of(0.8, 1.0), 0.1).widened(wide) == wide


def test_at_the_ridgeless_peak_the_error_is_a_half():
    found = best_selection(Budget.of(0.9, 1.0, "kept", smallest_keep=0.1, lam=0))
    assert (found.test_error, found.gap) == (0.5, 0.0)


def test_the_influence_of_a_rule_is_that_of_its_function():
    at: dict[str, Any] = {"rho": 0.7, "phi": 0.4, "lam": 0.02}
    rule = influence(KeepHard(0.8), 0.5, -1.0, **at)
    window = influence(lambda t, y: (abs(t) <= 0.8) * 1.0, 0.5, -1.0, breaks=(0.8,), **at)
    assert rule == pytest.approx(window, rel=1e-12)
    assert rule == pytest.approx(influence(Bands(((0.0, 0.8),)), 0.5, -1.0, breaks=(0.8,), **at), rel=1e-12)
    assert influence(KeepHard(0.8), [0.5, -0.5], [[-1.0], [1.0]], **at).shape == (2, 2)
    for name, value in (("rho", 1.0), ("flip", 0.5), ("phi", -1.0)):
        with pytest.raises(InputError):
            influence(KeepHard(0.8), 0.5, **{**at, name: value})


@pytest.mark.parametrize("lam", [0.0, 0.03])
@pytest.mark.parametrize("psi", [0.5, 1.7])
def test_the_learner_is_theorem_1_and_the_span_recipe(psi, lam):
    r = ridge_ratio(psi, lam)
    for rule in (KeepEasy(0.7), SymmetricRule(lambda t: np.exp(-(t**2)))):
        moments = SelectorView(0.8).moments(lambda t, y, rule=rule: rule.keep_probability(t), rule.breakpoints())
        want = predict(Problem(Direct(rule), 0.8, psi, lam)).test_error
        assert ridge_limit(moments, psi, 0.8, r).test_error == pytest.approx(want, rel=1e-10)
    bands = Bands(((-np.inf, -0.4), (0.2, 1.1)), labels=True)
    moments = SelectorView(0.8, 0.1, labels=True).moments(bands)
    group = Group(1 / moments[0], flip=0.1, along=(0.8, 0.6), keep=bands, breaks=(-1.1, -0.4, -0.2, 0.2, 0.4, 1.1))
    want = predict(SpanProblem((1.0, 0.0), [group], psi, lam)).test_error
    assert ridge_limit(moments, psi, 0.8, r).test_error == pytest.approx(want, rel=1e-9)


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


BUDGETS = [
    Budget.of(0.9, 1.0, "kept"),
    Budget.of(0.9, 3.0, "kept", smallest_keep=0.1, flip=0.1),
    Budget.of(0.5, 0.8, "kept", smallest_keep=0.05),
    Budget.of(0.6, 10.0, "generated"),
    Budget.of(0.95, 20.0, "compute"),
    Budget.of(0.9, 4.0, "compute", lam=0.05, flip=0.05),
]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("labels", [False, True])
def test_the_slope_of_a_budget_counts_what_rows_cost(budget, labels):
    moments = SelectorView(budget.rho, budget.flip, labels).moments(Bands(((0.2, 1.4),), labels))
    steps = 1e-5 * np.eye(6)
    numeric = (budget.errors(moments[:, None] + steps) - budget.errors(moments[:, None] - steps)) / 2e-5
    assert budget.slope(moments) == pytest.approx(numeric, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("budget", [BUDGETS[0], BUDGETS[1], BUDGETS[3], *(slow(b) for b in (BUDGETS[2], *BUDGETS[4:]))])
def test_nothing_beats_the_best(budget):
    """Not the usual rules at their best, no band and no complement of one, nothing random; nor to first order."""
    best, view = best_selection(budget), SelectorView(budget.rho, budget.flip)
    assert all(best.test_error <= other.test_error * (1 + 1e-9) for other in rivals(budget).values())
    assert best.gap < 1e-6 * best.test_error
    x, masses = view.atoms
    cumulated = np.concatenate([np.zeros((6, 1)), np.cumsum(masses, axis=1)], axis=1)
    whole, cumulated = cumulated[:, -1:], cumulated[:, :: len(x) // 150]
    low, high = np.triu_indices(cumulated.shape[1], 1)
    band = cumulated[:, high] - cumulated[:, low]
    rest = whole - band
    rng = np.random.default_rng(0)
    cuts = np.sort(rng.choice(cumulated.shape[1], (400, 5)), axis=1)
    several = sum(cumulated[:, cuts[:, i + 1]] - cumulated[:, cuts[:, i]] for i in (0, 2))
    several += whole - cumulated[:, cuts[:, 4]]
    tried = np.concatenate([band, rest, several], axis=1)
    assert budget.errors(tried[:, tried[0] > budget.least]).min() > best.test_error * (1 - 1e-9)


def test_the_gap_notices_a_rule_that_is_not_best():
    budget = Budget.of(0.9, 1.0, "kept", smallest_keep=0.1)
    search = RuleSearch(budget.view(), budget, 0.1)
    best = best_selection(budget)
    for other in (KeepHard.with_keep_fraction(0.1), KeepEasy.with_keep_fraction(0.1)):
        band = ((0.0, float(other.alpha)),) if isinstance(other, KeepHard) else ((float(other.alpha), np.inf),)
        assert search.gap(Bands(band)) > 1e-3
    assert search.gap(best.rule) == best.gap < 1e-9
    assert len({round(found.value, 6) for found in local_optima(budget)}) >= 1


@pytest.mark.parametrize(("rho", "psi", "flip"), [(0.6, 0.5, 0.1), (0.9, 0.5, 0.0), (0.99, 0.1, 0.0)])
def test_without_ridge_the_best_tends_to_the_keep_hard_law(rho, psi, flip):
    """First lam → 0, then p → 0: the window of the least share, and the law's error, the faster the smaller p."""
    law, off = keep_hard_law(rho, psi, flip), []
    for share in (1e-3, 1e-4):
        best = best_selection(Budget.of(rho, 1 / psi, "kept", lam=0.0, flip=flip, smallest_keep=share))
        assert best.rule.bands == ((0.0, pytest.approx(KeepHard.with_keep_fraction(share).alpha, rel=1e-4)),)
        off.append(abs(best.test_error / law - 1))
    assert off[0] < 1e-4
    assert off[1] < 0.05 * off[0]


def test_with_few_rows_a_band_halves_the_error_and_experiments_agree():
    """At psi = 1 rows of one |t| have labels that are linear in the score; the usual rules have none like it."""
    best = best_selection(Budget.of(0.99, 1.0, "kept", smallest_keep=0.05))
    easy = rivals(Budget.of(0.99, 1.0, "kept", smallest_keep=0.05))["keep-easy"]
    assert best.test_error < 0.75 * easy.test_error
    problem = Problem(Direct(best.rule.rule), 0.99, 1 / best.kept, best.lam)
    assert predict(problem).test_error == pytest.approx(best.test_error, rel=1e-7)
    runs = simulate(problem, 4000, 60, engine="law")
    assert abs(runs.test_error - best.test_error) < 3.5 * runs.test_error_se


def test_the_entropy_rule_is_at_its_best():
    for budget in BUDGETS[3:4]:
        rule, moments = best_entropy(budget)
        found = float(budget.errors(moments[:, None])[0])

        def error(at, budget=budget):
            kappa, tilt = np.exp(np.clip(at[0], *np.log([1 / 8, 1000]))), np.sinh(np.clip(at[1], -np.arcsinh(1e4), 24))
            given = SelectorView(budget.rho).moments(lambda t, y: Entropy(tilt, kappa).keep_probability(t))
            return float(budget.errors(given[:, None])[0]) if given[0] >= budget.least else 0.5

        starts = [(0.0, 1.0), (2.0, 3.0), (1.5, -6.0)]
        least = min(minimize(error, start, method="Nelder-Mead").fun for start in starts)
        assert found <= least * (1 + 2e-4)
        want = predict(Problem(rule, budget.rho, budget.psi(moments[0]) * moments[0], 0.01)).keep_fraction
        assert moments[0] == pytest.approx(want, rel=1e-6)


def test_compare_names_all_and_refuses_what_is_no_budget():
    table = compare_selections(BUDGETS[4])
    assert list(table["test_error"]) == sorted(table["test_error"])
    names = {"best", "best, seeing labels", "keep-hard", "keep-easy", "entropy", "keep-all"}
    assert set(table["name"]) == names
    best, seeing = (table[table["name"] == name].iloc[0].to_dict() for name in ("best", "best, seeing labels"))
    assert best["excess"] == 0
    assert seeing["excess"] < -0.01
    assert best["generated"] + 0.1 * best["kept"] == pytest.approx(20)
    wrongs: list[dict[str, Any]] = [{"rho": 1.0}, {"budget": 0.0}, {"axis": "hours"}, {"lam": -1.0}, {"flip": 0.5}]
    for wrong in [*wrongs, {"smallest_keep": 0.0}]:
        with pytest.raises(InputError):
            Budget.of(**{"rho": 0.5, "budget": 2.0, **wrong})


LOOP = PracticeProblem(0.25, 1e-6)


@pytest.mark.parametrize(
    ("size", "rounds"), [pytest.param({"kept": 1.0}, 1, marks=pytest.mark.slow), ({"candidates": 1.0}, 2)]
)
def test_a_greedy_sequence_is_best_round_by_round(size, rounds):
    found = best_sequence(LOOP, rounds, least=0.1, **size)
    assert predict(found.problem).test_error == pytest.approx(found.test_error, rel=1e-7)
    assert np.all(found.gap < 0.01 * found.test_error[1:])
    for round_ in range(rounds):
        before = list(found.problem.additions[:round_])
        for low, high in ((0.0, 0.3), (0.0, 1.0), (0.0, 2.0), (0.5, 2.0), (1.0, 4.0)):
            window = Bands(((low * found.margins[round_], high * found.margins[round_]),)).rule
            rows = Addition(**size, keep=window)
            if size.get("candidates") or window.moments(0.5).p > 0.1:
                other = predict(PracticeProblem(0.25, 1e-6, [*before, rows])).test_error[-1]
                assert other > found.test_error[round_ + 1] * (1 - 1e-9)


def test_the_best_window_is_the_better_of_two_minima():
    """A narrow window, at which a bounded search ends, and a wide one."""
    problem, wide = (
        PracticeProblem(0.05, 0.0),
        KeepHard(5 * np.tan(np.pi * predict(PracticeProblem(0.05, 0.0)).test_error[0])),
    )
    kappa, errors = best_window(problem, 1, candidates=5.0)
    other = predict(PracticeProblem(0.05, 0.0, [Addition(candidates=5.0, keep=wide)])).test_error[-1]
    assert kappa > 3
    assert errors[-1] < other * (1 + 1e-9)


def test_all_rounds_together_are_no_worse_and_labels_help():
    greedy = best_sequence(LOOP, 2, candidates=1.0)
    full = best_sequence(LOOP, 2, candidates=1.0, full=True)
    kappa, window = best_window(LOOP, 2, candidates=1.0)
    assert full.test_error[-1] < greedy.test_error[-1] * (1 - 1e-8)
    assert full.test_error[1] > greedy.test_error[1]
    assert full.test_error[-1] < window[-1]
    assert 1 < kappa < 3
    bounded, widest = (each(LOOP, 1, candidates=1.0, least=0.9) for each in (best_sequence, best_window))
    assert bounded.test_error[-1] < widest[1][-1] * (1 + 1e-6)  # neither keeps less than nine of ten rows
    seeing = best_sequence(LOOP, 1, candidates=1.0, labels=True)
    assert seeing.test_error[1] < greedy.test_error[1]
    assert predict(seeing.problem).test_error == pytest.approx(seeing.test_error, rel=1e-7)
    for wrong in (PracticeProblem(0.25, 0.1, accumulate=False), PracticeProblem(0.25, 0.1, spectrum=np.ones(3))):
        with pytest.raises(InputError, match="accumulated"):
            best_sequence(wrong, 2, kept=1.0)
    with pytest.raises(InputError, match="one probability"):
        best_sequence(PracticeProblem(0.25, 0.1, flip=BoundaryFlips(0.1)), 2, kept=1.0)
    with pytest.raises(InputError, match="exactly one"):
        best_sequence(LOOP, 2)


def test_a_round_is_no_worse_than_any_simple_rule():
    """With large rounds the error has valleys with an edge, in which a few steps from two starts got stuck."""
    problem = PracticeProblem(0.25, 0.0)
    found = best_sequence(problem, 2, kept=100.0)
    assert np.all(found.gap < 0.1 * found.test_error[1:])
    before = found.problem.additions[:1]
    for rule in (KeepAll(), *map(KeepHard, np.geomspace(0.05, 4, 40))):
        error = predict(replace(problem, additions=[*before, Addition(kept=100.0, keep=rule)])).test_error[-1]
        assert found.test_error[-1] < error


def test_a_round_that_sees_labels_keeps_no_band_of_nothing():
    found = best_sequence(PracticeProblem(0.25, 0.0), 2, kept=1.0, labels=True)
    assert np.all(found.gap < 1e-3)


def test_a_least_share_below_that_of_an_atom():
    budget = Budget.of(0.9, 1.0, "kept", smallest_keep=1e-10)
    assert best_selection(budget, labels=True).keep >= 1e-10 * (1 - 1e-6)


def test_a_window_may_be_wide_keep_all_or_be_the_narrowest():
    problem = PracticeProblem(0.25, 0.0)
    _, errors = best_window(problem, 2, kept=300.0)
    for kappa in (10.0, 100.0, 1e4):
        other = predict(replace(problem, additions=[Window(kappa, 300.0)] * 2))
        assert errors[-1] < other.test_error[-1] * (1 + 1e-9)
    few = PracticeProblem(0.9, 0.0)
    kappa, errors = best_window(few, 1, candidates=0.1)
    assert kappa == np.inf
    assert errors == pytest.approx(predict(replace(few, additions=[Addition(candidates=0.1)])).test_error)
