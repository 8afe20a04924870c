"""A run's figures, and `dp real report`: that they show what the run's files say."""

import base64
import html
import io
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from dp_experiments.compare.compare import Comparison, summarize
from dp_experiments.compare.curve_files import read_curve
from dp_experiments.show import judge as judges
from dp_experiments.show.report import pictures
from dp_experiments.show.report.facts import comparison_facts, outcome, run_verdict
from dp_experiments.show.report.page import page, readable, shown_comparison
from dp_experiments.show.report.pictures import are_drawn, draw_rounds, draw_samples, draw_training, leave_figures
from dp_experiments.terminal.lines import records
from numpy.testing import assert_allclose
from PIL import Image

from dp_base.files import remove
from dp_real import Run
from dp_real.evaluate.quality import quality, subsample
from dp_real.runs.files import RunFiles
from tests.chromium import barriers, left_by_frame, needs_axe, needs_browser
from tests.commands import done, refused, told
from tests.dp_real.runs.folders import all_rows
from tests.experiments.compare.made import runs_of
from tests.experiments.conftest import COMPARED, left_by_run
from torture.attempt import SMALL

# figures


def test_rounds_are_drawn_against_the_pools_size(guided_run):
    metrics, rounds = Run(guided_run).metrics, Run(guided_run).rounds
    figure = draw_rounds(metrics, rounds)
    points = {ax.get_title(): ax.get_lines()[1].get_xydata() for ax in figure.axes}
    assert_allclose(points["strength ω"], [[60, 0.04], [80, 0.04]])
    assert_allclose(points["seconds to generate"][:, 0], [40, 60, 80])
    # Six plain steps; guided ones are differentiated at all but the last.
    assert_allclose(points["denoiser passes per example"], [[40, 6], [60, 11], [80, 11]])
    wrong = rounds["fraction_wrong"]
    assert_allclose(points["wrong when added (%)"], [[60, 100 * wrong[1]], [80, 100 * wrong[2]]])
    last = metrics["val_accuracy"].iloc[-1]
    assert_allclose(points["validation accuracy reached (%)"][-1], [80, 100 * last])
    lines = draw_training(metrics, rounds, 0).axes
    (accuracy,) = (ax.get_lines()[0] for ax in lines if ax.get_ylabel() == "validation accuracy (%)")
    assert accuracy.get_ydata()[-1] == 100 * last


def test_the_grid_shows_the_pools_own_rows(guided_run):
    figure = draw_samples(Run(guided_run).pool, tuple("0123456789"))
    (ax,) = figure.axes
    (image,) = ax.images
    sheet = image.get_array()
    rows = all_rows(guided_run)
    frames = {patch.get_xy() for patch in ax.patches}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0  (initial)", "1  (ω = 0.04)", "2  (ω = 0.04)"]
    for index in range(3):
        for label in range(10):
            row = next(row for row in rows if (row["round"], row["label"]) == (index, label))
            top, left = 10 * index, 9 * label  # 8 pixels, and 2 below for the note, 1 beside
            drawn = sheet[top : top + 8, left : left + 8]
            assert_allclose(drawn, (np.reshape(row["example"], (8, 8)) + 1) / 2, atol=1e-6)
            note = ax.texts[10 * index + label].get_text()
            assert note == (f"{row['entropy']:.2f}" if index else "")
            assert ((left - 0.5, top - 0.5) in frames) == (index > 0 and not row["correct"])


def test_a_figure_that_fails_is_told(copied, patch, capsys):
    def fails(run):
        raise OSError("no room")

    patch(pictures, "draw_run", fails)
    leave_figures(copied)
    assert "figures: not drawn: OSError: no room" in capsys.readouterr().err


def test_a_damaged_pool_leaves_the_rest_of_the_report(copied):
    """A figure that was drawn before the run's end is drawn again."""
    (file, *_) = sorted((copied / "pool").glob("*/*.arrow"))
    file.write_bytes(file.read_bytes()[:-9])
    assert are_drawn(RunFiles(copied))
    shutil.rmtree(copied / "figures")
    early = copied / "figures" / "training.png"
    early.parent.mkdir()
    early.touch()
    os.utime(early, (0, 0))
    assert not are_drawn(RunFiles(copied))
    answer = done("real report", copied, "--json")
    (report,) = json.loads(answer.out)["reports"]
    assert set(report["figures"]) == {"training", "rounds"}
    assert report["rounds"]
    assert are_drawn(RunFiles(copied))
    assert f"{file} is damaged" in answer.err


