"""The commands that README.md and docs/*.md show: every one is understood, and those marked are run.

`<!-- run -->` before a fenced block marks its `dp …` lines; `<!-- run: OPTIONS -->` adds options to each, to make it
smaller (in the place of its own of the same name). Of the others the sub-command and its options are checked. A marked
block of Python has values, with remarks that say them.
"""

import ast
import json
import re
import runpy
import shlex
import sys
import tomllib

import numpy as np
import pytest
import torch
from dp_experiments.cli import commands as dp_commands
from dp_experiments.paper.gallery import load
from dp_experiments.paper.gallery import modules as figure_modules
from dp_experiments.studies.stored import stored_runs
from dp_figures.curves import save
from matplotlib import pyplot as plt
from typer.core import TyperGroup

from dp_base.errors import MissingError
from dp_real.config import Config
from dp_real.config.arms import ARMS
from dp_real.practice.practice import Practice
from dp_real.practice.section import KINDS as SECTIONS
from tests.chromium import needs_browser, opened
from tests.commands import answer_to, done, told
from tests.source import FOLDERS, ROOT

STUDIES = {page: f"results/{page.parent.name}.md" for page in sorted(FOLDERS["dp_experiments"].rglob("README.md"))}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *STUDIES]
BLOCK = re.compile(
    r"(?:<!--\s*(?P<mark>run)(?::\s*(?P<options>.*?))?\s*-->\s*\n)?```\w*\n(?P<body>.*?)```(?:\n```\n(?P<shown>.*?)```)?",
    re.S,
)


def commands(page):
    """Arguments of each `dp …` line in a fenced block, whether it is marked, and what it is shown to print as it is."""
    found = []
    for block in BLOCK.finditer(page):
        lines = block["body"].replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines if line.startswith("dp ")]
        shown = iter([] if block["options"] else (block["shown"] or "").split("\n\n"))
        found += [(with_options(w, block["options"] or ""), block["mark"] is not None, next(shown, "")) for w in words]
    return found


def with_options(words, options):
    """A command with further options, each --NAME VALUE or --NAME, in the place of its own of the same name."""
    parts = re.split(" (?=--)", shlex.join(words))
    kept = [part for part in parts if part.split()[0] not in options.split()]
    return shlex.split(" ".join([*kept, options]))


TEXTS = {page: page.read_text() for page in PAGES}
SHOWN = [(page.name, *command) for page, text in TEXTS.items() for command in commands(text)]
RUN = [pytest.param(words, shown, id=" ".join(words)) for _, words, marked, shown in SHOWN if marked]
NUMBER = re.compile(r"-?\d*\.?\d+(?:e[-+]\d+)?")


def test_every_command_that_is_shown_is_understood():
    for page, words, *_ in SHOWN:
        command = dp_commands.root
        arguments = words[1:]
        while isinstance(command, TyperGroup):
            assert arguments[0] in command.commands, f"{page}: {words} has no sub-command {arguments[0]}"
            command = command.commands[arguments.pop(0)]
        try:
            command.make_context(command.name, arguments)
        except Exception as wrong:
            raise AssertionError(f"{page}: {' '.join(words)}") from wrong


@pytest.mark.parametrize(("words", "shown"), RUN)
def test_runs(words, shown, here):
    status, out, err = answer_to(words[1:])
    assert status == 0, err
    assert out
    printed = [numbers_in(line) for line in out.splitlines()]
    for line in shown.splitlines():
        if "…" not in line:
            told = numbers_in(line)
            near = [len(told) == len(other) and np.allclose(told, other, rtol=2e-3, atol=1e-4) for other in printed]
            assert any(near), line


@pytest.mark.slow
def test_the_forecast_of_a_sweep_is_its_page(here):
    (sweep, *table), (words, *further), _ = ((words, shown) for page, words, _, shown in SHOWN if page == "fit.md")
    test_runs(sweep, "", here)
    test_runs(words, "\n".join(table + further), here)


