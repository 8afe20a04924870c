"""`verify` must accept a true theory and reject a slightly wrong one."""

from dataclasses import replace

import pytest

from dp_theory import KeepHard, Problem, predict, verification
from dp_theory.verification import verify

CELLS = (Problem(KeepHard(0.5), 0.9, 0.2, 0.01), Problem(KeepHard(0.7), 0.6, 0.5, 0.1))
SIZES = {"dense_d": 100, "trials": 100}


def test_true_theory_is_accepted_at_the_stated_precision():
    table = verify(CELLS, **SIZES)
    assert set(table["verdict"]) == {"agrees"}
    assert (table["se"] <= 0.003 * table["simulation"].abs()).all()
    assert len(table) == 6
    assert table["z"].std() > 0.3
    assert table["dense_z"].std() > 0.3


@pytest.mark.parametrize("quantity", ["test_error", "squared_norm"])
def test_an_error_of_one_percent_in_one_quantity_is_rejected(patch, quantity):
    def wrong(problem):
        return replace(predict(problem), **{quantity: 1.01 * getattr(predict(problem), quantity)})

    patch(verification, "predict", wrong)
    assert set(verify(CELLS, **SIZES).query("verdict == 'DISAGREES'")["quantity"]) == {quantity}


def test_an_experiment_that_is_not_the_law_is_rejected(patch):
    """The dense simulator with labels of a truth that is 3 % off in the cosine."""
    simulate = verification.simulate

    def wrong(problem, d, trials, *, engine, **options):
        return simulate(
            replace(problem, rho=0.87) if engine == "dense" else problem, d, trials, engine=engine, **options
        )

    patch(verification, "simulate", wrong)
    table = verify(CELLS[:1], **SIZES)
    assert (table["verdict"] == "DISAGREES").any()
    assert (table["z"].abs() < table["level"]).all()


def test_a_bias_that_shrinks_with_d_is_no_error():
    """At the edge of interpolation the norm is biased at d = 60 far beyond the noise; at d = 20,000 it is not."""
    cell = Problem(KeepHard(0.5), 0.9, 0.25, 0.0)
    near = verify([cell], d=60, dense_d=20, trials=1000).set_index("quantity")
    assert near.loc["squared_norm", "verdict"] == "DISAGREES"
    norm = near.loc["squared_norm"].to_dict()
    assert abs(norm["dense_z"]) < norm["level"]
    assert set(verify([cell], **SIZES)["verdict"]) == {"agrees"}


@pytest.mark.slow
def test_theorem_1_agrees_with_the_experiment():
    assert set(verify(workers=2)["verdict"]) == {"agrees"}