def test_branches_are_reported_and_read_as_a_curve(copied):
    done("real branch", copied)
    (report,) = told("real report", copied)["reports"]
    reached = {row["pool_size"]: row["test_accuracy"] for row in Run(copied).branches}
    assert {row["pool_size"]: row["accuracy"] for row in report["branches"]} == reached
    curve, notes = read_curve(copied)
    assert (curve.kept.tolist(), curve.initial.tolist(), curve.increment.tolist()) == ([40, 60, 80], [40] * 3, [20] * 3)
    reached[80] = Run(copied).result["test_accuracy"]
    assert curve.error.tolist() == pytest.approx([1 - accuracy for accuracy in reached.values()])
    assert "one run says nothing" in notes[0]


# report


def read_page(file):
    """The text of a page, and its pictures; what is opened must be closed, and nothing lies elsewhere."""
    text = file.read_text()
    assert len(re.findall(r"<(?!meta|img|!|/)", text)) == text.count("</")
    places = re.findall(r' (?:src|srcset|href)="(.*?)"', text)
    assert {place.partition(",")[0] for place in places} == {"data:image/png;base64"}
    words = html.unescape(re.sub(r"<.*?>", "", text))
    return words, [base64.b64decode(place.partition(",")[2]) for place in places]


def test_report_of_a_run(guided_run):
    (facts,) = told("real report", guided_run)["reports"]
    result = Run(guided_run).result
    assert (facts["complete"], facts["pool_size"], facts["costs"]["samples_generated"]) == (True, 80, 80)
    test, validation = facts["accuracies"]
    p = result["test_accuracy"]
    assert test == {"set": "test", "images": 647, "accuracy": p, "se": pytest.approx((p * (1 - p) / 647) ** 0.5)}
    assert (validation["images"], validation["accuracy"]) == (250, result["val_accuracy"])
    assert facts["settings"]["practice.patience"] == [3, 1]
    assert "practice.branch" not in facts["settings"]
    assert [row["pool_size"] for row in facts["rounds"]] == [40, 60, 80]
    assert shlex.split(facts["command"]) == ["dp", "real", "run", str(guided_run / "config.toml")]

    words, pictures = read_page(guided_run / "report.html")
    of_all_rounds = [path for path in (guided_run / "figures").iterdir() if not path.name.startswith("round-")]
    assert sorted(pictures) == sorted(path.read_bytes() for path in of_all_rounds)
    assert len(of_all_rounds) == 3
    assert facts["verdict"] in words
    assert facts["verdict"].startswith(f"digits, seed 3: 80 examples reached {100 * p:.2f} ± {100 * test['se']:.2f} %")
    guessing = result | {"test_balanced_accuracy": 0.1}
    assert " seconds. At chance" in run_verdict(facts, 10, guessing)
    assert run_verdict(facts, 10, guessing | {"quick": "a trial"}).endswith(" seconds; a trial.")
    assert str(guided_run) in words  # as it is: < and & are escaped


def test_a_run_that_ended_before_an_evaluation_has_the_examples_of_its_rounds(tmp_path):
    """As one that diverges at its first steps."""
    run = left_by_run(tmp_path / "run")
    assert outcome(Run(run))["pool_size"] == 0
    (run / "rounds.jsonl").write_text('{"round": 0, "count": 24}\n{"round": 1, "count": 12}\n')
    assert outcome(Run(run))["pool_size"] == 36


def test_a_judge_confirms_rows_of_each_round(guided_run, tmp_path):
    """Here the run's own learner, which differs from the one that had missed rows before."""
    page = tmp_path / "report.html"
    _, out, err = done("real report", guided_run, "--judge", guided_run, "--out", page)
    run = Run(guided_run)
    right = run.learner().logits(run.pool.x[:]).argmax(1) == run.pool.y
    shares = [part.double().mean().item() for part in right.split(run.rounds["count"].tolist())]
    _, _, head, *rounds = [line.split("\t") for line in out.splitlines()]
    assert (head[0], head[-2:]) == ("round", ["confirmed", "confirmed_of_missed"])
    assert [row[-2] for row in rounds] == [f"{share:.4g}" for share in shares]
    assert "of 250 real images" in err
    assert f"It is right about {100 * run.result['val_accuracy']:.1f} % of 250 real images" in page.read_text()


