"""`dp real sample | report | evaluate`: the commands to look with."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_base.locks import claimed
from experiments.cli.options import FinishedRun, Json, Set
from experiments.presets.presets import load_preset
from experiments.terminal import emit_json, progress, say, table

if TYPE_CHECKING:
    from dp_real.config import Config

CLASSES = 10  # shown unless told otherwise


def sample_command(
    source: Annotated[str, typer.Argument(metavar="PRESET|FILE.toml|RUN", help="Whose generator and guidance.")],
    out: Annotated[Path, typer.Option(help="A folder that is empty or not there yet.")],
    classifier: Annotated[
        str | None,
        typer.Option(metavar="RUN|FOLDER|ID", help="A run, or an image classifier of transformers: a folder or a hub "
                     "id. Default: the learner of RUN."),
    ] = None,
    omega: Annotated[
        str | None, typer.Option(help="Strengths, comma-separated; 0: plain. Default: 0,0.01,0.02,0.05.")
    ] = None,
    along: Annotated[
        bool, typer.Option("--along", help="Guide by RUN's learner before each addition, by default as it did then.")
    ] = False,
    classes: Annotated[str | None, typer.Option(help="Comma-separated names. Default: the first ten.")] = None,
    labels: Annotated[str | None, typer.Option(help="The same by number, from 0.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, max=1000, help="Samples of a class in a row.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise.")] = 0,
    settings: Set = [],  # noqa: B006 (typer reads the default, nothing mutates it)
    as_json: Json = False,
) -> None:  # fmt: skip
    """Draw samples of some classes from the same noise, plain and guided: images, a grid and samples.csv in --out."""
    from dp_base.errors import InputError
    from dp_real.config import load_config
    from dp_real.runs.files import RunFiles

    files = RunFiles(Path(source))
    run = files.path if files.is_run else None
    config = load_config(files.config, settings) if run else load_preset(source, settings)
    omegas = read_strengths(omega)
    if not config.data.text and len(config.task.sample_shape) != 3:
        raise InputError(f"{source}: data.source = '{config.data.source}' has neither images nor texts to show")
    if along and (run is None or classifier):
        raise InputError("--along takes the folder of a run, whose own learners guide, and no --classifier")
    if not (run or classifier) and any(omegas or []):
        raise InputError("guidance asks a classifier: name one as --classifier, or give --omega 0")
    with claimed(out):
        from dp_real import Run
        from experiments.looking.judge import load_judge
        from experiments.looking.sample import draw, rows_along, rows_over, summarize

        chosen = choose_classes(config.task.classes, classes, labels)
        wanted = [label for label in chosen for _ in range(n)]
        if config.data.text:
            _sample_texts(config, run, classifier, along, omegas, wanted, seed, out, as_json)
            return
        if along and run:
            rows = rows_along(Run(run), omegas)
        else:
            judge = load_judge(classifier or source, config.task) if run or classifier else None
            rows = rows_over(judge, omegas)
        samples = draw(config, rows, wanted, seed, out, progress)
    summary = summarize(samples).to_dict("records")
    if as_json:
        record = {"source": source, "classifier": classifier, "out": str(out), "seed": seed}
        emit_json(record | {"rows": summary, "samples": samples.to_dict("records")})
    else:
        table(summary)
        say(f"{out}/samples.png, .pdf, .csv, and a file an image")


def _sample_texts(
    config: "Config",
    run: Path | None,
    classifier: str | None,
    along: bool,
    omegas: list[float] | None,
    labels: list[int],
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """`dp real sample` for texts."""
    from dp_real import Run
    from experiments.looking.sample import summarize
    from experiments.looking.sample_texts import draw_texts, rows_along, rows_over

    if along and run:
        rows = rows_along(Run(run), omegas)
    else:
        rows = rows_over(Path(classifier) if classifier else run, config, omegas)
    samples = draw_texts(config, rows, labels, seed, out, progress)
    if as_json:
        summary = summarize(samples).to_dict("records")
        emit_json({"out": str(out), "seed": seed, "rows": summary, "samples": samples.to_dict("records")})
        return
    table(samples.drop(columns=["label", "number", "seed", "as_asked"]).to_dict("records"))
    say(f"{out}/samples.csv")


def report_command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, complete or not, or of comparisons.")
    ],
    out: Annotated[Path | None, typer.Option(help="FILE.html. Default: report.html in the only folder.")] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="RUN|FOLDER|ID", help="A run, such as one of real images, or an image classifier of "
                     "transformers: the share of each round's rows that it confirms."),
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Write a page that tells what runs were, cost and reached, with their figures in it: one file to send around."""
    from dp_base.errors import InputError

    if out is None and len(folders) > 1:
        raise InputError("several folders: name the file of the report as --out FILE.html")
    out = out or folders[0] / "report.html"
    if out.suffix != ".html":
        raise InputError(f"--out {out}: the report is a page; name it FILE.html")
    from dp_base.files import write_text
    from dp_real import Run
    from dp_real.runs.files import RunFiles
    from experiments.comparing.compare import Comparison
    from experiments.looking.report.facts import comparison_facts, run_facts
    from experiments.looking.report.page import overview, page

    compared = [Comparison(folder) for folder in folders]
    for each in compared:
        if not (each.exists or RunFiles(each.path).is_run):
            raise InputError(
                f"{each.path}: neither a run, which has a config.toml, nor a comparison, with its comparison.csv"
            )
        if each.exists and judge is not None:
            raise InputError(f"--judge {judge} is for runs: name those in {each.path / 'runs'}")
    facts = [comparison_facts(each) if each.exists else run_facts(Run(each.path)) for each in compared]
    if judge is not None:
        for fact in facts:
            add_confirmed(fact, judge)
    text = page(facts)
    try:
        write_text(out, text)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror}") from None
    if as_json:
        emit_json({"out": str(out), "reports": facts})
    else:
        rows = overview([run for fact in facts for run in fact.get("runs", [fact])])
        table(rows, columns=list(dict.fromkeys(key for row in rows for key in row)))
        say(str(out))