def numbers_in(text):
    return [float(number) for number in NUMBER.findall(text)]


CODE = re.compile(r"<!-- run -->\n```python\n(.*?)```", re.S)


@pytest.mark.parametrize("code", [code for text in TEXTS.values() for code in CODE.findall(text)])
def test_marked_python_gives_the_values_behind_it(code, here):
    """Of each value whose remark begins with numbers, but for the means of simulations (±)."""
    scope = {}
    for part in ast.parse(code).body:
        remark = code.splitlines()[part.end_lineno - 1].partition("  # ")[2]
        if not isinstance(part, ast.Expr):
            exec(ast.get_source_segment(code, part), scope)
        elif NUMBER.match(remark) and "±" not in remark:
            value = eval(f"({ast.get_source_segment(code, part)})", scope)
            written = NUMBER.findall(re.split("[:;]", remark)[0])
            for number, digits in zip(np.hstack(value if isinstance(value, tuple) else [value]), written, strict=True):
                assert round(float(number), len(digits.partition(".")[2])) == float(digits), remark


PROGRAM = re.compile(r"<!-- run: program -->\n```python\n(.*?)```", re.S)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of other libraries' trainers
def test_the_training_programs_that_are_shown_practise(here):
    pytest.importorskip("lightning")
    scope, sizes = {}, {}
    for code in PROGRAM.findall((ROOT / "docs" / "guide" / "training.md").read_text()):
        exec(code, scope)
        practice = scope["practice"]
        sizes[practice.folder.name] = len(practice.pool)
        again = torch.load("plain.pt")["practice"] if practice.folder.name == "plain" else practice.state_dict()
        practice.load_state_dict(again)
        assert len(practice.pool) == sizes[practice.folder.name]
    assert sizes.keys() == {"plain", "accelerate", "trainer", "lightning"}
    assert sizes["plain"] > 90
    assert sizes["trainer"] > 60
    assert sizes["lightning"] > 90


NOTEBOOKS = [
    pytest.param(file, marks=[pytest.mark.slow] if "dp_real" in file.read_text() else [], id=file.stem)
    for file in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
]


@pytest.mark.parametrize("file", NOTEBOOKS)
def test_a_notebook_runs_and_shows_what_it_drew(file, patch):
    found = json.loads(file.read_text())["cells"]
    cells = [cell for cell in found if cell["cell_type"] == "code"]
    shown = [output for cell in cells for output in cell["outputs"]]
    patch(plt, "show", lambda: None)
    code = "\n".join("".join(cell["source"]) for cell in cells)
    exec(code, {})
    assert len(plt.get_fignums()) > 1
    plt.close("all")
    for target in re.findall(r"\]\(([^)\s]+)\)", "".join(line for cell in found for line in cell["source"])):
        page = file.parent / target
        assert page.with_suffix(".md").exists() or page.exists(), page
    assert sum("image/png" in output.get("data", {}) for output in shown) > 1
    assert any(output["output_type"] == "stream" for output in shown)


# -- lists that are derived -------------------------------------------------------------------------------------------

GUIDE = ROOT / "docs" / "guide" / "extend.md"
COMPARE = ROOT / "docs" / "guide" / "compare.md"
LIST = re.compile(r"(?<=<!-- kinds: arm -->\n).*?(?=<!-- end -->)", re.S)


def arms():
    """The list of the arms of this project, as the guide shows it."""
    own = {name: line for name, line in ARMS.summaries().items() if ARMS[name].__module__.startswith("dp_")}
    return "\n".join(["", *(f"- `{name}`: {line.rstrip('.')}" for name, line in own.items()), "", ""])


def test_the_guide_lists_the_arms_that_there_are():
    assert LIST.findall(TEXTS[COMPARE]) == [arms()], "python -m tests.test_docs writes this list"