def test_a_judge_looks_at_the_samples_of_each_arm(compared, tmp_path, patch):
    sizes = []
    patch(judges, "quality", lambda *sets: sizes.append([len(part) for part in sets]) or quality(*sets))
    judge = Comparison(compared).run_folder("static", 1)
    page = tmp_path / "report.html"
    (facts,) = told("real report", compared, "--judge", judge, "--out", page)["reports"]
    learner = Run(judge).learner()
    assert [row["series"] for row in facts["arms"]] == ["practice", "static-60", "static"]
    for row in facts["arms"]:
        pools = [run.pool for arm, run in Comparison(compared).runs() if arm == row["series"]]
        seen = [pool.minibatch(subsample(torch.arange(len(pool)), 40)) for pool in pools]
        right = [(learner.logits(x).argmax(1) == y).double().mean().item() for x, y in seen]
        assert row["confirmed"] == pytest.approx(np.mean(right))
        assert 0 < row["coverage"] <= 1
    assert sizes == [[40, 40]] * 6  # the size of the smallest pool, since others cannot be compared
    of_judge = facts["judge"]
    assert f"right about {100 * of_judge['accuracy']:.1f} % of {of_judge['images']} real" in page.read_text()


def test_rounds_are_compared_with_real_examples_if_that_is_asked_for(guided_run, tmp_path, patch):
    page = tmp_path / "report.html"
    (facts,) = told("real report", guided_run, "--rounds", "--out", page)["reports"]
    assert [row["round"] for row in facts["quality"]] == [None, 0, 1, 2]
    assert 0.7 < facts["quality"][0]["density"] < 1.4  # 1 of examples of one distribution
    assert "<td>real, test</td>" in page.read_text()
    patch("dp_real.evaluate.quality.NEIGHBOURS", 20)
    assert "smallest round has 20 examples, too few for --rounds" in refused("real report", guided_run, "--rounds")


def test_a_run_of_no_preset(copied):
    text = (copied / "config.toml").read_text()
    (copied / "config.toml").write_text(text.replace('name = "digits"', 'name = "mine"'))
    (facts,) = told("real report", copied)["reports"]
    assert (facts["preset"], facts["settings"]["practice.initial"]) == (None, [None, 40])


def test_an_unfinished_run(copied):
    """Killed in the middle of a line; its figures are drawn from what there is."""
    for name in ("result.json", "learner", "figures", "branches"):
        remove(copied / name)
    for checkpoint in (copied / "checkpoints").iterdir():
        if int(checkpoint.name.partition("step-")[2].partition("-")[0]) > 40:
            shutil.rmtree(checkpoint)  # it would have come later
    lines = (copied / "metrics.jsonl").read_text().splitlines(keepends=True)
    (copied / "metrics.jsonl").write_text("".join(lines[:8]) + lines[8][:20])
    _, out, err = done("real report", copied)
    header, row = (line.split("\t") for line in out.splitlines())
    assert row[header.index("status")] == "step 40 of 120"
    assert "test" not in header
    assert err.splitlines()[-1] == str(copied / "report.html")
    words, pictures = read_page(copied / "report.html")
    assert "not finished, at step 40 of 120" in words
    assert f"dp real resume {copied}" in words
    assert len(pictures) == 3


def test_report_of_a_comparison(compared, tmp_path, guided_run):
    """Together with a run."""
    comparison, alone = told("real report", compared, guided_run, "--out", tmp_path / "both.html")["reports"]
    assert alone["run"] == str(guided_run)
    made = ["dp", "real", "compare", *SMALL, *shlex.split(COMPARED)]
    assert shlex.split(comparison["command"])[: len(made)] == made
    assert [arm["series"] for arm in comparison["arms"]] == ["practice", "static-60", "static"]
    assert [Path(row["run"]).name for row in comparison["runs"]][:2] == ["practice-seed1", "practice-seed2"]
    words, pictures = read_page(tmp_path / "both.html")
    assert len(pictures) == 1 + 3
    assert comparison["verdict"][0] in words
    assert f"{comparison['command']} made it" in words
    for arm in comparison["arms"]:
        sign = {">": "≥ ", "<": "≤ "}.get(arm["bound"], "")
        assert f"{arm['series']}{sign}{arm['ratio']:.2g}" in words  # a bound stands with its number
    findings = comparison["verdict"][0], alone["verdict"], "Accuracy, ±", "Each addition against"
    assert all(words.index(each) < words.index(alone["review"]) for each in findings)