def add_confirmed(facts: dict[str, Any], judge: str) -> None:
    """Add to a run's facts the share of each round that a judge confirms, and its own accuracy on validation images."""
    from dp_real import Run
    from dp_real.runs.prepare import load_data
    from experiments.looking.judge import load_judge
    from experiments.pilot.agreement import agreement, judged_rows, trust

    run = Run(facts["run"])
    asked, data = load_judge(judge, run.config.task), load_data(run.config, progress, test=False)
    facts["judge"] = {"what": judge} | trust(asked, data.validation)._asdict()
    for row, found in zip(facts.get("rounds", []), agreement(judged_rows(run, asked)), strict=False):
        row |= {key: found[key] for key in ("confirmed", "confirmed_of_missed")}


def evaluate_command(
    run: FinishedRun,
    on: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=WHERE",
            help="More real images: a folder, DIR/CLASS/IMAGE.jpg; shards, 'val-{00..63}.tar'; or a data set of the "
            "hub, e.g. imagenet-r=hub:axiong/imagenet-r@test.",
        ),
    ] = [],  # noqa: B006 (typer reads the default, nothing mutates it)
    as_json: Json = False,
) -> None:  # fmt: skip
    """Accuracy of a run's learner on its own and further real images, among the classes that each set has."""
    from dp_base.errors import InputError
    from dp_real import Run
    from dp_real.runs.afterwards import evaluate

    sets: dict[str, str] = {}
    for entry in on:
        name, equals, where = entry.partition("=")
        if not equals or not name or not where:
            raise InputError(f"--on {entry}: must read NAME=WHERE, for example imagenet-v2=data/imagenet-v2")
        if name in sets or name in ("validation", "test"):
            raise InputError(f"--on {entry}: there is a set called {name} already; give this one another name")
        sets[name] = where
    rows = evaluate(Run(run), sets)
    if as_json:
        emit_json({"run": str(run), "sets": rows})
    else:
        table(rows)


def read_strengths(text: str | None) -> list[float] | None:
    """Numbers of at least 0, each once; None if none were given."""
    from dp_base.errors import InputError

    try:
        values = [float(part) for part in text.split(",")] if text is not None else []
    except ValueError:
        values = [-1.0]
    if not all(0 <= value < float("inf") for value in values):
        raise InputError(f"--omega {text}: must be numbers of at least 0, comma-separated, for example 0,0.02,0.05")
    return list(dict.fromkeys(values)) or None


def choose_classes(names: Sequence[str], classes: str | None, labels: str | None) -> list[int]:
    """Labels, from the names or the numbers that a person gave; the first ten if none were given."""
    from dp_base.errors import InputError

    if classes is not None and labels is not None:
        raise InputError("--classes and --labels say the same thing; give one of them")
    if classes is None and labels is None:
        return list(range(min(len(names), CLASSES)))
    option, given, known = "--classes", classes, list(names)
    if given is None:
        option, given, known = "--labels", labels or "", [str(label) for label in range(len(names))]
    chosen = dict.fromkeys(part.strip() for part in given.split(","))
    for name in chosen:
        if name not in known:
            near = get_close_matches(name, known, n=1) if classes else []
            hint = f"did you mean {near[0]!r}?" if near else f"they are {known[0]} to {known[-1]}"
            raise InputError(f"{option} {given}: {name!r} is none of the {len(known)} classes; {hint}")
    return [known.index(name) for name in chosen]