def test_the_renderer_of_the_guide_draws_digits_that_a_learner_chooses_among(here, patch):
    for file in ("renderer.py", "rendered.toml"):
        (text,) = re.findall(rf"```\w+\n# {re.escape(file)}\n(.*?)```", TEXTS[GUIDE], re.S)
        (here / file).write_text(text)
    patch(sys, "path", [*sys.path])  # which finds the folder of the file
    result = told("real run rendered.toml")
    assert (result["pool_size"], result["samples_generated"]) == (500, 100 + 400 * 5)
    assert result["test_accuracy"] > 0.25  # far above chance, on real digits


def keys_of(section):
    """The keys of a section of a configuration, those of all its kinds."""
    kinds = [kind for _, kind in SECTIONS[section].items()] if section in SECTIONS else []
    kinds = kinds or [Config.model_fields[section].annotation]
    return {key for kind in kinds for key in kind.model_fields}


def test_keys_that_pages_name_exist():
    """`SECTION.KEY` in a sentence, or `SECTION.KEY = VALUE`. Pages of results may name keys that are gone."""
    sections = [*SECTIONS, "sampling", "guidance", "training", "practice", "pool", "compare"]
    keys = {section: keys_of(section) for section in sections}
    keys["practice"] |= {"dataset", *dir(Practice)}  # `practice` is an object, too
    named = re.compile(rf"`({'|'.join(keys)})\.([a-z_0-9]+)(?: = [^`]*)?`")
    unknown = [
        f"{page.relative_to(ROOT)}: {section}.{key}"
        for page, text in TEXTS.items()
        if page.parent.name != "results" and page not in STUDIES
        for section, key in named.findall(text)
        if key not in keys[section] and key != "py"
    ]
    assert not unknown


