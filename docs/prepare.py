"""Writes out/docs: the pages of docs/, and what the site has beside them. Any tool then builds the site from there.

Beside them are the files of the root, the notebooks as pages, the reference of commands and keys, MathJax and
llms.txt. out/SKILL.md is for agents, and out/demo the page to play with as a static space of the hub.

python docs/prepare.py FIGURES: what `dp figures --quick --out FIGURES` drew becomes the pictures of the gallery.
python docs/prepare.py typefaces: the fonts of the study of glyphs become its picture.
"""

import base64
import html
import json
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from dp_experiments.cli.commands import root
from dp_experiments.cli.real.configure import keys
from dp_experiments.paper.gallery import RECORD, load
from PIL import Image

from dp_real.config import Config
from dp_real.practice.section import KINDS
from dp_real.runtime.section import Section

ROOT = Path(__file__).parents[1]
WIDTH, COLOURS = 480, 64  # of a picture of the gallery
TYPEFACES = 3  # of each set that are shown
DOCS, STUDIES = ROOT / "docs", ROOT / "experiments" / "dp_experiments" / "studies"
OWN = (".py", ".pyc", ".toml")
PLACES = {file: file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*.*") if file.suffix not in OWN}
"""The files that the site has, and where it has them."""
PLACES |= {ROOT / f"{name.upper()}.md": f"{name}.md" for name in ("security", "contributing", "changelog")}
PLACES[ROOT / "README.md"] = "index.md"
PLACES |= {file: f"results/{file.parent.name}.md" for file in STUDIES.glob("*/README.md")}
PLACES |= {file: f"results/{file.name}" for file in STUDIES.parent.rglob("runs/*.csv")}
PLACES |= {file: f"notebooks/{file.stem}.md" for file in DOCS.glob("notebooks/*.ipynb")}
LINK = re.compile(r"\[(?P<shown>[^\]]+)\]\((?!https?:|#)(?P<file>[^)#\s]+)(?P<part>#[^)\s]*)?\)")
SKILL = """\
---
name: deliberate-practice
description: Train classifiers of images or texts on generated data that they find hard, guide pipelines of diffusers by
  a classifier's entropy, and ask the theory of data selection. For tasks with the command dp, dp_real or dp_theory.
---

# deliberate-practice

Errors are one line on stderr: what is wrong, where, and what would be right. Status 2: the input is wrong. 3: something
is missing. 130: stopped, and to be resumed. `--json` prints one JSON object. `dp COMMAND --help` explains options, and
`dp real keys` the keys of a configuration.
"""
CARD = """\
---
title: Deliberate practice
sdk: static
app_file: index.html
license: apache-2.0
---

Sliders over Theorem 1 of arXiv 2502.15588, and practice on a toy.
"""


def prepare(out: Path) -> None:
    """Write all of it into a folder, which is emptied first."""
    shutil.rmtree(out, ignore_errors=True)
    for file, place in PLACES.items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, out / place)
        if file.suffix == ".md":
            (out / place).write_text(linked(file), encoding="utf-8")
        elif file.suffix == ".ipynb":
            write_notebook(file, out / place)
    pages = {"llms.txt": llms(), "gallery.md": gallery_page()}
    pages |= {"reference/commands.md": commands_page(), "reference/keys.md": keys_page()}
    for page, lines in pages.items():
        (out / page).write_text("\n".join(lines) + "\n", encoding="utf-8")
    mathjax = find_spec("sphinx-mathjax-offline")
    assert mathjax is not None
    assert mathjax.origin is not None
    shutil.copy(Path(mathjax.origin).parent / "static" / "mathjax" / "tex-svg.js", out / "assets")
    (out.parent / "SKILL.md").write_text("\n".join(skill()) + "\n", encoding="utf-8")
    demo = out.parent / "demo"
    demo.mkdir(exist_ok=True)
    shutil.copy(DOCS / "play.html", demo / "index.html")
    (demo / "README.md").write_text(CARD, encoding="utf-8")


