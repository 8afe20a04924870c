"""The release: wheel and sdist hold the same, and work in a clean environment far from the checkout.

`make release-check`. It installs torch and the rest anew, from the package index that pip is set to; hence slow. The
list of files is compared in every test run.
"""

import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.source import FOLDERS
from torture.attempt import SMALL

ROOT = Path(__file__).parents[1]
EXTRAS = ("real", "track", "tune", "augment")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("--version",),
    ("theory", "predict", "--alpha", "1", "--rho", "0.5", "--phi", "1", "--json"),
    ("theory", "errata"),
    ("real", "presets"),
    ("real", "init", "pets"),
    ("real", "run", *SMALL, "--out", "run"),
    ("real", "report", "run"),
    ("doctor",),
    ("doctor", "run"),
)
OF_EXTRAS = {
    ("real", "tune", *SMALL, "--trials", "1", "--out", "tuned"): "tune",
    ("real", "run", *SMALL, "--set", "tracker=tensorboard", "--out", "tracked"): "track",
    ("real", "run", *SMALL, "--set", "training.randaugment=1", "--out", "augmented"): "augment",
}


def lowest() -> list[str]:
    """The least version of each direct dependency that pyproject.toml allows, but torch's build of constraints.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = []
    extras = [line for name in EXTRAS for line in project["optional-dependencies"][name]]
    for line in (*project["dependencies"], *extras):
        name, version = line.split(">=")
        pinned.append(f"{name}=={version}" if version.count(".") > 1 else f"{name}=={version}.*")
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    return [torch if line.startswith("torch==") else line for line in pinned]


def call(*words: object, folder: Path) -> str:
    """Run a command in a folder, without what this process has set for Python; its stdout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([*map(str, words)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stdout[-500:]} {done.stderr[-1500:]}"
    assert "not drawn" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from the files that git has."""
    folder = tmp_path_factory.mktemp("release")
    call("bash", "-c", f"git -C {ROOT} ls-files -z | tar -C {ROOT} --null -T - -cf - | tar -xf -", folder=folder)
    for kind in ("wheel", "sdist"):
        call(sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_{kind}('dist')", folder=folder)
    return folder / "dist"


def test_wheel_and_sdist_hold_every_module_and_file(built: Path):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
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


@pytest.mark.slow
@pytest.mark.parametrize("versions", ["newest", "lowest"])
def test_the_wheel_works_in_a_clean_environment(built: Path, versions: str, tmp_path: Path):
    venv.create(tmp_path / "env", with_pip=True)
    constraints = tmp_path / "versions.txt"
    pins = (ROOT / "constraints.txt").read_text() if versions == "newest" else "\n".join(lowest())
    constraints.write_text(pins)
    (wheel,) = built.glob("*.whl")
    pip, dp = (tmp_path / "env/bin" / name for name in ("pip", "dp"))
    call(pip, "install", "--constraint", constraints, f"{wheel}[real]", folder=tmp_path)
    for words in COMMANDS:
        assert call(dp, *words, folder=tmp_path) or words[1] in ("init", "report")
    for words, extra in OF_EXTRAS.items():
        refused = subprocess.run([dp, *words], cwd=tmp_path, capture_output=True, text=True)
        assert refused.returncode == 3
        assert f"pip install 'deliberate-practice[{extra}]'" in refused.stderr
    call(pip, "install", "--constraint", constraints, f"{wheel}[{','.join(EXTRAS)}]", folder=tmp_path)
    for words in OF_EXTRAS:
        call(dp, *words, folder=tmp_path)
