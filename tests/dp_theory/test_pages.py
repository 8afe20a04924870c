"""The pages of docs/theory as they are printed: their equations, written anew from the page alone, against the code."""

import re
from dataclasses import replace
from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import ndtr
from scipy.stats import norm

from dp_theory import (
    Addition,
    BoundaryFlips,
    Direct,
    KeepAll,
    KeepEasy,
    KeepHard,
    PracticeProblem,
    Problem,
    Window,
    predict,
    scaling,
)
from dp_theory.fitting.theory import with_floor
from dp_theory.loop.groups import observed_labels
from dp_theory.noise import worth
from dp_theory.ridge.finite_dimension import fluctuation, spectral_traces
from dp_theory.rules import Fourth, Moments
from tests.source import ROOT, rows_of

EXACT = 1e-10


DOCS = ROOT / "docs"


def test_the_table_of_what_is_proved_has_each_page():
    guide = (DOCS / "theory.md").read_text()
    table = guide.split("## What is proved")[1].split("\n## ")[0]
    assert set(re.findall(r"\]\(theory/([\w-]+)\.md", table)) == {page.stem for page in (DOCS / "theory").glob("*.md")}


def test_easy_and_hard_change_places_where_the_guide_says():
    said = re.search(r"p = (\S+), keep-easy and keep-hard change places at (.*)\.\n", (DOCS / "theory.md").read_text())
    places = re.findall(r"(?:ψ = )?(\.\d+) for ρ = (\.\d+)", said[2])
    assert len(places) == 3
    hard, easy = (Direct(kind.with_keep_fraction(float(said[1]))) for kind in (KeepHard, KeepEasy))
    for psi, rho in np.array(places, float):
        # a hundredth to either side, least over ridges
        about = Problem(KeepAll(), rho, psi + np.array([[-0.006], [0.006]]), np.geomspace(1e-4, 30, 400))
        errors = [predict(replace(about, rule=rule)).test_error.min(axis=1) for rule in (hard, easy)]
        assert (np.sign(np.subtract(*errors)) == [-1, 1]).all()


def test_a_learner_that_selects_for_itself_gains_what_the_guide_says():
    said = re.search(
        r"ends at (\S+) with half .*, (\S+) with a fifth, and (\S+) with all", (DOCS / "theory.md").read_text()
    )
    for keep, error in zip((0.5, 0.2, 1.0), said.groups(), strict=True):
        loop = PracticeProblem(0.1, 1e-4, [Addition(kept=1.0, keep=KeepHard.with_keep_fraction(keep))])
        assert f"0{error}" == f"{predict(loop).test_error[-1]:.3f}"


def test_what_practice_is_worth_with_wrong_labels_is_its_table():
    """(T8.9), where (T8.5) says the width, and loops."""
    shares, *lines = rows_of("boundary-flips.md", "plain labels wrong")
    for share, bound, *said in list(zip(shares, *lines, strict=True))[1:]:
        flips = BoundaryFlips.of_share(float(share.strip(" %")) / 100)
        found = [1 + (1 - 2 / np.pi) / flips.width**2] if flips.width > 1e-6 else [np.inf]
        if any(said):
            last = worth(flips, windows=[1.0], lams=(0.03, 0.1, 0.3, 1.0)).iloc[-1]
            found += [last["samples"], last["compute"], 100 * last["wrong"]]
        for value, cell in zip(found, [bound, *filter(None, said)], strict=True):
            number = cell.removesuffix(" %").replace("∞", "inf")
            assert float(number) == round(value, "." in number), share


def test_a_first_round_may_lose_as_the_page_of_wrong_labels_says():
    page = (DOCS / "theory" / "boundary-flips.md").read_text()
    said = re.search(r"raises the error from (\S+) to (\S+) ", page).groups()
    found = worth(BoundaryFlips.of_share(0.06), phi=0.02, rounds=1).test_error
    assert [f"{error:.3f}".removeprefix("0") for error in found] == list(said)


