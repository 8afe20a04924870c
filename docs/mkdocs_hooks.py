"""What the site has beside the pages in docs/: files of the root, the reference, MathJax, and llms.txt."""

import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from dp_experiments.cli.commands import root
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OF_THE_ROOT = {"SECURITY.md": "security.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
PACKAGES = ("dp_theory", "dp_real")
# Links to files of the code, which the site does not have
ELSEWHERE = re.compile(r"\[([^\]]+)\]\((?!https?:|#)(?![^)]*\.(?:md|html|csv|png))[^)]*\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/, and MathJax, so that the site fetches nothing."""
    pages = {page: moved((ROOT / name).read_text(encoding="utf-8")) for name, page in OF_THE_ROOT.items()}
    pages["reference/commands.md"] = "\n".join(commands_page())
    for package in PACKAGES:
        pages[f"reference/{package}.md"] = "\n".join(names_page(package))
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    mathjax = find_spec("sphinx-mathjax-offline")
    assert mathjax is not None
    assert mathjax.origin is not None
    script = Path(mathjax.origin).parent / "static" / "mathjax" / "tex-svg.js"
    files.append(File.generated(config, "assets/tex-svg.js", abs_src_path=str(script)))
    return files


def moved(text: str) -> str:
    """A page of the root as one of docs/: its links into docs/ lose that, and those to code become plain text."""
    text = text.replace("](docs/", "](")
    for name, page in OF_THE_ROOT.items():
        text = text.replace(f"]({name}", f"]({page}")
    return ELSEWHERE.sub(r"\1", text)


def names_page(package: str) -> Iterator[str]:
    """The public names of a package, documented by mkdocstrings."""
    yield f"# {package}\n"
    yield f"::: {package}\n    options: {{show_root_heading: false, show_root_toc_entry: false, members: false}}\n"
    module = import_module(package)
    for name in module.__all__:
        thing = getattr(module, name)
        if isinstance(thing, type) or callable(thing):
            yield f"::: {thing.__module__}.{thing.__qualname__}\n"
        elif not isinstance(thing, ModuleType | str):
            yield f"`{package}.{name}`: an instance of `{type(thing).__name__}`\n"


def commands_page() -> Iterator[str]:
    """The tree of commands, each with its help, arguments and options."""
    yield "# Commands\n"
    yield from command_section(root, "dp")


def command_section(command: Any, words: str) -> Iterator[str]:
    """A command with its sub-commands behind it."""
    command = getattr(command, "loaded", command)
    if words != "dp":
        yield f"{'##' if words.count(' ') < 2 else '###'} {words}\n"
    yield (command.help or "").replace("\b\n", "") + "\n"
    context = command.make_context(words, [], resilient_parsing=True)
    rows = [row for parameter in command.params for row in [parameter.get_help_record(context)] if row]
    if rows:
        yield "| option | |\n|---|---|"
        yield from (f"| `{cell(names)}` | {cell(line).replace('<', '&lt;')} |" for names, line in rows)
        yield ""
    for name, sub in getattr(command, "commands", {}).items():
        if not sub.hidden:
            yield from command_section(sub, f"{words} {name}")


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def on_post_build(config: MkDocsConfig) -> None:
    """Write llms.txt: what the project is, and each page with its first sentence, for those who read by machine."""
    lines = [f"# {config['site_name']}", "", f"> {config['site_description']}", ""]
    for page in sorted((ROOT / "docs").rglob("*.md")):
        title, _, rest = page.read_text(encoding="utf-8").partition("\n")
        first = next((part for part in rest.strip().split("\n\n") if part[:1].isalpha()), "")
        sentence = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(first.split())).partition(". ")[0].rstrip(".")
        link = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        lines.append(f"- [{title.lstrip('# ')}]({link}): {sentence}.")
    (Path(config["site_dir"]) / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
