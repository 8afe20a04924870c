"""The look of all figures. Colour and dash tell series apart; line, marker and fill the kind of a number."""

import itertools
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib.figure import Figure

log = logging.getLogger(__name__)
FALLBACKS = ("Noto Sans CJK JP", "Noto Sans", "Arial Unicode MS", "Unifont")
"""Fonts that have characters which DejaVu Sans lacks."""
WIDTH = 6.5  # a full text width; figures share it, so that their fonts look equally large side by side
PANEL_HEIGHT = 2.1  # of one row of panels
SINGLE_HEIGHT = 3.1  # of a figure with one panel
GREY = "0.35"

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""The colours of Okabe & Ito (2008), without yellow, which is illegible on white."""
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
ARMS = {"practice": 0, "static": 1, "practice, unguided": 2}
"""Arms of runs whose colour is the same in every figure, as an index of the colours."""

POINTS: dict[str, dict[str, Any]] = {
    "simulated": {"marker": "o", "markersize": 4.0, "markeredgecolor": "white", "markeredgewidth": 0.5},
    "measured": {"marker": "s", "markersize": 4.0, "markeredgecolor": "white", "markeredgewidth": 0.5},
    "reported": {"marker": "o", "markersize": 4.5, "markerfacecolor": "white", "markeredgewidth": 1.1},
}
"""Keyword arguments of Line2D for the points of each empirical kind. What is predicted is a line without points."""


RC_PARAMS: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7.5,
    "figure.titlesize": 9,
    "axes.linewidth": 0.6,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "errorbar.capsize": 0,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # text stays text
}
TICKS = {"labelsize": 7, "color": GREY, "labelcolor": "black", "major.width": 0.6, "minor.width": 0.4}


def new_figure(height: float) -> Figure:
    """An empty figure of the usual width, and of this height in inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


@contextmanager
def paper() -> Iterator[None]:
    """Give figures their look within a block, both where a figure is built and where it is saved.

    What a user or a notebook has set holds again afterwards. Characters that DejaVu Sans lacks come from the FALLBACKS
    that are installed; else they are boxes, and a remark says which.
    """
    import matplotlib
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(name for name in FALLBACKS if name in installed)]
    with matplotlib.rc_context(), warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message="Glyph")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**RC_PARAMS, "font.family": fonts})
        matplotlib.rc("xtick", **TICKS)
        matplotlib.rc("ytick", **TICKS)
        yield
    lacking = set()
    for each in caught:
        if code := re.match(r"Glyph (\d+) ", str(each.message)):
            lacking.add(chr(int(code[1])))
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    if lacking:
        log.warning("no font has %s: install one of %s", "".join(sorted(lacking)), ", ".join(FALLBACKS))


def plain(text: object) -> str:
    """Text in which dollar signs start no formula."""
    return str(text).replace("$", r"\$")


def styles_of(names: Iterable[object], *, ordered: bool = False) -> dict[Any, dict[str, Any]]:
    """Colour and line style of each series, as keyword arguments of Line2D.

    An arm of ARMS has its own colour and dash; other series have the remaining ones in their order, so that neighbours
    differ in both. If `ordered`, as steps of one quantity, they run through viridis, whose lightness rises evenly.
    """
    import matplotlib

    names = list(dict.fromkeys(names))
    if ordered:
        viridis = matplotlib.colormaps["viridis"]
        last = max(len(names) - 1, 1)
        return {name: {"color": viridis(0.88 * index / last), "linestyle": "-"} for index, name in enumerate(names)}
    taken = {ARMS[str(name)] for name in names if str(name) in ARMS}
    free = (index for index in itertools.count() if index not in taken)
    places = {name: ARMS[str(name)] if str(name) in ARMS else next(free) for name in names}
    return {
        name: {"color": _COLOURS[place % len(_COLOURS)], "linestyle": _DASHES[place % len(_DASHES)]}
        for name, place in places.items()
    }