def linked(page: Path) -> str:
    """A page as the site has it: its links lead to the places of files, and those to code become plain text."""

    def place(link: re.Match[str]) -> str:
        file = (page.parent / link["file"]).resolve()
        if file not in PLACES:
            return link["shown"] if file.exists() else link[0]
        there = os.path.relpath(PLACES[file], Path(PLACES[page]).parent)
        return f"[{link['shown']}]({there}{link['part'] or ''})"

    return LINK.sub(place, page.read_text(encoding="utf-8"))


def write_notebook(file: Path, out: Path) -> None:
    """Write a notebook as a page, and beside it the notebook and the pictures that it drew."""
    shutil.copy(file, out.with_suffix(".ipynb"))
    parts: list[str] = []
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            if drawn := output.get("data", {}).get("image/png"):
                picture = out.with_name(f"{out.stem}-{len(parts)}.png")
                picture.write_bytes(base64.b64decode(drawn))
                parts.append(f"![What the code above draws]({picture.name})")
            else:
                parts.append(f"```text\n{''.join(output['text'])}```")
    parts.append(f"[This page as a notebook]({file.name})")
    out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def skill() -> Iterator[str]:
    """How to use the project, for agents: the README's own words, and a line for each command."""
    yield SKILL
    yield re.findall(r"(?s)(## Start\n.*?)## Where to go on", linked(ROOT / "README.md"))[0]
    yield "## Commands\n"
    for command, words in commands(root, "dp"):
        if not hasattr(command, "commands"):
            yield f"- `{words}`: {(command.help or '').strip().partition(chr(10))[0]}"


def llms() -> Iterator[str]:
    """What the project is, and each page with its first sentence, for those who read by machine."""
    yield "# deliberate-practice\n\n> Train on generated data, and ask for the samples that the learner finds hard.\n"
    for page, place in sorted(PLACES.items(), key=lambda item: item[1]):
        if page.suffix != ".md":
            continue
        title, _, rest = page.read_text(encoding="utf-8").partition("\n")
        first = next((part for part in rest.replace("**", "").strip().split("\n\n") if part[:1].isalpha()), "")
        sentence = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(first.split())).partition(". ")[0].rstrip(".:")
        yield f"- [{title.lstrip('# ')}]({place.removesuffix('.md')}.html): {sentence}."


# -- the gallery ------------------------------------------------------------------------------------------------------


def store_figures(figures: Path, out: Path) -> None:
    """Write a small picture of each figure in a folder of `dp figures`, with its command, caption and series."""
    record = json.loads((figures / RECORD).read_text(encoding="utf-8"))
    out.mkdir(exist_ok=True)
    kept = {}
    for name, figure in record.items():
        shrink(figures / f"{name}.png").save(out / f"{name}.png", optimize=True)
        table = pd.read_csv(figures / f"{name}.csv")
        series = [*map(str, table["series"].unique())] if "series" in table else []
        kept[name] = {"command": figure["command"], "caption": figure["caption"], "series": series}
    (out / RECORD).write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def shrink(picture: Path) -> Image.Image:
    """As the gallery has it: of WIDTH pixels and few colours."""
    image = Image.open(picture).convert("RGB")
    small = image.resize((WIDTH, round(WIDTH * image.height / image.width)))
    return small.quantize(COLOURS, dither=Image.Dither.NONE)


def gallery_page() -> Iterator[str]:
    """Thumbnails, each of which opens the command that draws it."""
    yield (DOCS / "gallery.md").read_text(encoding="utf-8")
    yield '<div class="gallery">'
    record = json.loads((DOCS / "images" / "gallery" / RECORD).read_text(encoding="utf-8"))
    for name, figure in record.items():
        picture, shows = (
            f'<img src="images/gallery/{name}.png" alt="">',
            html.escape(load(name).__doc__.splitlines()[0]),
        )
        said = f"<code>{figure['command']}</code><br>{html.escape(figure['caption'])}"
        yield f"<details><summary>{picture}{shows}</summary>{said}</details>"
    yield "</div>"


# -- the data of the study of glyphs ----------------------------------------------------------------------------------