def test_a_comparison_that_counts_something_else_than_samples(compared):
    folder = Comparison(compared)
    folder.write(folder.read("runs").assign(sets=""), "static-60", "seconds")
    facts = comparison_facts(folder, None)
    for arm, shown in zip(facts["arms"], shown_comparison(facts)["shown_arms"], strict=True):
        assert shown["samples"] == arm["generated"] != arm["x"]
        assert "static data to match (seconds of generation and training)" in shown


def test_of_one_seed_no_error_is_known(compared):
    folder = Comparison(compared)
    runs = folder.read("runs").query("seed == 1")
    folder.write(runs.assign(sets=[[{"set": "further", "accuracy": 0.5}]] * len(runs)), "static-60")
    shown = shown_comparison(comparison_facts(folder, None))
    assert {row["accuracy (%)"] for row in shown["shown_sets"]} == {"50.00"}
    assert {row["lead over static-60"] for row in shown["shown_sets"]} == {"0.00"}
    assert not any("nan" in str(value) for row in shown["shown_arms"] for value in row.values())
    assert "leave out what a seed" in page([comparison_facts(folder, None)])
    folder.write(runs[:1].assign(sets=""), str(runs["arm"].iloc[0]))
    assert "leave out what a seed" not in page([comparison_facts(folder, None)])  # one arm alone


@needs_axe
def test_nothing_in_a_report_keeps_somebody_from_reading_it(compared, guided_run, tmp_path):
    done("real report", compared, guided_run, "--out", tmp_path / "both.html")
    assert not barriers((tmp_path / "both.html").read_text(), tmp_path)


@needs_browser
def test_a_page_fits_its_screen_and_a_figure_keeps_its_distance_from_the_table_before_it(guided_run, tmp_path):
    done("real report", guided_run, "--out", tmp_path / "report.html")
    gap = """
      const figure = [...shown.querySelectorAll("div.wide + figure")][0];
      const above = figure.previousElementSibling.getBoundingClientRect().bottom;
      root.dataset.gap = figure.getBoundingClientRect().top - above;
      root.dataset.wide = shown.documentElement.scrollWidth > shown.documentElement.clientWidth;"""
    for width in (1280, 500):
        found = left_by_frame(gap, (tmp_path / "report.html").read_text(), tmp_path, width)
        assert float(found["gap"]) > 16  # pixels, a line of text
        assert found["wide"] == "false"


@needs_browser
def test_a_phone_shows_the_ratio_of_a_comparison(compared, tmp_path):
    """The names of the arms, which stay in sight, leave it room; tables are scrolled, the page is not."""
    done("real report", compared, "--out", tmp_path / "report.html")
    places = """
      const heads = [...shown.querySelectorAll("th")].filter(head => head.textContent.startsWith("worth"));
      root.dataset.right = heads[0].getBoundingClientRect().right;
      const arm = [...shown.querySelectorAll("td:first-child")].find(cell => cell.textContent === "practice");
      const word = shown.createRange();
      word.selectNodeContents(arm);
      root.dataset.lines = word.getClientRects().length;
      root.dataset.wide = shown.documentElement.scrollWidth > 390;"""
    found = left_by_frame(places, (tmp_path / "report.html").read_text(), tmp_path, 390)
    assert (found["wide"], found["lines"]) == ("false", "1")
    assert float(found["right"]) < 390


def test_a_pool_of_images_is_reviewed(guided_run, tmp_path):
    page = tmp_path / "review.html"
    done("real review", guided_run, "--out", page)
    text = page.read_text()
    assert text.count('src="data:image/png;base64,') == text.count("data-mark=") == 80
    (encoded, *_) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size == (8, 8)
    assert "p(label)" not in text  # nobody knows


def test_a_lead_of_nothing_has_no_sign_and_a_static_arm_no_interval_of_its_own_size():
    runs = runs_of({"practice": [0.93, 0.92999], "static": [0.93, 0.93]}, {"practice": 100, "static": 100})
    arms = records(summarize(runs, "static"))
    practice, static = shown_comparison({"axis": "generated", "arms": arms, "sets": []})["shown_arms"]
    assert practice["lead over static"] == "0.00 ± 0.00"
    assert practice["95 % interval"] == "0 to ∞"
    assert "95 % interval" not in static


def test_numbers_are_readable():
    shown = {
        52_053.4: "52,053",
        np.inf: "∞",
        -np.inf: "−∞",
        1200.0: "1,200",
        0.12345: "0.1235",
        None: "",
        "static": "static",
    }
    assert {value: readable(value) for value in shown} == shown
    assert readable(np.nan) == ""
