"""The release: wheel and sdist hold the same, and work in clean environments far from the checkout.

What installs, as `make release-check` does, is slow. The list of files is checked in every test run.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from dp_experiments.cli.commands import root
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dp_base
from dp_real.evaluate.card import CITATION
from tests.commands import leaves
from tests.source import FOLDERS, ROOT, imported, modules
from torture.attempt import SMALL

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("real", "track", "tune", "augment")
OPTIONS = " ".join(SMALL)
COMMANDS = f"""\
--version
theory predict --alpha 1 --rho 0.5 --phi 1 --json
theory verify --trials 20
real keys
real init pets
real run {OPTIONS} --out run
real report run
doctor
doctor run
"""
OF_EXTRAS = {
    f"real tune {OPTIONS} --trials 1 --out tuned": "tune",
    f"real run {OPTIONS} --set tracker=tensorboard --out tracked": "track",
    f"real run {OPTIONS} --set training.randaugment=1 --out augmented": "augment",
}
NEED_NO_EXTRA = """\
theory predict --alpha 0.5 --rho 0.9 --phi 0.2
theory simulate --alpha 0.5 --rho 0.9 --phi 0.2 --d 20 --trials 4
theory sweep --alpha 0.5 --d 32 --trials 4 --rule keep-hard --out sweep
theory practice --rounds 2 --alpha 0.3 --phi 0.5 --lam 0.01
theory best --rho 0.9 --psi 0.5
theory noise --share 0.06
theory classes --classes 3 --keep 0.5 --rho 0.9 --kept 2
theory check features.npz
theory forecast curve.csv --target 0.1
theory verify --trials 20
figures --list
figures fig7 --quick
figures table1
play
--version
"""
"""Every command of `dp theory` with what it takes at least, and others."""
OF_REAL = ("doctor", "doctor run", "figures fig2-digits", "figures compare table4")
WALK = """
import contextlib, io, json, sys
from dp_experiments.cli.main import main
from experiments.mine import of_experiments
from figures.mine import of_figures
answers = {}
for words in sys.stdin.read().splitlines():
    sys.argv = ["dp", *words.split()]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            answers[words] = end.code, out.getvalue(), err.getvalue()
print(json.dumps(answers))
"""


def required(command):
    """What a command does not go without, each given as x."""
    needed = [parameter for parameter in command.loaded.params if parameter.required]
    return [word for each in needed for word in ([each.opts[0]] if each.opts[0].startswith("-") else []) + ["x"]]


def lowest(*extras):
    """The least version of each direct dependency that pyproject.toml allows, but torch's build of constraints.txt."""
    pinned = []
    of_extras = [line for name in extras for line in PROJECT["optional-dependencies"][name]]
    for line in (*PROJECT["dependencies"], *of_extras):
        name, version = line.split(">=")
        pinned.append(f"{name}=={version}" if version.count(".") > 1 else f"{name}=={version}.*")
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    return [torch if line.startswith("torch==") else line for line in pinned]


def constrained(folder, versions, *extras):
    """A file of pip's constraints, to the newest versions or the lowest."""
    file = folder / "versions.txt"
    file.write_text((ROOT / "constraints.txt").read_text() if versions == "newest" else "\n".join(lowest(*extras)))
    return file