def typefaces() -> Image.Image:
    """Every other character of some fonts of each set: for the generator, validation, test, and of further kinds."""
    from dp_experiments.studies.glyphs.source import FURTHER, GlyphsConfig

    source = GlyphsConfig(source="glyphs")
    faces, images = source.collection()
    kinds = [[row for row, face in enumerate(faces) if face.kind == kind] for kind in FURTHER]
    blocks = []
    for rows in (*source.split_fonts(faces), *kinds):
        some = images[sorted(rows)[:: len(rows) // TYPEFACES][:TYPEFACES], ::2]
        block = some.transpose(0, 2, 1, 3).reshape(TYPEFACES * some.shape[2], -1)
        blocks.append(np.pad(block, ((0, 6), (0, 0)), constant_values=96))
    return Image.fromarray(np.vstack(blocks)[:-6])


# -- the keys of a configuration --------------------------------------------------------------------------------------


def keys_page() -> Iterator[str]:
    """A table of each section: what its kinds say of their keys, and keys.toml of when one would change them."""
    yield (DOCS / "reference" / "keys.md").read_text(encoding="utf-8")
    when = tomllib.loads((DOCS / "keys.toml").read_text(encoding="utf-8"))
    for section, reasons in when.items():
        kinds, order = section_kinds(section), [*reasons]
        rows: dict[tuple[str, ...], list[str]] = {}
        for kind, model in kinds.items():
            required = [name for name, field in model.model_fields.items() if field.is_required()]
            for row in keys(model.model_construct(**dict.fromkeys(required))):
                if model is not Config or row["key"].partition(".")[0] not in when:
                    rows.setdefault((row["key"], row["default"], row["may be"], row["meaning"]), []).append(kind)
        yield f"\n## {section}\n\n| key and default | may be | what it is | change it |\n|---|---|---|---|"
        for (key, default, choices, meaning), names in sorted(rows.items(), key=lambda row: order.index(row[0][0])):
            shown = f"`{key}`, required" if default == "required" else f"`{key} = {cell(default)}`"
            some = f"*{', '.join(names)}*: " if len(names) < len(kinds) and key not in ("kind", "source") else ""
            yield f"| {shown} | {cell(choices)} | {some}{cell(meaning)} | {reasons[key]} |"


def section_kinds(section: str) -> dict[str, type[Section]]:
    """This project's classes of a section of a configuration; `run` has the keys outside sections."""
    if section in KINDS:
        kinds = {name: getattr(kind, "settings", kind) for name, kind in KINDS[section].items()}
        return {name: kind for name, kind in kinds.items() if kind.__module__.startswith("dp_")}
    return {"": Config if section == "run" else Config.model_fields[section].annotation}


# -- the commands -----------------------------------------------------------------------------------------------------


def commands_page() -> Iterator[str]:
    """The tree of commands, each with its help, arguments and options."""
    yield "# Commands\n"
    for command, words in commands(root, "dp"):
        yield from command_section(command, words)


def commands(command: Any, words: str) -> Iterator[tuple[Any, str]]:
    """A command with the words that call it, and its sub-commands behind it."""
    command = getattr(command, "loaded", command)
    yield command, words
    for name, sub in getattr(command, "commands", {}).items():
        if not sub.hidden:
            yield from commands(sub, f"{words} {name}")


def command_section(command: Any, words: str) -> Iterator[str]:
    """One command, without its sub-commands."""
    if words != "dp":
        yield f"{'##' if words.count(' ') < 2 else '###'} {words}\n"
    yield (command.help or "").replace("\b\n", "") + "\n"
    context = command.make_context(words, [], resilient_parsing=True)
    rows = [row for parameter in command.params for row in [parameter.get_help_record(context)] if row]
    if rows:
        yield "| option | |\n|---|---|"
        yield from (f"| `{cell(names)}` | {cell(line).replace('<', '&lt;')} |" for names, line in rows)
        yield ""


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    if sys.argv[1:] == ["typefaces"]:
        typefaces().save(DOCS / "images" / "glyphs.png", optimize=True)
    elif sys.argv[1:]:
        store_figures(Path(sys.argv[1]), DOCS / "images" / "gallery")
    else:
        prepare(ROOT / "out" / "docs")
