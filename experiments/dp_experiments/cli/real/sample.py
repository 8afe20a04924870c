"""`dp real sample`: samples from the same noise, plain and guided."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.real.options import AcceptChanges, Set, check_runs, judge_option
from dp_experiments.presets.presets import load_preset
from dp_experiments.terminal import emit_json, progress, say, table

if TYPE_CHECKING:
    import pandas as pd

    from dp_real.config import Config

CLASSES = 10  # classes that are shown unless told otherwise
NOT_SHOWN_OF_TEXTS = ("label", "number", "seed", "as_asked")  # columns that samples.csv has


def sample_command(
    source: Annotated[str, typer.Argument(metavar="PRESET|FILE.toml|RUN", help="Whose generator and guidance to use.")],
    out: Annotated[Path, typer.Option(help="A folder that is empty or not there yet.")],
    classifier: Annotated[
        str | None,
        judge_option("that guides: a folder or a hub id.  Default: the learner of RUN."),
    ] = None,
    omega: Annotated[
        str | None,
        typer.Option(help="Strengths, comma-separated; 0: plain.  Default: 0,0.01,0.02,0.05."),
    ] = None,
    along: Annotated[
        bool,
        typer.Option("--along", help="Guide by RUN's learner before each addition; default strengths: those of then."),
    ] = False,
    classes: Annotated[
        str | None, typer.Option(help=f"Names of classes, comma-separated.  Default: the first {CLASSES}.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="In place of --classes: their numbers, from 0.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, max=1000, help="Samples of each class in a row.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    settings: Set = [],
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
) -> None:
    """Writes images, a grid of them and samples.csv into --out, with a row for each strength."""
    from dp_base.errors import InputError
    from dp_real.config import load_config
    from dp_real.runs.run_files import RunFiles

    files = RunFiles(Path(source))
    run = files.path if files.is_run else None
    config = load_config(files.config, settings) if run else load_preset(source, settings)
    omegas = read_strengths(omega)
    if config.data.examples != "texts" and len(config.task.sample_shape) != 3:
        raise InputError(f"{source}: data.source = '{config.data.source}' has neither images nor texts to show")
    if along and (run is None or classifier):
        raise InputError("--along takes the folder of a run, whose own learners guide, and no --classifier")
    if not (run or classifier) and any(omegas or []):
        raise InputError("guidance asks a classifier: name one as --classifier, or give --omega 0")
    check_runs(run, classifier, accept_changes=accept_changes)
    with claimed(out):
        chosen = choose_classes(config.task.classes, classes, labels)
        wanted = [label for label in chosen for _ in range(n)]
        drawing = Drawing(config, source, run, classifier, along, omegas, wanted, seed, out)
        samples = drawing.texts() if config.data.examples == "texts" else drawing.images()
    if config.data.examples == "texts":
        _show_texts(drawing, samples, as_json)
    else:
        _show_images(drawing, samples, as_json)


@dataclass(frozen=True)
class Drawing:
    """Samples of the same labels from the same noise: a row for each strength, or for each learner of a run."""

    config: "Config"
    source: str
    run: Path | None  # the folder of `source`, if that is a run
    classifier: str | None
    along: bool
    omegas: list[float] | None
    labels: list[int]
    seed: int
    out: Path

    def images(self) -> "pd.DataFrame":
        """Draw images into the folder. Returns a row for each."""
        from dp_experiments.looking.judge import load_judge
        from dp_experiments.looking.sample import draw, rows_along, rows_over
        from dp_real import Run

        if self.along and self.run:
            rows = rows_along(Run(self.run), self.omegas)
        else:
            guided = self.run or self.classifier
            judge = load_judge(self.classifier or self.source, self.config.task) if guided else None
            rows = rows_over(judge, self.omegas)
        return draw(self.config, rows, self.labels, self.seed, self.out, progress)

    def texts(self) -> "pd.DataFrame":
        """Draw texts into the folder. Returns a row for each."""
        from dp_experiments.looking.sample_texts import draw_texts, rows_along, rows_over
        from dp_real import Run

        if self.along and self.run:
            rows = rows_along(Run(self.run), self.omegas)
        else:
            rows = rows_over(Path(self.classifier) if self.classifier else self.run, self.config, self.omegas)
        return draw_texts(self.config, rows, self.labels, self.seed, self.out, progress)


def _show_images(drawing: Drawing, samples: "pd.DataFrame", as_json: bool) -> None:
    from dp_experiments.looking.sample import summarize

    summary = summarize(samples).to_dict("records")
    if as_json:
        emit_json(
            {
                "source": drawing.source,
                "classifier": drawing.classifier,
                "out": str(drawing.out),
                "seed": drawing.seed,
                "rows": summary,
                "samples": samples.to_dict("records"),
            }
        )
        return
    table(summary)
    say(f"{drawing.out}/samples.png, .pdf, .csv, and a file an image")


def _show_texts(drawing: Drawing, samples: "pd.DataFrame", as_json: bool) -> None:
    from dp_experiments.looking.sample import summarize

    if as_json:
        emit_json(
            {
                "out": str(drawing.out),
                "seed": drawing.seed,
                "rows": summarize(samples).to_dict("records"),
                "samples": samples.to_dict("records"),
            }
        )
        return
    table(samples.drop(columns=list(NOT_SHOWN_OF_TEXTS)).to_dict("records"))
    say(f"{drawing.out}/samples.csv")


def read_strengths(text: str | None) -> list[float] | None:
    """The numbers of a comma list, each once; None if there is no text. Raises InputError for one that is below 0."""
    from dp_base.errors import InputError

    if text is None:
        return None
    try:
        strengths = [float(part) for part in text.split(",")]
    except ValueError:
        strengths = []
    if not strengths or not all(0 <= strength < float("inf") for strength in strengths):
        raise InputError(f"--omega {text}: must be numbers of at least 0, comma-separated, for example 0,0.02,0.05")
    return list(dict.fromkeys(strengths))


def choose_classes(names: Sequence[str], classes: str | None, labels: str | None) -> list[int]:
    """The labels of the classes that a person named, or gave by number; the first ten if none were given.

    Raises InputError for a class that there is not, with the nearest name.
    """
    from dp_base.errors import InputError

    if classes is not None and labels is not None:
        raise InputError("--classes and --labels say the same thing; give one of them")
    if classes is not None:
        return _places("--classes", classes, list(names))
    if labels is not None:
        return _places("--labels", labels, [str(label) for label in range(len(names))])
    return list(range(min(len(names), CLASSES)))


def _places(option: str, given: str, known: list[str]) -> list[int]:
    """The places of what a comma list names among what is known, each once. Raises InputError for what is unknown."""
    from dp_base.errors import InputError

    chosen = dict.fromkeys(part.strip() for part in given.split(","))
    for name in chosen:
        if name not in known:
            near = get_close_matches(name, known, n=1) if option == "--classes" else []
            hint = f"did you mean {near[0]!r}?" if near else f"they are {known[0]} to {known[-1]}"
            raise InputError(f"{option} {given}: {name!r} is none of the {len(known)} classes; {hint}")
    return [known.index(name) for name in chosen]
