"""The paper's typed-in tables, what is computed from them, and the `dp figures` command."""

import json
import os
from functools import partial
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from dp_experiments.paper import gallery, overlay, tables
from dp_experiments.paper.figures import fig1, fig3, fig5c, fig7, fig_growth
from dp_experiments.presets.presets import load_preset
from dp_experiments.presets.variants import variants
from dp_figures.tables import reported
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from dp_base.errors import DivergedError, MissingError
from dp_real import Run
from dp_theory import BoundaryFlips, PracticeProblem
from dp_theory.loop.square import solve_loop
from tests.chromium import barriers, needs_axe
from tests.commands import done, refused
from tests.experiments.conftest import left_by_run
from tests.installed import install
from tests.source import rows_of

# ---- the figures' tables


@pytest.fixture
def cheap(patch):
    """Theory figures with four trials in this process."""
    simulate = overlay.simulate
    patch(overlay, "simulate", lambda problem, **k: simulate(problem, **{**k, "trials": 4, "workers": 1}))


@pytest.mark.parametrize("module", [fig3, fig5c, fig7])
def test_simulated_points_lie_on_their_line(module, cheap, patch):
    """Away from p = phi, where the peak is, the point is on the line that is drawn: same x, same problem."""
    table = module.compute(quick=True)
    gaps = []
    for _, rows in table.groupby([c for c in ("series", "axis", "panel") if c in table]):
        line, points = (rows.query(f"kind == '{kind}'").sort_values("x") for kind in ("predicted", "simulated"))
        gaps += list(np.abs(np.interp(points["x"], line["x"], line["y"]) - points["y"]))
    unit = 1 if module is fig7 else 100
    assert np.median(gaps) < 0.01 * unit
    assert module.draw(table).axes
    assert f"of {(len(gaps) // (2 if module is fig3 else 1))} cells" in module.caption(table)
    if module is fig5c:
        assert "in the band where 95% of single experiments lie" in module.caption(table)
    if module is fig7:  # a selector that knows nothing of the truth cannot tell hard rows from others
        assert "keep-hard beats keep-easy" in module.caption(table)
        patch(fig7, "RHO", 0.0)
        assert "keep-hard is as good as keep-easy" in module.caption(module.compute(quick=True))


@pytest.mark.slow
def test_sizes_of_rounds_are_their_table():
    (_, *ratios), *errors = rows_of("practice.md", "size of a round over the one before")
    for flips, (_, *said) in zip([0.0, BoundaryFlips.of_share(fig_growth.WRONG)], errors, strict=True):
        for ratio, error in zip(ratios, said, strict=True):
            loops = [
                PracticeProblem(fig_growth.PHI, lam, fig_growth._rounds(float(ratio), kappa), flip=flips)
                for kappa, lam in product(fig_growth.KAPPAS, fig_growth.LAMS)
            ]
            assert f"{100 * min(solve_loop(each).test_error[-1] for each in loops):.2f}" == error, ratio


def test_rounds_should_shrink(patch):
    """In theory and in simulation, where labels are exact; growing rounds lose."""
    patch(fig_growth, "LAMS", (0.01, 0.03))
    table = fig_growth.compute(quick=True)
    error = table.query("kind == 'predicted'").set_index("x")["y"]
    assert error[0.7] < 0.8 * error[1.0]
    assert error[1.5] > 1.3 * error[1.0]
    assert table["z"].abs().max() < 4
    assert "least at 0.7" in fig_growth.caption(table)
    assert fig_growth.draw(table).axes


# ---- the command


def test_a_name_of_the_paper_stands_for_all_that_draw_it():
    assert gallery.check_names(["fig4", "fig7"]) == ["fig4-digits", "fig4-glyphs", "fig4-reported", "fig7"]
    assert done("figures --list fig12 table1").out.splitlines() == ["grid-omega", "table1"]


