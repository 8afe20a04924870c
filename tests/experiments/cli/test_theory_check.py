"""`dp theory check`: what it prints and writes, and how it refuses; the features that a run exports for it."""

import json

import numpy as np
import pandas as pd
import pytest

from dp_base.errors import MissingError
from dp_theory import Features, check
from dp_theory.verification import measured
from experiments.paper.theory import fig_check
from tests.experiments.conftest import run_dp

OPTIONS = ("--kept", "60,240", "--trials", 8)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Random signs with a dense selector, and with a sparse one."""
    folder = tmp_path_factory.mktemp("features")
    for name in ("dense", "sparse"):
        made = measured.example("signs", name, 3)
        np.savez(folder / f"{name}.npz", X=made.x[:3000], y=made.y[:3000], w_s=made.w_s)
    return folder


def test_a_dense_selector_passes_and_a_sparse_one_is_flagged(dp, files):
    status, out, err = dp("check", files / "dense.npz", *OPTIONS)
    assert status == 0, err
    assert "the Gaussian theory holds here" in out
    assert "3000 rows in 120 directions" in out
    status, out, err = dp("check", files / "sparse.npz", *OPTIONS)
    assert status == 0, err
    assert "the Gaussian theory does not hold here: errors are +" in out
    assert "the measured law predicts them" in out
    first = out.splitlines()[1].split("\t")
    assert (first[0], first[-1]) == ("selector's score t is normal", "fails")


def test_json_is_what_the_package_returns_and_out_has_tables_and_a_picture(dp, files, tmp_path):
    out = tmp_path / "out"
    options = (*OPTIONS, "--rule", "keep-hard,entropy", "--keep", 0.4, "--lam", 0.1, "--seed", 4)
    status, printed, err = dp("check", files / "sparse.npz", *options, "--out", out, "--json")
    assert status == 0, err
    answer = json.loads(printed)
    with np.load(files / "sparse.npz") as given:
        features = Features.of(given["X"], given["y"], w_s=given["w_s"])
    want = check(features, ["keep-hard", "entropy"], keep=0.4, lam=0.1, sizes=(60, 240), trials=8, seed=4)
    pd.testing.assert_frame_equal(pd.DataFrame(answer["curves"]), want.curves)
    pd.testing.assert_frame_equal(pd.DataFrame(answer["assumptions"]), want.assumptions)
    assert (answer["gaussian_holds"], answer["law_holds"]) == (want.gaussian_holds, want.law_holds)
    pd.testing.assert_frame_equal(pd.read_csv(out / "curves.csv"), want.curves)
    assert {path.name for path in out.iterdir()} >= {"assumptions.csv", "curves.csv", "check.png", "check.pdf"}
    assert dp("check", files / "sparse.npz", "--out", out)[0] == 2


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("none.npz",), 3, "none.npz does not exist"),
        (("dense.npz", "--kept", "6.5"), 2, "--kept 6.5: must be whole numbers"),
        (("dense.npz", "--rule", "hardest"), 2, "unknown rule 'hardest'"),
        (("dense.npz", "--classes", "1,2"), 2, "classes = 1,2: must be two of -1.0, 1.0"),
        (("dense.npz", "--components", 500), 2, "components = 500 must lie between 1 and 120"),
        (("dense.npz", "--lam", 0), 2, "lam = 0 must be positive"),
    ],
)
def test_wrong_input_is_one_line(dp, files, arguments, status, said):
    ended, out, err = dp("check", files / arguments[0], *arguments[1:])
    assert (ended, out) == (status, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_the_figure_lays_predicted_curves_on_measured_ones(monkeypatch, capsys):
    """Here for rows of two clusters, and without the images of fashion, which it says."""

    def missing(steps):
        raise MissingError("no images")

    made = measured.example("clusters", "dense", 0)
    monkeypatch.setattr(fig_check, "_digits", lambda rows: Features(made.x[:2000], made.y[:2000], made.w_s))
    monkeypatch.setattr(fig_check, "_fashion", missing)
    table = fig_check.compute(quick=True)
    assert "without fashion: no images" in capsys.readouterr().err
    assert list(dict.fromkeys(table["panel"])) == ["digits random", "digits keep-hard", "digits keep-easy"]
    assert set(table["series"]) == {"Gaussian theory", "measured law"}
    assert len(table.query("kind == 'predicted'")) == 2 * len(table.query("kind == 'measured'"))
    law = table.query("kind == 'predicted' and series == 'measured law'")
    caption = fig_check.caption(table)
    assert f"in {(law['z'].abs() <= 2).mean():.0%} of {len(law)} cells" in caption
    assert "fashion is left out" in caption
    assert len(fig_check.draw(table).axes) == 3


def test_features_of_a_run_are_what_its_last_layer_sees(dp, tmp_path, cache):
    run = tmp_path / "run"
    small = ("training.steps=20", "practice.initial=20", "practice.additions=0", "generator.train_steps=20")
    options = [word for key in small for word in ("--set", key)]
    assert run_dp("real", "run", "digits", "--out", run, *options, "--json") == 0
    for real, out in (((), "plain"), (("--real",), "real")):
        rows = () if real else ("--rows", 40)
        target = tmp_path / out
        assert run_dp("real", "export", run, "--format", "features", *rows, *real, "--out", target) == 0
    import torch

    from dp_real import Run
    from dp_real.learners.models.network import NetworkLearner

    with np.load(tmp_path / "plain/features.npz") as plain, np.load(tmp_path / "real/features.npz") as real:
        assert plain["X"].shape == (32, 64)
        assert plain["X_test"].shape == (8, 64)
        assert sorted([*plain["y"], *plain["y_test"]]) == sorted(str(i % 10) for i in range(40))
        data, learner = Run(run).config.data.load(), Run(run).learner()
        assert isinstance(learner, NetworkLearner)
        *_, last = learner.in_use.modules()
        with torch.no_grad():
            logits = last(torch.from_numpy(np.concatenate([real["X"], real["X_test"]]))).numpy()
            want = torch.cat([learner.logits(examples.x[:]) for examples in (data.validation, data.test)]).numpy()
        order = np.random.default_rng(0).permutation(len(want))  # else the last classes alone would test
        np.testing.assert_allclose(logits, want[order], rtol=1e-4, atol=1e-5)
        assert len(real["y"]) + len(real["y_test"]) == len(want)
