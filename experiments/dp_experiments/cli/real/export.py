"""`dp real export`: a run's samples, features and learner for other programs, and for other people."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

from dp_base.errors import InputError
from dp_experiments.cli.options import Json
from dp_experiments.cli.real.options import AcceptChanges, FinishedRun
from dp_experiments.terminal.lines import answer

if TYPE_CHECKING:
    from dp_real import Run

ROWS = 10_000  # exported features, by default
TESTED = 5  # one in so many exported features is a test row


def export_command(
    run: FinishedRun,
    out: Annotated[Path, Option(help="A folder that is empty or not there yet.")],
    form: Annotated[
        Literal["folder", "parquet", "jsonl", "features", "hub"] | None,
        Option(
            "--format",
            help="folder: class folders of PNGs. parquet: one file. jsonl: a line for each sample. "
            "features: what the learner's last layer sees, for dp theory check. hub: a data set and a model, for "
            "hf upload.  Default: folder for images, jsonl for texts and numbers.",
        ),
    ] = None,
    rows: Annotated[
        int | None,
        Option(
            min=0,
            help="With --format features: how many plain samples to draw afresh, 0: take the real validation and test "
            f"images instead; a fifth become test rows.  Default: {ROWS}.",
        ),
    ] = None,
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
) -> None:
    """`datasets.load_dataset(OUT)` loads the samples as they are.

    For the hub of Hugging Face the pool becomes the folder dataset and the learner the folder model, each with a card.
    The cards have the configuration, with its paths and prompts: look at them and fill in a licence before you upload.
    """
    from dp_base.files import as_input_error, atomic_folder, unused
    from dp_base.locks import locked_beside
    from dp_experiments.show.publish import stage
    from dp_real import Run
    from dp_real.pool.export import write_folder, write_jsonl, write_parquet

    if rows is not None and form != "features":
        raise InputError(f"--rows {rows} is for --format features")
    if not unused(out):
        raise InputError(f"--out {out} is not empty; name a new folder")
    exported = Run(run).unchanged(accept_changes)
    form = form or ("folder" if exported.config.task.has_pictures else "jsonl")
    with as_input_error(out), locked_beside(out), atomic_folder(out) as staged:
        if form == "features":
            rows = ROWS if rows is None else rows
            write_features(exported, rows, staged)
        elif form == "hub":
            stage(exported, staged)
        else:
            write = {"folder": write_folder, "parquet": write_parquet, "jsonl": write_jsonl}[form]
            write(exported.pool, exported.config.task.classes, staged)
    of_new = f" of {rows:,} new samples; --rows takes others" if rows else ""
    answer(as_json, {"run": str(run), "out": str(out), "format": form}, f"{out}: of {run} ({form}{of_new})")


def write_features(run: "Run", rows: int, folder: Path) -> None:
    """Write folder/features.npz with X, and y as names; a random fifth of the rows is X_test, y_test."""
    import numpy as np

    from dp_real.runs.afterwards import features

    x, labels = features(run, rows or None)
    order = np.random.default_rng(run.config.seed).permutation(len(labels))  # folders are read class by class
    x = x[order]
    y = np.array(run.config.task.classes)[labels[order]]
    cut = len(y) - len(y) // TESTED
    np.savez(folder / "features.npz", X=x[:cut], y=y[:cut], X_test=x[cut:], y_test=y[cut:])