def test_exponents_of_the_loop_are_their_table():
    told = []
    found = scaling(PracticeProblem(0.25, 0.0, [Window(1)] * 20), advance=told.append).exponents
    rows = rows_of("practice.md", "strategy")[1:]
    assert told == [1] * len(rows)
    for name, *said in rows:
        shown = []
        for row in found[found.series == name.removesuffix(" only")].itertuples():
            error = f" ± {row.fit_se:.2f}" if row.fit_se > 0.005 else ""
            exponent = f"{row.exponent:.{2 if error else 3}f}".replace("-0", "−").replace("-", "−")
            shown.append("geometric" if row.steepening > 0.9 else exponent + error.replace("0.", "."))
        assert shown == said, name


def test_scaling_takes_a_ridge_for_each_stage():
    rounds = [Window(1)] * 5
    of_one = scaling(PracticeProblem(0.25, 0.01, rounds)).exponents
    assert scaling(PracticeProblem(0.25, [0.01] * 6, rounds)).exponents.equals(of_one)
    ridges = [0.05, 0.04, 0.03, 0.02, 0.01, 0.01]
    last = scaling(PracticeProblem(0.25, ridges, rounds)).curves.query("series == 'prune once' and axis == 'kept'").y
    once = PracticeProblem(0.25, [ridges[0], ridges[-1]], [Window(1, kept=5.0)])
    assert last.iloc[-1] == pytest.approx(predict(once).test_error[-1], rel=1e-9)
    misled = scaling(PracticeProblem(0.25, 0.0, [Window(1)] * 8, flip=0.6)).exponents.set_index(["series", "axis"])
    assert misled.loc[("practice, newest rows", "kept")].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("problem", "rounds", "has_exponent"),
    [
        (PracticeProblem(0.25, [0.0] * 41, [Window(1)] * 40), range(5, 40), True),
        (PracticeProblem(1e-3, 0.0, [Window(1)] * 8), range(1, 4), False),
        (PracticeProblem(0.25, 0.0, [Window(1, 0.1)] * 5), range(1), False),  # fewer rows than dimensions
        (PracticeProblem(0.25, 0.1, [Window(1, 1e-8)] * 5), [5], False),  # of hardly any rows
    ],
)
def test_newest_rows_end_where_they_have_no_solution_and_few_sizes_have_no_exponent(problem, rounds, has_exponent):
    found = scaling(problem)
    assert found.curves.groupby("series").stage.max()["practice, newest rows"] in rounds
    of_newest = found.exponents[found.exponents.series == "practice, newest rows"]
    assert of_newest.exponent.notna().tolist() == of_newest.fit_se.notna().tolist() == [has_exponent] * 3