def test_fig1_shows_a_pool_that_grows_at_the_boundary():
    """What practice adds lies nearer to the boundary, and nearer to points of doubt, than its first samples."""
    table = fig1.compute(quick=True)
    line = table[table["what"] == "boundary"]
    samples = table[table["what"].isin(["old", "new"])].query("arm == 'practice'")
    away = (samples["y"] - np.interp(samples["x"], line["x"], line["y"])).abs()
    nearness = away.groupby(samples["samples"]).median()
    assert nearness[144] < 0.6 * nearness[24]
    figure = fig1.draw(table)
    for ax, size in zip(figure.axes, (24, 72, 144, 144), strict=True):
        drawn = [points for points in ax.collections if isinstance(points, PathCollection)]
        assert sum(len(points.get_offsets()) for points in drawn) == size
    assert "Over 30 seeds practice is +" in fig1.caption(table)


def test_stored_runs_give_figures(tmp_path):
    names = ("fig9", "fig4-glyphs", "fig4-digits", "start")
    done("figures", *names, "--out", tmp_path)
    nine, four, of_digits, start = (pd.read_csv(tmp_path / f"{name}.csv") for name in names)
    assert dict(zip(nine["series"].str[:6], nine["verdict"], strict=True)) == {
        "digits": "undecided",
        "glyphs": "equivalent",
    }
    captions = {name: record["caption"] for name, record in json.loads((tmp_path / "figures.json").read_text()).items()}
    assert "on handwriting 16,000 samples are worth 39,055 static ones, on display 16,0" in captions["fig4-glyphs"]
    caption = captions["start"]
    assert start["y"].min() > 2  # errors in percent, which the front page says in accuracy
    assert "practice err on 2.51 %, 128,000 static ones on 2.53 %: in accuracy +0.02 ± 0.02" in caption
    for curve in (four.query("panel == 'display' and series == 'static'"), of_digits.query("series == 'static'")):
        assert curve[["x", "y"]].apply(lambda column: column.is_monotonic_increasing).all()


def test_a_table_has_the_runs_of_its_rows_beside_it(tmp_path):
    name = "imagenet100-table4-4"
    four, again = (left_by_run(tmp_path / str(val), name, val_accuracy=val, pool_size=0) for val in (0.61, 0.63))
    for size, val in {80_000: 0.55, 112_000: 0.6, 99_999: 0.1}.items():
        left_by_run(four / "branches" / str(size), name, val_accuracy=val, pool_size=size)
    (again / "config.toml").write_text(load_preset(name, ["training.steps=100"], seed=7).to_toml())
    done("figures table4 --run", four, "--run", again, "--out", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "table4.csv")
    assert table["own val"].dropna().to_dict() == {0: 55.0, 2: 60.0, 3: 62.0}
    assert table["own runs"].dropna().to_dict() == {0: 1, 2: 1, 3: 2}
    assert table["keys that differ"].dropna().to_dict() == {3: "training.steps"}
    assert table["val"].iloc[3] == 62.68  # as reported
    assert (tmp_path / "out" / "table4.md").read_text().count("\n") == 2 + len(table)
    assert "\\begin{tabular}" in (tmp_path / "out" / "table4.tex").read_text()
    said = refused("figures table5 --run", four, "--out", tmp_path / "out")
    assert "is of imagenet100-table4-4, which is no row of Table 5" in said
    sets = [{"set": "imagenet-r", "accuracy": 0.25}]
    rows = {"imagenet100": (4, 64.4), "imagenet1k": (5, 50.226)}
    of_variants = ("imagenet100-table1", "imagenet1k-table1-1", "imagenet1k-table1-2", "imagenet100-table3-5")
    for preset in (*rows, *of_variants):
        run = Run(left_by_run(tmp_path / preset, preset, val_accuracy=0.5, test_accuracy=0.75, sets=sets, pool_size=0))
        number, val = rows.get(preset) or (int(preset.partition("-table")[2][0]), variants()[preset].reported)
        found = tables.paper_table(f"table{number}", [run])
        beside = found[found["own val"] == "50.00"]
        assert beside["val"].astype(float).tolist() == [val]
        further = {name: beside[name].item() for name in ("own train", "own r") if name in found}
        assert further == {"own train": "75.00", "own r": "25.00"} if number == 1 else len(further) == 1


