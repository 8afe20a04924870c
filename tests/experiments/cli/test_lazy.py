"""Commands are listed without being imported, and `dp` loads no more than a command needs."""

import os
import subprocess
import sys

import pytest
from dp_experiments.cli.commands import root
from dp_experiments.cli.lazy import reflow

from tests.commands import done, leaves

HEAVY = {"joblib", "matplotlib", "pandas", "sympy", "torch"}
NOT_FOR_HELP = HEAVY | {"dp_theory", "numpy", "scipy"}
NOT_FOR_PREDICT = HEAVY | {"rich", "scipy.integrate", "scipy.optimize", "scipy.stats"}
PRINT_MODULES = """
import sys
from dp_experiments.cli.main import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def test_every_command_that_is_listed_has_a_help_page():
    """It begins with the line that lists the command, and goes on with what its function says."""
    for words, listed in leaves(root):
        shown = done(*words, "--help").out
        assert f"Usage: dp {' '.join(words)}" in shown
        line, _, rest = (listed.loaded.help or "").partition("\n\n")
        assert line == listed.help
        assert " ".join(line.split()[:4]) in " ".join(shown.split())
        assert rest.strip()


@pytest.mark.parametrize(("typed", "offered"), [("dp th", ["theory"]), ("dp theory predict --rh", ["--rho"])])
def test_words_are_completed(typed, offered):
    done = run_process([], _DP_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(typed.split()) - 1))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == offered


def run_process(words, **environment):
    """Run `dp WORDS` in a process of its own, which ends by printing the names of its modules on stderr."""
    command = [sys.executable, "-c", PRINT_MODULES, *words]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "unwanted"),
    {
        "--help": NOT_FOR_HELP | {"pydantic"},
        "theory --help": NOT_FOR_HELP,  # typer's parser needs pydantic as soon as there are words
        "--version": NOT_FOR_HELP,
        "theory predict --alpha 1 --rho 0.5 --phi 1": NOT_FOR_PREDICT,
        "claims 7": {"torch", "tomli_w", "dp_real.config"},  # which the extra `real` brings
        "real init --help": {"torch", "pandas", "scipy"},
    }.items(),
)
def test_nothing_is_loaded_that_is_not_needed(words, unwanted):
    """This makes `dp` start quickly; `benchmarks/startup.py` measures how quickly."""
    done = run_process(words.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert unwanted & set(done.stderr.split()) == set()


@pytest.mark.parametrize("words", ["doctor .", "real report ."])
def test_whoever_looks_at_a_run_does_not_wait_for_diffusers(words):
    done = run_process(words.split())
    assert done.returncode == 2
    assert {"torch"} == {"torch", "diffusers", "transformers", "sklearn"} & set(done.stderr.split())


def test_a_paragraph_becomes_a_line():
    assert reflow("One\ntwo.\n\nThree\n four.") == "One two.\n\nThree four."
