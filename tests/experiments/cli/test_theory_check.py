"""`dp theory check`: what it prints and writes, and how it refuses; the features that a run exports for it."""

import numpy as np
import pandas as pd
import pytest
import torch

from dp_real import Run
from dp_theory import Features, check
from tests.commands import done, dp, told
from tests.dp_theory.validity.rows import make_rows

OPTIONS = "--kept 60,240 --trials 8"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Random signs with a dense selector, and with a sparse one."""
    folder = tmp_path_factory.mktemp("features")
    for sparse in (False, True):
        made = make_rows("signs", seed=3, flip=0.0, d=120, n=3000, sparse=sparse)
        np.savez(folder / f"{'sparse' if sparse else 'dense'}.npz", X=made.x, y=made.y, w_s=made.selector)
    return folder


def test_a_dense_selector_passes_and_a_sparse_one_is_flagged(files):
    undecided = dp("theory check", files / "dense.npz", OPTIONS).err
    assert "undecided: the Gaussian theory's errors are neither shown to be within the tolerance" in undecided
    assert "more rows would tell" in undecided
    _, out, dense = dp("theory check", files / "dense.npz", OPTIONS, "--tolerance 0.5")
    assert out.count("not rejected") >= 3
    assert "the Gaussian theory holds here" in dense
    assert "3000 rows in 120 directions" in dense
    _, out, err = dp("theory check", files / "sparse.npz", "--kept 60,240 --trials 30")
    assert "the Gaussian theory does not hold here: errors are +" in err
    assert "the measured law predicts" in err
    first = out.splitlines()[1].split("\t")
    assert (first[0], first[-1]) == ("selector's score t is normal", "rejected")


def test_json_is_what_the_package_returns_and_out_has_tables(files, tmp_path):
    out = tmp_path / "out"
    options = (OPTIONS, "--rule", "keep-hard,entropy", "--keep", 0.4, "--lam", 0.1)
    answer = told("theory check", files / "sparse.npz", *options, "--out", out)
    with np.load(files / "sparse.npz") as given:
        features = Features.of(given["X"], given["y"], w_s=given["w_s"])
    want = check(features, ["keep-hard", "entropy"], keep=0.4, lam_per_row=0.1, kept=(60, 240), trials=8)
    pd.testing.assert_frame_equal(pd.DataFrame(answer["curves"]), want.curves)
    pd.testing.assert_frame_equal(pd.DataFrame(answer["assumptions"]), want.assumptions)
    assert (answer["gaussian"], answer["law"]) == (want.gaussian, want.law)
    assert (answer["more_rows"], answer["more_trials"]) == want.needed
    assert {path.name for path in out.iterdir()} >= {"assumptions.csv", "curves.csv"}


def test_features_of_a_run_are_what_its_last_layer_sees(guided_run, tmp_path):
    export = ("real export", guided_run, "--format features")
    assert "(features of 40 new samples; --rows" in done(*export, "--rows 40 --out", tmp_path / "plain").err
    done(*export, "--rows 0 --out", tmp_path / "real")
    with np.load(tmp_path / "plain" / "features.npz") as plain:
        assert plain["X"].shape == (32, 64)
        assert plain["X_test"].shape == (8, 64)
        assert sorted([*plain["y"], *plain["y_test"]]) == sorted(str(row % 10) for row in range(40))
    with np.load(tmp_path / "real" / "features.npz") as real:
        x = np.concatenate([real["X"], real["X_test"]])
        names = [*real["y"], *real["y_test"]]
    data = Run(guided_run).config.data.load()
    learner = Run(guided_run).learner()
    *_, last = learner.eval_module.modules()
    with torch.no_grad():
        logits = last(torch.from_numpy(x)).numpy()
        want = torch.cat([learner.logits(examples.x[:]) for examples in (data.validation, data.test)]).numpy()
    order = np.random.default_rng(3).permutation(len(want))  # else the last classes alone would test
    np.testing.assert_allclose(logits, want[order], rtol=1e-4, atol=1e-5)
    assert len(names) == len(want)
