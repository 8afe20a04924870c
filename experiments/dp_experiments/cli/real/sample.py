"""`dp real sample`: samples from the same noise, plain and guided."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_experiments.cli.options import Json, comma_list
from dp_experiments.cli.real.options import Set, judge_option, tell_changes
from dp_experiments.presets.presets import load_preset
from dp_experiments.terminal.lines import answer, records

CLASSES = 10  # classes that are shown by default
NOT_SHOWN_OF_TEXTS = ["label", "number", "seed", "as_asked"]  # columns that samples.csv has


def sample_command(
    source: Annotated[str, Argument(metavar="PRESET|FILE.toml|RUN", help="Whose generator and guidance to use.")],
    out: Annotated[Path, Option(help="A folder that is empty or not there yet.")],
    classifier: Annotated[
        str | None,
        judge_option("that guides: a folder or a hub id.  Default: the learner of RUN."),
    ] = None,
    omega: Annotated[
        str | None,
        Option(help="Strengths, comma-separated; 0: plain.  Default: 0,0.01,0.02,0.05."),
    ] = None,
    along: Annotated[
        bool,
        Option(
            "--along", help="Guide by RUN's learner before each addition.  Default strengths: those of the additions."
        ),
    ] = False,
    classes: Annotated[
        str | None,
        Option(help=f"Names of classes or numbers from 0, comma-separated.  Default: the first {CLASSES}."),
    ] = None,
    n: Annotated[int, Option("--n", min=1, max=1000, help="Samples of each class in a row.")] = 1,
    settings: Set = [],
    as_json: Json = False,
) -> None:
    """Writes images, a grid of them and samples.csv into --out, with a row for each strength.

    The noise is that of the initial round of a run with the same seed; --set seed=1 is another.
    """
    from dp_experiments.show import sample
    from dp_real import Run
    from dp_real.config import load_config
    from dp_real.runs.files import RunFiles

    files = RunFiles(Path(source))
    run = files.path if files.is_run else None
    config = load_config(files.config, settings) if run else load_preset(source, settings)
    omegas = read_strengths(omega)
    texts = config.data.modality == "text"
    if not texts and not config.task.has_pictures:
        raise InputError(f"{source}: data.source = '{config.data.source}' has neither images nor texts to show")
    if along and (run is None or classifier):
        raise InputError("--along takes the folder of a run, whose own learners guide, and no --classifier")
    if not (run or classifier) and any(omegas or []):
        raise InputError("guidance asks a classifier: name one as --classifier, or give --omega 0")
    tell_changes(run, classifier)
    with claimed(out):
        labels = [label for label in choose_classes(config.task.classes, classes) for _ in range(n)]
        rows = sample.rows_along(Run(source), omegas) if along else sample.rows_over(classifier or run, config, omegas)
        samples = sample.draw(config, rows, labels, config.seed, out)
    summary = records(sample.summarize(samples))
    facts = {"source": source, "classifier": classifier, "out": str(out), "seed": config.seed, "rows": summary}
    answer(
        as_json,
        facts | {"samples": records(samples)},
        records(samples.drop(columns=NOT_SHOWN_OF_TEXTS)) if texts else summary,
        f"{out}/samples.csv" if texts else f"{out}/samples.png, .pdf, .csv, and a file an image",
    )


def read_strengths(text: str | None) -> list[float] | None:
    """A comma list, each number once; None if there is no text."""
    if text is None:
        return None
    try:
        strengths = [float(part) for part in text.split(",")]
    except ValueError:
        strengths = []
    if not strengths or not all(0 <= strength < float("inf") for strength in strengths):
        raise InputError(f"--omega {text}: must be numbers of at least 0, comma-separated, for example 0,0.02,0.05")
    return list(dict.fromkeys(strengths))


def choose_classes(names: Sequence[str], wanted: str | None) -> list[int]:
    """The labels of classes by name or number, each once; the first ten by default."""
    if wanted is None:
        return list(range(min(len(names), CLASSES)))
    labels = []
    for name in comma_list(wanted):
        if name in names:
            labels.append(names.index(name))
        elif name.isdecimal() and int(name) < len(names):
            labels.append(int(name))
        else:
            matches = get_close_matches(name, names, n=1)
            hint = f"did you mean {matches[0]!r}?" if matches else f"they are {names[0]} to {names[-1]}"
            raise InputError(f"--classes {wanted}: {name!r} is none of the {len(names)} classes; {hint}")
    return list(dict.fromkeys(labels))
