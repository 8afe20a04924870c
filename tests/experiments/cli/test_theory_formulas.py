"""`dp theory derive | errata`: what they print, and how they refuse."""

import json

import pytest

from tests.experiments.conftest import Theory

NOISE = 3.5  # standard errors that a simulated value may lie from the right one
CLEARLY = 7  # standard errors that it lies from the printed one at least


def test_derive_prints_text_latex_and_json(theory: Theory):
    text = theory("derive", "lemma1", "keep-hard").out
    assert "  p = erf(sqrt(2)*alpha/2)\n" in text
    assert "  tan2, keep-hard less (1 - rho squared) of plain = 0\n" in text
    lines = theory("derive", "lemma1", "--latex").out.splitlines()
    assert lines[0].startswith("% Lemma 1")
    assert r"\[ \text{p} = \operatorname{erf}{\left(\frac{\sqrt{2} \alpha}{2} \right)} \]" in lines
    assert any(line.startswith(r"\[ \text{beta\_tilde} = ") for line in lines)
    answer = json.loads(theory("derive", "scaling", "--json").out)
    assert answer["scaling"]["results"]["best p, rho = 1"] == "2*phi"


def test_errata_shows_that_the_printed_values_are_wrong(theory: Theory):
    status, out, err = theory("errata", "--json")
    assert (status, err) == (0, "")
    rows = json.loads(out)["errata"]
    simulated = [row for row in rows if row["se"] is not None]
    assert len(simulated) == 4
    for row in simulated:
        assert abs(row["simulated"] - row["right"]) < NOISE * row["se"], row
        if row["printed"] is not None:
            assert abs(row["simulated"] - row["printed"]) > CLEARLY * row["se"], row
    sign = next(row for row in rows if row["where"].startswith("eq. 7"))
    assert sign["printed"] < 0 < sign["right"]
    right = {row["where"]: row["right"] for row in rows}
    assert right["text, ImageNet-100"] == pytest.approx(31.25)
    assert right["text, ImageNet-1k"] == pytest.approx(20.3, abs=0.05)
    assert right["Table 4, N = 130k, k = 27"] == 1858000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("derive", "lemma3"), "there is no derivation 'lemma3'"),
        (("errata", "--trials", 1), "'--trials'"),
    ],
)
def test_wrong_input_is_told_in_one_line(theory: Theory, arguments: tuple[object, ...], message: str):
    assert message in theory(*arguments).refused()