def line(*edges, order):
    """Nodes and standard normal weights between edges, at which labels may jump."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    panels = [(b - a) / 2 * np.stack([nodes + (b + a) / (b - a), weights]) for a, b in pairwise(edges)]
    t, w = np.concatenate(panels, axis=1)
    return t, w * norm.pdf(t)


def sampled(rho, alpha):
    """Nodes of kept rows (t, v, y) and their weights per kept row, for keep-hard and a truth of cosine rho."""
    rows = []
    for t, mass in np.transpose(line(-alpha, 0.0, alpha, order=60)):
        cut = -rho * t / np.sqrt(1 - rho**2)
        v, w = line(-11.0, cut, 11.0, order=120)
        rows.append(np.stack([np.full_like(v, t), v, np.sign(v - cut), mass * w]))
    t, v, y, w = np.concatenate(rows, axis=1)
    return t, v, y, w / w.sum()


def test_the_covariance_of_the_plane_is_its_page():
    """(T5.3) to (T5.10), with moments by a sum over rows rather than in closed form."""
    rho, alpha, psi, lam = 0.8, 0.9, 0.4, 0.07
    t, v, y, w = sampled(rho, alpha)
    z = np.stack([t, v])
    size = np.array([w @ t**2, 1.0])
    root = np.sqrt((lam + 1 + psi) ** 2 - 4 * psi)
    both = lam + 1 + psi + root
    ell = (root + lam - 1 + psi) / 2
    kappa = 2 * psi / (root * both)
    rr, rk = kappa, ell * both / (2 * root**2) - 1
    kk = (lam * (1 + psi) + (1 - psi) ** 2) * both**2 / (4 * psi * root**3) - 1

    def log_kappa(x):
        s = mp.sqrt((lam + 1 + x) ** 2 - 4 * x)
        return mp.log(2 * x / (s * (lam + 1 + x + s)))

    ell_r = (ell * kappa + 2) / root
    by_psi = float(mp.diff(log_kappa, psi))
    ell_k = 1 / root - lam / root**2 * (2 * (lam + 1 + psi) / root + 1) - 2 * by_psi

    k = 1 / (ell + size)
    a = k * (z @ (w * y))
    eps = y - a @ z
    e = ell * a
    q = w @ eps**2
    second = z * (w * eps**2) @ z.T
    c = np.outer(k, k) * (second - np.outer(e, e) + rr * (np.diag(size) * q + np.outer(e, e)))
    third = (z * (w * eps)) @ (z**2).T  # E[ε z_i z_j²]
    delta = k * (e * (ell_r - rr * (size @ k) - (rr - 1) * size * k) - third @ k)
    with_a = np.diag(second) - e**2 + rk * (size * q + e**2)
    delta_o = ell_k + (size @ np.diag(c) - 2 * e @ delta - 2 * k @ with_a) / q
    c_o = (k * (z @ (w * eps**3) + (2 * rk - 1) * q * e) - 2 * c @ e) / q
    c_oo = w @ eps**4 / q**2 + 2 * kk - 1 - 4 / q * e @ (c_o + c @ e / q)

    moments = Moments(1.0, size[0], w @ (y * v), w @ (y * t))
    fourth = Fourth(*(w @ x for x in (t**4, y * t**3, y * t**2 * v, y * t * v**2, y * v**3)))
    _, shift, covariance = fluctuation(moments, fourth, spectral_traces(psi, lam), ())
    assert_allclose(shift, [*delta, delta_o], rtol=EXACT)
    assert_allclose(covariance, np.block([[c, c_o[:, None]], [c_o, c_oo]]), rtol=EXACT)


@pytest.mark.parametrize("eps", [0.5, 0.3])
def test_probit_labels_are_their_page(eps):
    """(T8.4) is the integral (T8.3) of (T8.1)."""
    width, drift, blur = 0.3, 0.25, 0.6
    zeta, mass = line(-11.0, -drift / blur, 11.0, order=400)
    margin = drift + blur * zeta
    wrong = eps * 2 * ndtr(-np.abs(margin) / width)
    shares = (np.where(margin * s > 0, 1 - wrong, wrong) for s in (1, -1))
    expected = [[(mass * share) @ zeta**j for j in range(3)] for share in shares]
    found = observed_labels(BoundaryFlips(width, eps=eps), np.array([drift]), blur)
    assert_allclose(found[..., 0], expected, rtol=EXACT)


def test_the_floor_is_its_page():
    """(T9.1) and (T9.2)."""
    error, deviation, floor, d = 0.12, 0.004, 0.05, 300.0
    cosine = np.cos(np.pi * error) * np.cos(np.pi * floor)
    own = (np.cos(np.pi * floor) * np.sin(np.pi * error)) ** 2 * np.pi**2 * deviation**2
    off = (np.sin(np.pi * floor) * np.sin(np.pi * error)) ** 2 / d
    found = with_floor(error, deviation, floor, d)
    expected = np.arccos(cosine) / np.pi, np.sqrt((own + off) / (1 - cosine**2)) / np.pi
    assert_allclose(found, expected, rtol=EXACT)
