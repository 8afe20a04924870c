"""`dp real export | push`: a run's samples, features and learner for other programs, and for other people."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dp_experiments.cli.options import Json
from dp_experiments.cli.real.options import AcceptChanges, FinishedRun
from dp_experiments.terminal import emit_json, progress, say

if TYPE_CHECKING:
    from dp_real import Run

Form = Literal["folder", "parquet", "jsonl", "features"]

ROWS = 10_000  # exported features, by default
TESTED = 5  # one in so many exported features is a test row


def export_command(
    run: FinishedRun,
    out: Annotated[Path, typer.Option(help="A folder that is empty or not there yet.")],
    form: Annotated[
        Form | None,
        typer.Option(
            "--format",
            help="folder: class folders of PNGs. parquet: one file. jsonl: a line for each sample. "
            "features: what the learner's last layer sees, for dp theory check.  Default: folder for images, jsonl for "
            "texts and numbers.",
        ),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --format features: how many plain samples to draw afresh; a fifth become test rows.  "
            f"Default: {ROWS:,}.",
        ),
    ] = None,
    real: Annotated[
        bool,
        typer.Option("--real", help="With --format features: take the real validation and test images instead."),
    ] = False,
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
) -> None:
    """The library `datasets` loads the samples as they are."""
    from dp_base.errors import InputError
    from dp_base.files import unused, whole_folder
    from dp_base.locks import locked_beside
    from dp_real import Run

    if form != "features" and (real or rows is not None):
        raise InputError("--rows and --real are for --format features: other formats have the whole pool")
    if real and rows is not None:
        raise InputError("--rows and --real: real examples are all taken; give one of the two")
    if not unused(out):
        raise InputError(f"--out {out} is not empty; name a new folder")
    exported = Run(run).unchanged(accept_changes)
    form = form or ("folder" if len(exported.config.task.sample_shape) == 3 else "jsonl")
    try:
        with locked_beside(out), whole_folder(out) as staged:
            if form == "features":
                write_features(exported, None if real else rows or ROWS, staged)
            else:
                _write_pool(exported, form, staged)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror}") from error
    if as_json:
        emit_json({"run": str(run), "out": str(out), "format": form})
    elif form == "features":
        say(f"{out}/features.npz: features of {run}")
    else:
        say(f"{out}: the pool of {run} ({form})")


def _write_pool(run: "Run", form: Form, folder: Path) -> None:
    """Write all samples of a run."""
    from dp_real.pool.export import write_folder, write_jsonl, write_parquet

    write = {"folder": write_folder, "parquet": write_parquet, "jsonl": write_jsonl}[form]
    write(run.pool, run.config.task.classes, folder)


def write_features(run: "Run", rows: int | None, folder: Path) -> None:
    """Write folder/features.npz with X, and y as the names of classes; a random fifth of the rows is X_test, y_test.

    rows: as dp_real.runs.afterwards takes them.
    """
    import numpy as np

    from dp_real.runs.afterwards import features

    x, labels = features(run, rows, progress)
    order = np.random.default_rng(run.config.seed).permutation(len(labels))  # folders are read class by class
    x = x[order]
    y = np.array(run.config.task.classes)[labels[order]]
    cut = len(y) - len(y) // TESTED
    np.savez(folder / "features.npz", X=x[:cut], y=y[:cut], X_test=x[cut:], y_test=y[cut:])


def push_command(
    run: FinishedRun,
    repository: Annotated[str | None, typer.Argument(metavar="OWNER/NAME", help="On the hub of Hugging Face.")] = None,
    to: Annotated[Path | None, typer.Option(help="Write a new folder in place of uploading anything.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Anybody may see it.  Default: only its owner.")] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Add a commit to a data set and a model that are there already.")
    ] = False,
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
) -> None:
    """The pool becomes a data set, and the learner a model of the same name, each with a card.

    The token is that of `hf auth login`, or of HF_TOKEN. The cards have the configuration, with its paths and prompts:
    look at them by --to first, and fill in a licence.
    """
    from tempfile import TemporaryDirectory

    from dp_base.errors import InputError
    from dp_base.files import unused
    from dp_experiments.looking.publish import stage, upload
    from dp_real import Run

    if (repository is None) == (to is None):
        raise InputError("name either a repository, OWNER/NAME, or a folder by --to")
    if to is not None:
        if public or update:
            raise InputError("--public and --update are for the hub: leave them out with --to")
        if not unused(to):
            raise InputError(f"--to {to} is not empty; name a new folder")
        _write_published(Run(run).unchanged(accept_changes), to)
        found = [str(to / "dataset"), str(to / "model")]
    else:
        assert repository is not None
        with TemporaryDirectory() as folder:
            stage(Run(run).unchanged(accept_changes), Path(folder))
            found = upload(Path(folder), repository, public=public, update=update)
    if as_json:
        emit_json({"run": str(run), "dataset": found[0], "model": found[1]})
    else:
        say(f"data set: {found[0]}\nmodel: {found[1]}")


def _write_published(run: "Run", folder: Path) -> None:
    """Write the data set and the model into a new folder, both or neither."""
    from dp_base.errors import InputError
    from dp_base.files import whole_folder
    from dp_base.locks import locked_beside
    from dp_experiments.looking.publish import stage

    try:
        with locked_beside(folder), whole_folder(folder) as staged:
            stage(run, staged)
    except OSError as error:
        raise InputError(f"--to {folder} cannot be written: {error.strerror}") from error
