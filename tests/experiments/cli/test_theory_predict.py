"""`dp theory predict | simulate | verify`: answers, and one line with the right status for every mistake."""

import pytest
import sympy
from dp_experiments.cli.theory.options import values

from dp_theory import Entropy, KeepEasy, KeepHard, Problem, Rule, predict, simulate, verification
from dp_theory.derive import DERIVATIONS, Derivation
from tests.commands import done, dp, told

PROBLEM = "--rho 0.8 --phi 0.5 --lam 0.01"


# predict


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ("--alpha 0.7", KeepHard(0.7)),
        ("--rule keep-easy --keep 0.3", KeepEasy.with_keep_fraction(0.3)),
        ("--rule entropy@omega=-3@kappa=2", Entropy(-3.0, 2.0)),
    ],
)
def test_predict_prints_what_the_package_returns(options: str, rule: Rule):
    answer = told("theory predict", PROBLEM, options)
    want = predict(Problem(rule, 0.8, 0.5, 0.01))
    assert answer == {key: pytest.approx(value, rel=1e-12) for key, value in vars(want).items()}


def test_the_interpolation_peak_is_strict_json():
    answer = told("theory predict --rule keep-all --rho 0 --phi 1")
    assert answer["squared_norm"] is None  # infinite
    assert answer["test_error"] == 0.5


@pytest.mark.parametrize(
    ("phi", "lam", "remark"),
    [
        (0.1, 0.0002, "in dimension 200 the mean test error is 3% higher, to first order; --d gives it"),
        ("0.5,0.1", 0.0002, "the mean test error is up to 3% higher"),
        (0.5, 0.01, ""),
    ],
)
def test_predict_says_where_a_usual_dimension_is_far_off_the_limit(phi: object, lam: float, remark: str):
    err = done("theory predict --rule keep-hard --keep 0.2 --rho 0.9 --phi", phi, "--lam", lam).err
    assert remark in err if remark else not err


def test_predict_takes_lists_and_a_dimension():
    """A row for each combination; with --d the band of single experiments beside the mean."""
    lists = "--alpha 0.5:1:3 --rho 0.5,0.9 --phi 0.2 --lam 0.01"
    rows = told("theory predict", lists, "--d 400")["table"]
    assert [(row["alpha"], row["rho"]) for row in rows] == [(a, r) for a in (0.5, 0.75, 1.0) for r in (0.5, 0.9)]
    for row in rows:
        want = predict(Problem(KeepHard(row["alpha"]), row["rho"], 0.2, 0.01), d=400)
        low, high = want.band()
        found = [row[name] for name in ("test_error", "low", "high", "test_error_sd")]
        assert found == pytest.approx([want.test_error, low, high, want.test_error_sd], rel=1e-10)


def test_values():
    assert values("rho", "0.5, 1") == [0.5, 1.0]
    assert values("rho", "-1:1:3") == [-1.0, 0.0, 1.0]
    assert values("lam", "1:100:3", geometric=True) == pytest.approx([1, 10, 100])


# simulate


def test_simulate_prints_what_the_package_returns():
    options = "--alpha 0.7 --d 12 --trials 3 --seed 5 --engine law"
    answer = told("theory simulate", PROBLEM, options)
    want = simulate(Problem(KeepHard(0.7), 0.8, 0.5, 0.01), 12, 3, engine="law", seed=5)
    assert answer == vars(want)


# verify


def test_verify_exits_1_where_theory_is_wrong(monkeypatch: pytest.MonkeyPatch):
    cells = (Problem(KeepHard(0.7), 0.8, 0.3, 0.1),)
    monkeypatch.setattr(verification.verify, "__defaults__", (cells,))
    small = (verification.verify.__kwdefaults__ or {}) | {"d": 5000, "dense_d": 50}
    monkeypatch.setattr(verification.verify, "__kwdefaults__", small)
    monkeypatch.setattr("dp_theory.derive.DERIVATIONS", {"lemma1": DERIVATIONS["lemma1"]})
    assert "0 disagree" in done("theory verify --trials 100").err
    wrong = Problem(KeepHard(0.7), 0.4, 0.3, 0.1)
    monkeypatch.setattr(verification, "predict", lambda problem: predict(wrong))
    assert "DISAGREES" in done("theory verify --trials 100", status=1).out


def test_verify_shows_derivations_and_fails_where_one_is_wrong(monkeypatch: pytest.MonkeyPatch):
    text = done("theory verify lemma1 keep-hard").out
    assert "p\terf(sqrt(2)*alpha/2)\n" in text
    assert "tan2, keep-hard less (1 - rho squared) of plain\t0\n" in text
    answer = told("theory verify scaling")
    assert answer["scaling"]["best p, rho = 1"] == "2*phi"
    planted = Derivation("planted", {}, {"one": sympy.Integer(1)})
    monkeypatch.setitem(DERIVATIONS, "lemma1", lambda: planted)
    assert dp("theory verify lemma1").status == 1


# mistakes