def test_links_between_pages_lead_somewhere():
    """To a file; `make docs` looks for the headings, too."""
    broken = []
    for page in (*PAGES, *(ROOT / name for name in ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"))):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        links = re.findall(r"\]\((?!https?:)([^)\s#]+)", text)
        broken += [f"{page.relative_to(ROOT)}: {link}" for link in links if not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("package", ["dp_theory", "dp_real"])
def test_each_public_name_has_its_place_in_the_reference(package):
    pages = [page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md")]
    listed = ", ".join(re.findall(rf"::: {package}\n.*?members: \[(.*?)\]", "".join(pages), re.S))
    listed = re.split(r",\s+", listed)
    public = (FOLDERS[package] / "__init__.pyi").read_text()
    modules = re.findall(rf"(?m)^from {package} import (\w+)", public)
    names = re.findall(r"(?m)^from \w+\.\S+ import (\w+)", public)
    assert sorted(name for name in listed if name not in modules) == sorted(names)


def test_the_page_of_keys_says_of_each_when_one_would_change_it():
    sections = "".join(f"{line}\n" for line in PREPARE["keys_page"]()).split("\n## ")[1:]
    row = re.compile(r"(?m)^\| `(\w+)(?: = .+)?`(?:, required)? \| .* \| .+ \| .+ \|$")
    shown = {section.partition("\n")[0]: set(row.findall(section)) for section in sections}
    when = tomllib.loads((ROOT / "docs" / "keys.toml").read_text())
    assert shown == {section: set(keys) for section, keys in when.items()}
    assert {"run", *Config.model_fields} - set(shown) == when["run"].keys()


@needs_browser
def test_a_page_from_disk_may_start_a_worker(tmp_path):
    """The search of the site runs in one."""
    (tmp_path / "double.js").write_text('addEventListener("message", (event) => postMessage(2 * event.data))')
    shim = (ROOT / "docs" / "assets" / "iframe-worker.js").as_uri()
    ask = 'worker.addEventListener("message", (event) => (document.title = event.data)); worker.postMessage(21)'
    page = tmp_path / "page.html"
    page.write_text(
        f'<body><script src="{shim}"></script><script>const worker = new Worker("double.js"); {ask}</script>'
    )
    assert "<title>42</title>" in opened(page, 500, "--virtual-time-budget=5000")


# -- pictures ---------------------------------------------------------------------------------------------------------

PREPARE = runpy.run_path(str(ROOT / "docs" / "prepare.py"))
IMAGES = ROOT / "docs" / "images"
GALLERY = json.loads((IMAGES / "gallery" / "figures.json").read_text())
TRAINED = {"fig2-digits", "fig5d-digits", "fig6-digits", "fig8-digits", "gaussian", "rounds-digits"}
"""Figures with --quick of runs that are made for them, and so differ between processors; grids do so, too."""
APART = 8  # root mean square of grey levels: fewer colours make up to 6, a curve that is missing 10 or more


def apart(picture, other):
    """How far two pictures lie apart, as the gallery would have them."""
    first, second = (np.asarray(PREPARE["shrink"](each).convert("RGB"), float) for each in (picture, other))
    return np.sqrt(np.mean((first - second) ** 2)) if first.shape == second.shape else np.inf


def test_the_gallery_has_every_figure_and_the_pages_have_its_pictures():
    assert GALLERY.keys() == figure_modules().keys()
    for picture in IMAGES.glob("*.png"):
        if picture.stem in GALLERY.keys() - TRAINED:
            assert apart(picture, IMAGES / "gallery" / picture.name) < APART, picture


def test_the_picture_of_the_rounds_is_drawn_from_their_stored_table(tmp_path):
    save(load("rounds-digits").draw(stored_runs("rounds-digits")), tmp_path / "drawn")
    assert apart(tmp_path / "drawn.png", IMAGES / "rounds-digits.png") < APART


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of runs that learn too little in so few steps
def test_every_figure_is_drawn_as_the_gallery_has_it(here):
    done("figures --quick --out figures")
    PREPARE["store_figures"](here / "figures", here / "gallery")
    drawn = json.loads((here / "gallery" / "figures.json").read_text())
    assert {name: figure["series"] for name, figure in drawn.items()} == {
        name: figure["series"] for name, figure in GALLERY.items()
    }
    for name in GALLERY.keys() - TRAINED - {"grid-omega", "grid-rounds"}:
        assert drawn[name] == GALLERY[name]
        assert apart(here / "gallery" / f"{name}.png", IMAGES / "gallery" / f"{name}.png") < APART, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "command", "picture"),
    [
        ("loop", "theory practice --rounds 20 --phi 0.25 --lam 0 --window 1 --out out", "out/practice.png"),
        ("sweep", "theory sweep --alpha 0.5 --out out", "out/sweep.png"),
    ],
)
def test_pictures_are_what_their_commands_draw(name, command, picture, here):
    done(command)
    assert apart(here / picture, IMAGES / f"{name}.png") < APART


@pytest.mark.slow
@needs_browser
def test_pictures_of_a_run_are_what_its_commands_draw(here):
    """Processors train other generators."""
    done("real run digits --out run")
    done("real report run")
    done("real sample run --omega 0,0.02,0.1 --out out")
    page = here / "run" / "report.html"
    without_folder = "<style>h1, h2 { display: none }</style></head>"  # which the heading names
    page.write_text(page.read_text().replace("</head>", without_folder))
    opened(page, 900, "--window-size=900,1280", "--hide-scrollbars", f"--screenshot={here / 'report.png'}")
    for name, picture in (("guided", here / "out" / "samples.png"), ("report", here / "report.png")):
        assert apart(picture, IMAGES / f"{name}.png") < 3 * APART


@pytest.mark.slow
def test_the_picture_of_typefaces_is_drawn_from_their_collection(here):
    try:
        PREPARE["typefaces"]().save(here / "typefaces.png")
    except MissingError as lacking:
        pytest.skip(str(lacking))
    assert apart(here / "typefaces.png", IMAGES / "glyphs.png") < APART


def test_every_picture_of_the_docs_is_held_against_what_draws_it():
    held = GALLERY.keys() | {"loop", "sweep", "guided", "report", "glyphs"}
    assert {picture.stem for picture in IMAGES.glob("*.png")} <= held


if __name__ == "__main__":
    COMPARE.write_text(LIST.sub(lambda _: arms(), TEXTS[COMPARE]))
