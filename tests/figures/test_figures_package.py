"""What the plotting package promises: it draws what it is given, refuses what it cannot, and leaves no trace."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from dp_figures import curves, grids, style, tables, traces
from matplotlib.collections import LineCollection
from numpy.testing import assert_allclose, assert_array_equal


def tidy(**changes):
    """Two series with a predicted line and simulated points each, in two panels."""
    rows = [
        {"series": series, "kind": kind, "x": x, "y": 1 / x, "y_low": low / x, "y_high": high / x, "n_seeds": 4, "g": g}
        for g in ("left", "right")
        for series in ("a", "b")
        for kind, low, high in (("predicted", np.nan, np.nan), ("simulated", 0.9, 1.2))
        for x in (1.0, 10.0, 100.0)
    ]
    return pd.DataFrame(rows).assign(**changes)


def test_lines_points_bars_and_legend_are_those_of_the_table():
    figure = curves.draw_curves(tidy(), xlabel="n", ylabel="error", panel="g", logx=True)
    assert [ax.get_title() for ax in figure.axes] == ["left", "right"]
    ax = figure.axes[0]
    lines = [line for line in ax.get_lines() if line.get_linestyle() != "None"]
    assert len(lines) == 2
    assert_array_equal(lines[0].get_xydata(), [[1, 1], [10, 0.1], [100, 0.01]])
    (bars,) = {tuple(np.concatenate(c.get_segments()[1])) for c in ax.collections if isinstance(c, LineCollection)}
    assert_allclose(bars, [10, 0.09, 10, 0.12])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "predicted", "simulated"]


@pytest.mark.parametrize(
    ("message", "table"),
    {
        r"lacks the columns \['y_low'\]": tidy().drop(columns="y_low"),
        "no rows": tidy().iloc[:0],
        r"unknown kind \['guessed'\].*predicted": tidy(kind="guessed"),
        r"unknown kind \[nan, 'guessed'\]": tidy(kind=[np.nan, "guessed"] * 12),
        "x and y must be finite, but not in row .*'series': 'a'": tidy(y=np.nan),
        "series must be given, but not in row": tidy(series=None),
        "y_low and y_high must both be finite, or neither": tidy(y_high=np.nan),
        "y must lie between y_low and y_high": tidy(y_low=2.0),
    }.items(),
)
def test_a_wrong_table_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        curves.draw_curves(table, xlabel="x", ylabel="y")


def test_a_logarithmic_axis_hides_no_point():
    point = tables.measured("$a", 0, 0, quantity="$q", added=False).convert_dtypes()
    looks = {"xlabel": "x", "ylabel": "y", "logx": True, "logy": True}
    for table, scales in ((point, ("linear", "linear")), (tidy(y=0, y_low=np.nan, y_high=np.nan), ("log", "linear"))):
        (ax,) = curves.draw_curves(table, **looks).axes
        assert (ax.get_xscale(), ax.get_yscale()) == scales
    (ax,) = traces.draw_traces(point, logy=["$q"]).axes
    assert (ax.get_yscale(), ax.get_ylabel()) == ("linear", r"\$q")


@pytest.mark.parametrize("name", ["s{}", "practice@a.setting=0.04@another.setting=100000@{}"])
def test_a_legend_is_whole_and_leaves_room(name):
    table = tables.measured([name.format(i) for i in range(24)], 1, 1)
    figure = curves.draw_curves(table, xlabel="x", ylabel="y")
    figure.draw_without_rendering()
    (legend,), (ax,) = figure.legends, figure.axes
    assert figure.bbox.containsx(legend.get_window_extent().x0)
    assert figure.bbox.containsy(legend.get_window_extent().y0)
    assert ax.bbox.width > figure.bbox.width / 2
    assert ax.bbox.height > 100


def test_logarithmic_ticks_read_as_people_write():
    values = (0.05, 500, 2000, 1.3e6, 2e9)
    assert [curves._readable(value) for value in values] == ["0.05", "500", "2k", "1.3M", "2G"]


def test_the_colour_of_an_arm_is_a_function_of_its_name():
    alone, beside = style.styles_of(["static"]), style.styles_of(["a", "static", "practice", "b"])
    assert alone["static"] == beside["static"] != beside["practice"]
    assert len({look["color"] for look in beside.values()}) == 4


def test_characters_that_no_font_has_are_told_in_a_line(tmp_path, patch, caplog):
    patch(style, "FALLBACKS", ("None such",))
    curves.save(curves.draw_curves(tidy(), xlabel="\u732b\u72d7", ylabel="y"), tmp_path / "cats")
    assert caplog.messages[-1] == "no font has \u72d7\u732b: install one of None such"


def test_a_legend_tells_apart():
    one = tidy().query("series == 'a' and kind == 'simulated'")
    assert curves.draw_curves(one, xlabel="x", ylabel="y", panel="g").legends == []
    trace = one.assign(kind="measured", quantity="q", added=False)
    assert traces.draw_traces(trace).legends == []
    (legend,) = traces.draw_traces(trace.assign(added=True)).legends
    assert [text.get_text() for text in legend.get_texts()] == ["data added"]


def test_pictures_are_the_same_under_any_settings_of_the_user(tmp_path):
    def drawn():
        figure = curves.draw_curves(tidy(), xlabel="x", ylabel="y", panel="g")
        paths = curves.save(figure, tmp_path / "a" / "p=0.5")
        assert [path.name for path in paths] == ["p=0.5.png", "p=0.5.pdf"]
        return [path.read_bytes() for path in paths]

    plain = drawn()
    assert [content[:4] for content in plain] == [b"\x89PNG", b"%PDF"]
    theirs = {"text.usetex": True, "font.size": 30, "savefig.bbox": "tight", "axes.facecolor": "red"}
    with matplotlib.rc_context(theirs):
        assert drawn() == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_traces_mark_the_additions():
    table = tidy(kind="measured", quantity=tidy()["g"], added=tidy()["x"] == 10)
    figure = traces.draw_traces(table)
    assert [ax.get_ylabel() for ax in figure.axes] == ["left", "right"]
    markers = [line for line in figure.axes[0].get_lines() if line.get_marker() == "v"]
    assert [list(line.get_xdata()) for line in markers] == [[10, 10], [10, 10]]


def test_image_table_becomes_a_labelled_grid():
    """A place without an image is white."""
    pixels = np.linspace(0, 1, 12, dtype=np.float32)
    table = pd.DataFrame(pixels.reshape(3, 4)).add_prefix("pixel_")
    table = table.assign(row=["r0", "r0", "r1"], column=["c0", "c1", "c1"])
    (ax,) = grids.draw_image_table(table, rows="round", columns="class").axes
    labels = [*ax.get_yticklabels(), *ax.get_xticklabels()]
    assert [label.get_text() for label in labels] == ["r0", "r1", "c0", "c1"]
    (image,) = ax.images
    sheet = np.full((5, 5), np.nan)
    sheet[:2, :2], sheet[:2, 3:], sheet[3:, 3:] = pixels.reshape(3, 2, 2)
    assert_array_equal(image.get_array().filled(np.nan), sheet)


def test_a_ranking_has_the_best_on_top_and_each_interval_around_its_point():
    ends = {"y": [2.0, 3.0, 1.0], "y_low": [1.5, 2.0, 0.9], "y_high": [2.1, 3.5, 1.1]}
    table = pd.DataFrame({"series": ["b", "a", "c"], "kind": "measured", "x": 1.0, "n_seeds": 4} | ends)
    (ax,) = curves.draw_ranking(table, xlabel="points").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["c", "b", "a"]
    (bars,) = ax.collections
    drawn = [np.asarray(path.vertices)[:2, 0] for path in bars.get_paths()]
    assert_allclose(drawn, [(0.9, 1.1), (1.5, 2.1), (2.0, 3.5)])
