"""The commands that README.md and docs/*.md show: every one is understood, and those marked are run.

`<!-- run -->` before a fenced block marks its `dp …` lines; `<!-- run: OPTIONS -->` adds options to each, to make it
smaller (a later option overrides an earlier one). Of the others the sub-command and its options are checked.
"""

import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from experiments.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!--\s*(?P<mark>run)(?::\s*(?P<options>.*?))?\s*-->\s*\n)?```\w*\n(?P<body>.*?)```", re.S)


def commands(page: str) -> list[tuple[list[str], bool]]:
    """Arguments of each `dp …` line in a fenced block, with the block's options, and whether it is marked."""
    found = []
    for block in BLOCK.finditer(page):
        lines = block["body"].replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines if line.startswith("dp ")]
        found += [(line + shlex.split(block["options"] or ""), block["mark"] is not None) for line in words]
    return found


SHOWN = [(page.name, words, marked) for page in PAGES for words, marked in commands(page.read_text(encoding="utf-8"))]
NAMES = [f"{page}: {' '.join(words)}" for page, words, _ in SHOWN]


@pytest.mark.parametrize("words", [words for _, words, _ in SHOWN], ids=NAMES)
def test_is_understood(words):
    command, arguments = get_command(main.app), words[1:]
    while commands := getattr(command, "commands", None):
        assert arguments[0] in commands, f"{words[: -len(arguments)]} has no sub-command {arguments[0]}"
        command = commands[arguments.pop(0)]
    command.make_context(command.name, arguments)  # raises what the command would say of wrong options


RUN = [(name, words) for name, (_, words, marked) in zip(NAMES, SHOWN, strict=True) if marked]


@pytest.mark.parametrize("words", [words for _, words in RUN], ids=[name for name, _ in RUN])
def test_runs(words, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main.main()
    captured = capsys.readouterr()
    assert ended.value.code == 0, captured.err
    assert captured.out


def test_marks_are_read():
    page = "<!-- run: --d 3 -->\n```sh\ndp a \\\n  --b # why\nls\n```\n```\ndp c\n```\n<!-- run -->\n```sh\ndp e\n```"
    assert commands(page) == [(["dp", "a", "--b", "--d", "3"], True), (["dp", "c"], False), (["dp", "e"], True)]
