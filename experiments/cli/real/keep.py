"""`dp real init | export | cache`: a configuration for a new task, a run's examples as files, and the cache."""

import shlex
import sys
import time
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from experiments.cli.options import FinishedRun, Json
from experiments.terminal import emit_json, progress, say, table

if TYPE_CHECKING:
    from dp_real import Run

ROWS = 10_000  # of exported features, by default
TESTED = 5  # one in so many exported features is a test row

cache_app = typer.Typer(no_args_is_help=True, help="What was made once and kept, such as generators trained here.")


def init_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The file will be NAME.toml.")],
    kind: Annotated[Literal["images", "text"], typer.Option(help="What is to be classified.")] = "images",
) -> None:
    """Write a commented configuration for a task of your own."""
    from dp_base.errors import InputError
    from dp_real.config.config import check_name

    path = Path(name if name.endswith(".toml") else f"{name}.toml")
    try:
        check_name(path.stem)
    except ValueError as error:
        raise InputError(f"NAME {path.stem[:100]!r}: {error}") from None
    text = (resources.files("experiments.cli.real") / f"{kind}.toml").read_text(encoding="utf-8")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(fill(text, name=path.stem))
    except FileExistsError:
        raise InputError(f"{path} exists and stays as it is; name another") from None
    except FileNotFoundError:
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    say(f"{path}: change what it says about your task, then dp real run {shlex.quote(str(path))}")


def fill(template: str, name: str) -> str:
    """The template of a configuration, filled in with the task's name and a line about each kind of its sections."""
    from dp_real.data import DATA
    from dp_real.generators import GENERATORS
    from dp_real.learners import LEARNERS

    for registry in (DATA, GENERATORS, LEARNERS):
        lines = [f'#   "{kind}": {summary}' for kind, summary in registry.summaries().items()]
        template = template.replace(f"# {{{registry.what}}}", "\n".join(lines))
    return template.replace("{name}", name)


def export_command(
    run: FinishedRun,
    out: Annotated[Path, typer.Option(help="A folder that is empty or not there yet.")],
    form: Annotated[
        Literal["folder", "parquet", "jsonl", "features"],
        typer.Option("--format", help="Class folders of PNGs, one Parquet file, or a line of JSON for each example; "
                     "features: what the learner's last layer sees, for dp theory check."),
    ] = "folder",
    rows: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"Of features: so many plain samples, drawn afresh; a fifth are test rows.  Default: {ROWS:,}."
        ),
    ] = None,
    real: Annotated[bool, typer.Option("--real", help="Of features: the real validation and test examples.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Write a run's generated examples, or features, for other programs; `datasets` loads the examples as they are."""
    from dp_base.errors import InputError
    from dp_base.files import unused, whole_folder
    from dp_base.locks import locked_beside
    from dp_real import Run
    from dp_real.pool.export import write_folder, write_jsonl, write_parquet

    if form != "features" and (real or rows is not None):
        raise InputError("--rows and --real are for --format features: other formats have the whole pool")
    if real and rows is not None:
        raise InputError("--rows and --real: real examples are all taken; give one of the two")
    exported = Run(run)
    if not unused(out):
        raise InputError(f"--out {out} is not empty; name a new folder")
    try:
        with locked_beside(out), whole_folder(out) as staged:
            if form == "features":
                write_features(exported, None if real else rows or ROWS, staged)
            else:
                write = {"folder": write_folder, "parquet": write_parquet, "jsonl": write_jsonl}[form]
                write(exported.pool, exported.config.task.classes, staged)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror}") from error
    record = {"run": str(run), "out": str(out), "format": form}
    what = f"{out}/features.npz: features of {run}" if form == "features" else f"{out}: the pool of {run} ({form})"
    emit_json(record) if as_json else say(what)


def write_features(run: "Run", rows: int | None, folder: Path) -> None:
    """Write folder/features.npz with X, and y as the names of classes; a random fifth of the rows as X_test, y_test.

    rows: as dp_real.runs.afterwards takes them.
    """
    import numpy as np

    from dp_real.runs.afterwards import features

    x, labels = features(run, rows, progress)
    order = np.random.default_rng(run.config.seed).permutation(len(labels))  # folders are read class by class
    x, labels = x[order], labels[order]
    y, cut = np.array(run.config.task.classes)[labels], len(labels) - len(labels) // TESTED
    np.savez(folder / "features.npz", X=x[:cut], y=y[:cut], X_test=x[cut:], y_test=y[cut:])


@cache_app.command("list")
def cache_list_command(as_json: Json = False) -> None:
    """What is kept, how large it is, and how old."""
    from dp_real.runtime.cache import cache_folder, entries

    rows = [
        {"name": entry.name, "what": describe(entry.depends), "megabytes": entry.size / 1e6,
         "age": str(timedelta(seconds=int(time.time() - entry.made))), "problem": entry.problem or None}
        for entry in entries()
    ]  # fmt: skip
    if as_json:
        emit_json({"folder": str(cache_folder()), "entries": rows})
    elif rows:
        table(rows, columns=[key for key in rows[0] if key != "problem"])
        for problem in (row["problem"] for row in rows if row["problem"]):
            say(f"broken: {problem}; it is made again when it is needed, or removed by dp real cache clear")
        say(f"in {cache_folder()}")
    else:
        say(f"nothing in {cache_folder()}")


@cache_app.command("clear")
def cache_clear_command(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove all of it; what is needed again is made again."""
    from dp_base.errors import InputError
    from dp_real.runtime.cache import cache_folder, clear, entries

    found = entries()
    what = f"{len(found)} entries, {sum(entry.size for entry in found) / 1e6:.0f} MB, in {cache_folder()}"
    if not yes:
        if not sys.stdin.isatty():
            raise InputError(f"removing {what} wants a confirmation; add --yes")
        typer.confirm(f"Remove {what}?", abort=True, err=True)
    clear()
    say(f"removed {what}")


def describe(depends: dict) -> str:
    """What a cache entry is, in a few words."""
    generator = depends.get("generator")
    if not depends:
        return "broken"
    return f"{generator['kind']} generator" if generator else "stand-ins for real images"
