"""`dp real export`: a run's samples, or what its learner's last layer sees, as files for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from experiments.cli.options import Json
from experiments.cli.real.options import FinishedRun
from experiments.terminal import emit_json, progress, say

if TYPE_CHECKING:
    from dp_real import Run

Form = Literal["folder", "parquet", "jsonl", "features"]

ROWS = 10_000  # exported features, by default
TESTED = 5  # one in so many exported features is a test row


def export_command(
    run: FinishedRun,
    out: Annotated[Path, typer.Option(help="A folder that is empty or not there yet.")],
    form: Annotated[
        Form,
        typer.Option(
            "--format",
            help="folder: class folders of PNGs. parquet: one file. jsonl: a line for each sample. "
            "features: what the learner's last layer sees, for dp theory check.",
        ),
    ] = "folder",
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
    exported = Run(run)
    if not unused(out):
        raise InputError(f"--out {out} is not empty; name a new folder")
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
