"""`verify` must accept a true theory and reject a slightly wrong one."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dp_theory import InputError, KeepHard, Problem, predict, verification, verify
from tests.dp_theory.verification.beyond import features
from tests.dp_theory.verification.noise import distribution, is_noise

CELLS = (Problem(KeepHard(0.5), 0.9, 0.2, 0.01), Problem(KeepHard(0.7), 0.6, 0.5, 0.1))
SIZES: dict[str, Any] = {"dense_d": 100, "trials": 100}


def planted(monkeypatch, predict_wrongly):
    monkeypatch.setattr(verification, "predict", predict_wrongly)
    return verify(CELLS, **SIZES)


def test_true_theory_is_accepted_at_the_stated_precision():
    table = verify(CELLS, **SIZES)
    assert set(table["verdict"]) == {"agrees"}
    assert (table["se"] <= 0.003 * table["simulation"].abs()).all()
    assert len(table) == 6
    assert table["z"].std() > 0.3
    assert table["dense_z"].std() > 0.3


def test_the_printed_r_of_theorem_1_is_rejected(monkeypatch):
    """r = (1 - rho²) beta² m + rho² beta_tilde² m_tilde…, the main text's factors instead of the proof's."""

    def printed(problem):
        p, gamma, beta, beta_tilde = problem.rule.moments(problem.rho)
        rho, phi, z = problem.rho, problem.phi, -problem.lam
        sine = np.sqrt(1 - rho**2)
        m = (p - phi - z - np.sqrt((p - phi - z) ** 2 - 4 * phi * z)) / (2 * phi * z)
        m_tilde = 1 / (gamma / (1 + phi * m) - z)
        dm = m**2 / (1 - phi * p * m**2 / (1 + phi * m) ** 2)
        dm_tilde = m_tilde**2 * (1 + gamma * phi * dm / (1 + phi * m) ** 2)
        r, dr = ((sine * beta) ** 2 * a + (rho * beta_tilde) ** 2 * b for a, b in ((m, m_tilde), (dm, dm_tilde)))
        m0 = sine * beta * m + rho * beta_tilde * m_tilde
        nu0 = p * phi * dm + dr - 2 * phi * dm * r / (1 + phi * m)
        error = np.arccos(abs(m0) / np.sqrt(nu0)) / np.pi
        return replace(predict(problem), test_error=error, squared_norm=nu0 / (1 + phi * m) ** 2)

    assert (planted(monkeypatch, printed)["verdict"] == "DISAGREES").any()


@pytest.mark.parametrize("quantity", ["test_error", "overlap", "squared_norm"])
def test_an_error_of_one_percent_in_one_quantity_is_rejected(monkeypatch, quantity):
    def wrong(problem):
        return replace(predict(problem), **{quantity: 1.01 * getattr(predict(problem), quantity)})

    table = planted(monkeypatch, wrong)
    assert set(table.query("verdict == 'DISAGREES'")["quantity"]) == {quantity}


def test_an_experiment_that_is_not_the_law_is_rejected(monkeypatch):
    """The dense simulator with labels of a truth that is 3 % off in the cosine."""
    simulate = verification.simulate

    def wrong(problem, d, trials, *, engine, **options):
        return simulate(
            replace(problem, rho=0.87) if engine == "dense" else problem, d, trials, engine=engine, **options
        )

    monkeypatch.setattr(verification, "simulate", wrong)
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


def test_a_verdict_that_rests_on_too_little_says_so():
    table = verify(CELLS, d=200, dense_d=100, trials=4)
    assert "imprecise" in set(table["verdict"])


def test_distribution_tells_noise_from_what_is_not():
    rng = np.random.default_rng(0)
    noise = stats.t(5).rvs(500, random_state=rng)  # means over six runs
    found = distribution(noise, 6)
    assert found["cells"] == 500
    assert found["sd"] == pytest.approx(1, abs=0.1)
    assert found["p_value"] > 0.01
    assert is_noise(found)
    for wrong in (noise + 0.5, 2 * noise, noise / 2):
        assert distribution(wrong, 6)["p_value"] < 1e-6
        assert not is_noise(distribution(wrong, 6))
    for one in (60.0, np.inf):  # a single cell that is wrong
        assert not is_noise(distribution(np.append(noise, one), 6))


@pytest.mark.slow
def test_z_over_all_features_is_noise():
    """More than 60 cells: Theorem 1, the span recipe, covariance, logistic loss, practice loops."""
    ours, beyond = verify(workers=2), features(workers=2)
    assert set(ours["verdict"]) == {"agrees"}
    cells = [rows.query("quantity == 'test_error'") for rows in (ours, beyond)]
    found = distribution(*(np.concatenate([rows[name] for rows in cells]) for name in ("z", "trials")))
    assert found["cells"] >= 60
    assert is_noise(found)
    assert abs(found["mean"]) < 0.5
    assert 0.75 < found["sd"] < 1.3
    assert found["largest"] < 4


@pytest.mark.parametrize("change", [{"d": 2}, {"dense_d": 3}, {"trials": 1}])
def test_sizes_too_small_for_a_verdict_are_refused(change):
    with pytest.raises(InputError, match="must be at least 4"):
        verify(CELLS, **SIZES | change)
