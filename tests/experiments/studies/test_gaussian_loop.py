"""Theory and pipeline on the same data: first the tools, then the differences in standard errors."""

import numpy as np
import pytest
from dp_experiments.paper.figures import gaussian as fig_gaussian
from dp_experiments.paper.figures.gaussian import (
    Trace,
    gaussian,
    guided_rows,
    plain_rows,
    predict_loop,
    sampler_law,
    traces,
)
from numpy.testing import assert_allclose

from dp_theory import KeepAll, MeasuredRows, Problem
from dp_theory.ridge.theorem1 import predict_theorem1 as theorem_1

SEEDS = 6
SMALL = """
    guidance.omega=0.02
    sampling.steps=12
    data.dimension=60
    data.validation=200
    data.test=200
    training.steps=8
    practice.initial=120
    practice.increment=180
    practice.additions=3
"""


@pytest.fixture(scope="module")
def small():
    return gaussian(*SMALL.split())


@pytest.fixture(scope="module")
def measured(small, tmp_path_factory):
    return traces(small, ["practice", "practice-unguided"], SEEDS, tmp_path_factory.mktemp("runs"), workers=1)


def standard_errors(trace, predicted):
    errors = trace.test_error
    return (errors.mean(axis=0) - predicted) / (errors.std(axis=0, ddof=1) / np.sqrt(len(errors)))


# -- instruments ------------------------------------------------------------------------------------------------------


def test_the_sampler_tends_to_the_theorys_law():
    scale, law = sampler_law(gaussian("sampling.steps=250"))
    assert scale == pytest.approx(1, abs=8e-3)
    linear, second = law.linear, law.second
    assert_allclose(linear, [np.sqrt(2 / np.pi), 0], atol=8e-3)
    assert second[0, 0] == pytest.approx(1, abs=0.012)


def test_unguided_rounds_are_theorem_1_at_each_pool(patch):
    """For a sampler without error; the ridge is per row of the pool, so that every stage is a problem of its own."""
    exact = MeasuredRows(1.0, (np.sqrt(2 / np.pi), 0), np.eye(2))
    patch("dp_experiments.paper.figures.gaussian.sampler_law", lambda config: (1.0, exact))
    config = gaussian("practice.increment=600", "learner.lam=0.3")
    found = predict_loop(config, [plain_rows(config)] * 3)
    pools = 400 + 600 * np.arange(4)
    assert_allclose(found, theorem_1(Problem(KeepAll(), 0.5, 200 / pools, 0.3)).test_error, rtol=1e-10)


# -- the meeting ------------------------------------------------------------------------------------------------------


def test_views_of_the_rows(small, measured):
    """|x|² is split rightly: the coordinates off the plane are N(0, 1) in units of the scale; unguided rows see w0."""
    t, zeta, y = measured["practice-unguided"].of_round(1)
    assert len(t) == SEEDS * 180
    cosine = np.cos(np.pi * measured["practice-unguided"].test_error[:, 1]).repeat(180)
    along_w0 = cosine * t + np.sqrt(1 - cosine**2) * zeta
    assert np.array_equal(np.sign(along_w0), y)
    _, law = sampler_law(small)
    assert np.abs(along_w0).mean() == pytest.approx(law.linear[0], abs=4 * 0.6 / np.sqrt(len(t)))
    across = np.sqrt(1 - cosine**2) * t - cosine * zeta
    assert across.var() == pytest.approx(1, abs=4 * np.sqrt(2 / len(t)))


def test_without_guidance_the_pipeline_is_as_predicted(small, measured):
    plain = predict_loop(small, [plain_rows(small)] * 3)
    assert np.abs(standard_errors(measured["practice-unguided"], plain)).max() < 4


def test_with_guidance_the_pipeline_is_as_its_rows_predict(small, measured, patch):
    """The same number of plain rows would give errors that are far off, so that the test can tell."""
    guided = measured["practice"]
    assert np.abs(standard_errors(guided, predict_loop(small, guided_rows(small, guided)))).max() < 4
    assert standard_errors(guided, predict_loop(small, [plain_rows(small)] * 3))[-1] < -8

    plain = measured["practice-unguided"]
    static = [Trace(plain.test_error[:, stage : stage + 1], plain.rows) for stage in (1, 3)]
    known = measured | dict(zip(["static-300", "static-660"], static, strict=True))
    patch(fig_gaussian, "gaussian", lambda *overrides: small)
    patch(fig_gaussian, "traces", lambda config, arms, *more: {arm: known[arm] for arm in arms})
    table = fig_gaussian.compute(quick=True)
    assert list(table["x"].unique()) == [300, 660, 120, 480]
    assert "standard errors off" in fig_gaussian.caption(table)
    assert fig_gaussian.draw(table).axes


@pytest.mark.slow
def test_the_preset_is_as_predicted(tmp_path):
    """40 runs an arm: guided rows and plain ones within 4 standard errors."""
    config = gaussian("guidance.omega=0.01", "data.test=1000")
    found = traces(config, ["practice-unguided", "practice"], 40, tmp_path)
    plain = predict_loop(config, [plain_rows(config)] * config.practice.additions)
    guided = predict_loop(config, guided_rows(config, found["practice"]))
    assert np.abs(standard_errors(found["practice-unguided"], plain)).max() < 4
    assert np.abs(standard_errors(found["practice"], guided)).max() < 4
