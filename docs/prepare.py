"""Writes out/docs: the pages of docs/, and what the site has beside them. Any tool then builds the site from there.

Beside them are the files of the root, the notebooks as pages, the reference of commands and packages, MathJax and
llms.txt. out/SKILL.md is for agents, and out/demo the page to play with as a static space of the hub.
"""

import base64
import inspect
import json
import os
import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from dp_experiments.cli.commands import root

ROOT = Path(__file__).parents[1]
DOCS, STUDIES = ROOT / "docs", ROOT / "experiments" / "dp_experiments" / "studies"
PACKAGES = ("dp_theory", "dp_real")
PLACES = {file: file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*.*") if file.suffix not in (".py", ".pyc")}
"""The files that the site has, and where it has them."""
PLACES |= {ROOT / f"{name.upper()}.md": f"{name}.md" for name in ("security", "contributing", "changelog")}
PLACES[ROOT / "README.md"] = "index.md"
PLACES |= {file: f"results/{file.parent.name}.md" for file in STUDIES.glob("*/README.md")}
PLACES |= {file: f"results/{file.name}" for file in STUDIES.parent.rglob("runs/*.csv")}
PLACES |= {file: f"notebooks/{file.stem}.md" for file in DOCS.glob("notebooks/*.ipynb")}
LINK = re.compile(r"\[(?P<shown>[^\]]+)\]\((?!https?:|#)(?P<file>[^)#\s]+)(?P<part>#[^)\s]*)?\)")
SECTION = re.compile(r"(?m)^(\w[\w ]*)\n-{3,}\n")
DOCTEST = re.compile(r"(?m)^>>> (?:.|\n(?!\n))*")
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
    pages = {"llms.txt": "\n".join(llms()), "reference/commands.md": "\n".join(commands_page())}
    for package in PACKAGES:
        pages[f"reference/{package}.md"] = "\n".join(names_page(package))
    (out / "reference").mkdir()
    for page, text in pages.items():
        (out / page).write_text(text + "\n", encoding="utf-8")
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

    def place(found: re.Match[str]) -> str:
        file = (page.parent / found["file"]).resolve()
        if file not in PLACES:
            return found["shown"] if file.exists() else found[0]
        there = os.path.relpath(PLACES[file], Path(PLACES[page]).parent)
        return f"[{found['shown']}]({there}{found['part'] or ''})"

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


# -- the packages -----------------------------------------------------------------------------------------------------


def names_page(package: str) -> Iterator[str]:
    """The public names of a package, with what their docstrings say."""
    module = import_module(package)
    yield f"# {package}\n\n{document(module)}"
    for name in module.__all__:
        thing = getattr(module, name)
        if isinstance(thing, type) or callable(thing):
            yield f"\n## {name}\n\n{signature(name, thing)}\n{document(thing)}"
            yield from members(thing)
        elif not isinstance(thing, ModuleType | str):
            yield f"\n## {name}\n\nAn instance of `{type(thing).__name__}`."


def members(thing: Any) -> Iterator[str]:
    """The documented methods and properties of a class that it has itself."""
    for name, member in vars(thing).items() if isinstance(thing, type) else ():
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        shown = "" if isinstance(member, property) else signature(name, function)
        yield f"\n### {thing.__name__}.{name}\n\n{shown}\n{document(function)}"


def signature(name: str, thing: Any) -> str:
    """How it is called, a parameter a line where one is too short."""
    try:
        found = [each for each in inspect.signature(thing).parameters.values() if each.name not in ("self", "cls")]
    except ValueError:
        return ""
    bare = [each.replace(annotation=each.empty) if "Annotated" in str(each) else each for each in found]
    parameters = [re.sub(r"<function (\S+) at 0x\w+>", r"\1", str(each)).replace("'", "") for each in bare]
    line = f"{name}({', '.join(parameters)})"
    if len(line) > 100:
        line = "\n".join([f"{name}(", *(f"    {text}," for text in parameters), ")"])
    return f"```python\n{line}\n```\n"


def document(thing: Any) -> str:
    """A docstring of numpy's style as Markdown."""
    intro, *parts = SECTION.split(inspect.getdoc(thing) or "")
    text = [code(intro)]
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        listed = title in ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Methods")
        text.append(f"**{title}**\n\n{entries(body) if listed else code(body)}")
    return "\n\n".join(part.strip() for part in text) + "\n"


def entries(body: str) -> str:
    """Names with their indented descriptions, as a list."""
    return re.sub(r"(?m)^(\S.*)$", r"\n- `\1`\n", body)


def code(text: str) -> str:
    """Examples of an interpreter in fences."""
    return DOCTEST.sub(lambda found: f"```python\n{found[0].rstrip()}\n```", text)


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
    prepare(ROOT / "out" / "docs")
