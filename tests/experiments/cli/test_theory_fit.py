"""`dp theory forecast`: what it says of the fit that it rests on."""

import json

CURVE = "strategy,kept,error,se\nstatic,100,.3,.01\nstatic,200,.25,.01\nstatic,400,.19,.01\nstatic,800,.12,.01\n"
KNOWN = ("--fix", "floor=0", "--fix", "flip=0", "--fix", "ridge=.01")


def test_forecast_says_how_well_the_theory_fits(dp, tmp_path):
    (tmp_path / "curve.csv").write_text(CURVE)
    status, fit_out, err = dp("fit", tmp_path / "curve.csv", *KNOWN)
    assert status == 0, err
    said = next(line for line in fit_out.splitlines() if line.startswith("chi-square"))
    assert "of 3 degrees of freedom" in said
    status, out, err = dp("forecast", tmp_path / "curve.csv", "--target", 0.08, *KNOWN)
    assert status == 0, err
    assert out.splitlines()[-1] == said
    status, out, err = dp("forecast", tmp_path / "curve.csv", "--target", 0.08, *KNOWN, "--json")
    assert status == 0, err
    answer = json.loads(out)
    assert set(answer) == {"forecast", "chi_square", "freedom", "excess"}
    assert f"chi-square {answer['chi_square']:.3g} of {answer['freedom']} degrees of freedom" in said