@pytest.fixture
def pretend(patch):
    """Figures that cost nothing. It takes what some raise when first computed; it returns the names of the computed."""

    def start(error, *failing):
        computed, errors = [], dict.fromkeys(failing, error)

        def compute(name, quick):
            computed.append(name)
            if name in errors:
                raise errors.pop(name)
            return reported("a", [1.0], [1.0])

        def load(name):
            return SimpleNamespace(
                compute=partial(compute, name), draw=lambda table: Figure((1, 1)), caption=lambda table: ""
            )

        patch(gallery, "load", load)
        return computed

    return start


def test_a_figure_that_cannot_be_drawn_does_not_stop_the_others(tmp_path, pretend):
    pretend(MissingError("no runs"), "fig7", "fig2-digits")
    assert not done("figures fig7 fig2-digits --out", tmp_path, status=3).out
    pretend(MissingError("no runs"), "fig7")
    assert "figure fig7 was not drawn" in done("figures fig7 fig4-reported --out", tmp_path, status=3).err
    assert (tmp_path / "fig4-reported.png").exists()
    pretend(DivergedError("no longer finite"), "fig7")
    assert "figure fig7 was not drawn: no longer finite" in done("figures fig7 fig1 --out", tmp_path, status=2).err
    assert (tmp_path / "fig1.png").exists()


def test_an_interruption_keeps_the_figures_before_it(tmp_path, pretend):
    """Ctrl-C in the second figure: status 130."""
    computed = pretend(KeyboardInterrupt(), "fig7")
    wanted = ("fig4-reported", "fig7", "--out", tmp_path)
    done("figures", *wanted, status=130)
    assert list(json.loads((tmp_path / "figures.json").read_text())) == ["fig4-reported"]
    done("figures fig7 --quick --out", tmp_path)
    assert computed == ["fig4-reported", "fig7", "fig7"]
    record = json.loads((tmp_path / "figures.json").read_text())
    assert [each["command"] for each in record.values()] == ["dp figures fig4-reported", "dp figures fig7 --quick"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder of one figure of the paper."""
    out = tmp_path_factory.mktemp("deep") / "out"
    assert done("figures fig4-reported --out", out).out == f"{out}/index.html\n"
    return out


def test_a_figure_has_its_table_and_page(drawn):
    files = "index.html figures.json fig4-reported.csv fig4-reported.png fig4-reported.pdf"
    assert {*os.listdir(drawn)} == {*files.split()}
    assert len(pd.read_csv(drawn / "fig4-reported.csv")) == 31
    page = (drawn / "index.html").read_text()
    assert 'src="fig4-reported.png"' in page
    assert "<code>dp figures fig4-reported</code>" in page
    assert "31× less data" in page
    assert '<a href="#fig4-reported">' in page


@needs_axe
def test_nothing_keeps_somebody_from_using_the_index(drawn):
    assert not barriers((drawn / "index.html").read_text(), drawn)


@pytest.mark.parametrize(
    ("name", "module", "status", "message"),
    [
        ("fig3", "drawn", 2, "two of the figures are called 'fig3'"),
        ("mine", "none", 3, "'mine' cannot be loaded: none"),
    ],
)
def test_what_keeps_a_figure_from_loading_is_said(tmp_path, monkeypatch, name, module, status, message):
    install(tmp_path / "site", "drawn", {"drawn.py": ""}, f"[deliberate_practice.figures]\n{name} = {module}\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert message in done("figures", name, "--out", tmp_path / "out", status=status).err
