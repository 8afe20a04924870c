"""`verify` must accept a true theory and reject a slightly wrong one."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from dp_theory import InputError, KeepHard, Problem, predict, verify

CELLS = (Problem(KeepHard(0.5), 0.9, 0.2, 0.01), Problem(KeepHard(0.7), 0.6, 0.5, 0.1))
SIZES = {"d": 400, "trials": 100, "engine": "law"}


def planted(monkeypatch, predict_wrongly):
    monkeypatch.setattr(sys.modules["dp_theory.verify"], "predict", predict_wrongly)
    return verify(CELLS, **SIZES)


def test_true_theory_is_accepted_at_the_stated_precision():
    table = verify(CELLS, **SIZES)
    assert set(table["verdict"]) <= {"agrees", "finite size"}
    assert (table["se"] <= 0.01 * table["simulation"].abs()).all()
    assert len(table) == 6
    assert table["z"].std() > 0.3


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


@pytest.mark.parametrize("quantity", ["overlap", "squared_norm"])
def test_a_six_percent_error_in_one_quantity_is_rejected(monkeypatch, quantity):
    def wrong(problem):
        return replace(predict(problem), **{quantity: 1.06 * getattr(predict(problem), quantity)})

    table = planted(monkeypatch, wrong)
    assert set(table.query("verdict == 'DISAGREES'")["quantity"]) == {quantity}


def test_a_bias_that_shrinks_with_d_is_told_from_an_error():
    """At the edge of interpolation with a tiny ridge the norm is biased at this size well beyond the noise."""
    cell = Problem(KeepHard(0.5), 0.9, 0.25, 0.0)
    table = verify([cell], d=200, trials=3000, engine="law").set_index("quantity")
    assert abs(table.loc["squared_norm", "z"]) > table.loc["squared_norm", "level"]
    assert table.loc["squared_norm", "verdict"] == "finite size"


@pytest.mark.parametrize("change", [{"d": 2}, {"trials": 1}])
def test_sizes_too_small_for_a_verdict_are_refused(change):
    with pytest.raises(InputError, match="must be at least 4"):
        verify(CELLS, **SIZES | change)