def call(*words, folder, given=""):
    """Run a command in a folder, without what this process has set for Python, and `given` on its stdin; its stdout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([*map(str, words)], cwd=folder, env=environment, input=given, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stdout[-500:]} {done.stderr[-1500:]}"
    assert "not drawn" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the wheel and the sdist, built from the files that git has."""
    folder = tmp_path_factory.mktemp("release")
    call("bash", "-c", f"git -C {ROOT} ls-files -z | tar -C {ROOT} --null -T - -cf - | tar -xf -", folder=folder)
    for kind in ("wheel", "sdist"):
        call(sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_{kind}('dist')", folder=folder)
    return folder / "dist"


def test_wheel_and_sdist_hold_every_module_and_file(built):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert all(name.startswith("dp_") for name in shipped)  # other names may be those of a user's own folders
    tracked = {Path(name) for name in call("git", "ls-files", *FOLDERS.values(), folder=ROOT).split()}
    assert shipped == {
        str((ROOT / path).relative_to(folder.parent))
        for path in tracked
        for folder in FOLDERS.values()
        if folder in (ROOT / path).parents
    }
    with tarfile.open(sdist) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    assert {str(path) for path in tracked} <= source
    assert {"pyproject.toml", "README.md", "LICENSE"} <= source


def test_what_is_cited_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {dp_base.__version__}\ndate-released: 20" in citation
    assert (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1].startswith(f"{dp_base.__version__}\n")
    assert CITATION in (ROOT / "README.md").read_text()
    tracked = call("git", "ls-files", "*.md", "*.py", "*.cff", folder=ROOT).split()
    texts = [(ROOT / name).read_text() for name in tracked]
    assert {key for text in texts for key in re.findall(r"@inproceedings{(\w+)", text)} == {"askarihemmat2025improving"}


def test_every_package_that_is_imported_is_declared():
    """Or an installation would lack it as soon as another package no longer brings it."""
    lines = [*PROJECT["dependencies"], *itertools.chain(*PROJECT["optional-dependencies"].values())]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    brought = metadata.packages_distributions().items()
    known = {name for name, packages in brought if declared & {*map(canonicalize_name, packages)}}
    known |= {*sys.stdlib_module_names, *FOLDERS}
    for path in modules().values():
        assert {name.partition(".")[0] for name in imported(path)} <= known, path


@pytest.mark.slow
@pytest.mark.parametrize("versions", ["newest", "lowest"])
def test_the_wheel_alone_answers_every_command(built, versions, tmp_path, monkeypatch):
    """In a folder of the user's with packages that have the names of the checkout's, and from a notebook."""
    constraints = constrained(tmp_path, versions)
    venv.create(tmp_path / "env")
    python = tmp_path / "env/bin/python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-compile", "--constraint", constraints)
    call(*pip, *built.glob("*.whl"), folder=tmp_path)
    for name in ("experiments", "figures"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(f"of_{name} = 1\n")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    (tmp_path / "curve.csv").write_text("kept,error\n100,.3\n200,.25\n400,.21\n800,.18\n")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 8))
    np.savez(tmp_path / "features.npz", X=x, y=x[:, 0] > 0)

    commands = {" ".join(words): command for words, command in leaves(root)}
    helps = [f"{words} --help" for words in ("", "theory", "theory best", "real", *commands)]
    free = [*helps, *NEED_NO_EXTRA.splitlines()]
    assert all(f"\n{words}" in f"\n{NEED_NO_EXTRA}" for words in commands if words.startswith("theory"))
    real = [" ".join((words, *required(found))) for words, found in commands.items() if words.startswith("real")]
    walk = "\n".join((*free, *real, *OF_REAL))
    answers = json.loads(call(python, "-c", WALK, folder=tmp_path, given=walk))
    for words in free:
        assert answers[words][0] == 0, (words, answers[words])
    for words in (*real, *OF_REAL):
        status, _, err = answers[words]
        assert (status, err.count("pip install 'deliberate-practice[real]'")) == (3, 1), (words, err)
    assert all(len(answers[words][2].splitlines()) == 1 for words in real)


@pytest.mark.slow
@pytest.mark.parametrize("versions", ["newest", "lowest"])
def test_the_wheel_works_in_a_clean_environment(built, versions, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    constraints = constrained(tmp_path, versions, *EXTRAS)
    (wheel,) = built.glob("*.whl")
    pip, dp = (tmp_path / "env/bin" / name for name in ("pip", "dp"))
    call(pip, "install", "--constraint", constraints, f"{wheel}[real]", folder=tmp_path)
    assert call(tmp_path / "env/bin/deliberate-practice", "--version", folder=tmp_path)  # what pipx run looks for
    for words in COMMANDS.splitlines():
        assert call(dp, *words.split(), folder=tmp_path) or words.startswith(("real init", "real report"))
    for words, extra in OF_EXTRAS.items():
        refused = subprocess.run([dp, *words.split()], cwd=tmp_path, capture_output=True, text=True)
        assert refused.returncode == 3
        assert f"pip install 'deliberate-practice[{extra}]'" in refused.stderr
    call(pip, "install", "--constraint", constraints, f"{wheel}[{','.join(EXTRAS)}]", folder=tmp_path)
    for words in OF_EXTRAS:
        call(dp, *words.split(), folder=tmp_path)
