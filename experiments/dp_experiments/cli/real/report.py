"""`dp real report | review | rounds | evaluate`: what runs reached and drew, as pages, by round, and on real images."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_experiments.cli.options import Json
from dp_experiments.cli.real.options import AcceptChanges, FinishedRun, check_runs, judge_option
from dp_experiments.cli.real.remarks import counted
from dp_experiments.terminal import emit_json, progress, say, table

if TYPE_CHECKING:
    from dp_experiments.comparing.compare import Comparison
    from dp_real import Run

More = Callable[[dict[str, Any]], None]
"""What an option adds to the facts of a run."""
LOOKS = 10  # seconds between two looks at the logs of runs that go on
LOGS = ("metrics.jsonl", "rounds.jsonl", "result.json")
OWN_SETS = ("validation", "test")  # names of the sets that every run has


def report_command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Folders of runs, complete or not, or of comparisons.")
    ],
    out: Annotated[Path | None, typer.Option(help="FILE.html.  Default: report.html in the only folder.")] = None,
    judge: Annotated[
        str | None,
        judge_option("that says what share of each round's samples is of the class that was asked for."),
    ] = None,
    rounds: Annotated[
        bool, typer.Option("--rounds", help="Compare each round with real validation examples, as dp real rounds does.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Write it again after each evaluation, until all runs are complete.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The page has the figures in it: one file to send around."""
    from dp_base.errors import InputError

    if out is None and len(folders) > 1:
        raise InputError("several folders: name the file of the report as --out FILE.html")
    out = out or folders[0] / "report.html"
    if out.suffix != ".html":
        raise InputError(f"--out {out}: the report is a page; name it FILE.html")
    from dp_experiments.looking.report.page import overview

    more: dict[str, More] = {}
    if judge is not None:
        more[f"--judge {judge}"] = partial(add_confirmed, judge=judge)
    if rounds:
        more["--rounds"] = add_quality
    check_runs(*folders, judge, accept_changes=True)  # a page only shows, so that remarks are enough
    if watch:
        _follow(folders, out, more)
    facts = _write(folders, out, more)
    if as_json:
        told = [{key: value for key, value in fact.items() if key != "gallery"} for fact in facts]  # no pictures
        emit_json({"out": str(out), "reports": told})
        return
    rows = overview([run for fact in facts for run in fact.get("runs", [fact])])
    table(rows, columns=list(dict.fromkeys(key for row in rows for key in row)))
    say(str(out))


def _follow(folders: list[Path], out: Path, more: Mapping[str, More]) -> None:
    """Write the page whenever a log of the runs has grown, until they are complete. Browsers then read it again."""
    say(f"{out} is kept fresh until the end; Ctrl-C leaves it as it is")
    seen = None
    complete = False
    while not complete:
        now = {path: _size(path) for name in LOGS for folder in folders for path in folder.rglob(name)}
        if now == seen:
            time.sleep(LOOKS)
            continue
        seen = now
        facts = _write(folders, out, more, refresh=LOOKS)
        complete = all(run["complete"] for fact in facts for run in fact.get("runs", [fact]))


def _size(path: Path) -> int:
    """The bytes of a file, which may have gone just now."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _write(folders: list[Path], out: Path, more: Mapping[str, More], refresh: int = 0) -> list[dict[str, Any]]:
    """Write the page. Returns the facts that it tells. Raises InputError if it cannot be written."""
    from dp_base.errors import InputError
    from dp_base.files import write_text
    from dp_experiments.looking.report.page import page

    facts = _facts(folders, more)
    try:
        write_text(out, page(facts, refresh))
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror}") from None
    return facts


def _facts(folders: list[Path], more: Mapping[str, More]) -> list[dict[str, Any]]:
    """What is told of each run or comparison. Raises InputError for a folder that is neither."""
    from dp_experiments.comparing.compare import Comparison
    from dp_experiments.looking.report.facts import comparison_facts, run_facts
    from dp_real import Run

    compared = [Comparison(folder) for folder in folders]
    for each in compared:
        _check_folder(each, more)
    facts = [comparison_facts(each) if each.exists else run_facts(Run(each.path)) for each in compared]
    for add in more.values():
        for fact in facts:
            add(fact)
    return facts


def _check_folder(folder: "Comparison", more: Mapping[str, More]) -> None:
    """Raise InputError for a folder with neither a run nor a comparison, and for a comparison with options of runs."""
    from dp_base.errors import InputError
    from dp_real.runs.run_files import RunFiles

    if folder.exists:
        if more:
            raise InputError(f"{' and '.join(more)}: only for runs; name those in {folder.path / 'runs'}")
    elif not RunFiles(folder.path).is_run:
        raise InputError(
            f"{folder.path}: neither a run, which has a config.toml, nor a comparison, with its comparison.csv"
        )


def add_confirmed(facts: dict[str, Any], judge: str) -> None:
    """Add to a run's facts the share of each round that a judge confirms, and its own accuracy on validation images."""
    from dp_experiments.looking.judge import load_judge
    from dp_experiments.pilot.label_agreement import agreement, judged_rows, trust
    from dp_real import Run
    from dp_real.runs.prepare import load_data

    run = Run(facts["run"])
    asked = load_judge(judge, run.config.task)
    data = load_data(run.config, progress, test=False)
    facts["judge"] = {"what": judge} | trust(asked, data.validation)._asdict()
    for row, found in zip(facts.get("rounds", []), agreement(judged_rows(run, asked)), strict=False):
        row["confirmed"] = found["confirmed"]
        row["confirmed_of_missed"] = found["confirmed_of_missed"]


def add_quality(facts: dict[str, Any]) -> None:
    """Add to a run's facts how its rounds compare with real validation examples, as its latest learner sees them."""
    from dp_real import Run

    facts["quality"] = _quality(Run(facts["run"]))


def _quality(run: "Run", most: int | None = None) -> list[dict[str, Any]]:
    """The rows of round_quality for a run."""
    from dp_real.evaluation.rounds import MOST, round_quality
    from dp_real.runs.prepare import load_data

    return round_quality(run.learner(), run.pool, load_data(run.config, progress), most or MOST, progress)


def review_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, complete or not.")],
    out: Annotated[Path | None, typer.Option(help="FILE.html.  Default: review.html in RUN.")] = None,
    most: Annotated[int, typer.Option(min=1, max=100_000, help="Examples at most, the hardest first.")] = 1000,
    as_json: Json = False,
) -> None:
    """A page of the pool's texts or images, on which wrong ones are marked.

    Its button saves the marks as marks.csv. A run with pool.marks = "marks.csv" leaves these examples out.
    """
    from dp_base.errors import InputError
    from dp_base.files import write_text
    from dp_experiments.looking.review import review_page, reviewed
    from dp_real import Run

    out = out or folder / "review.html"
    if out.suffix != ".html":
        raise InputError(f"--out {out}: the review is a page; name it FILE.html")
    run = Run(folder).unchanged(accept_changes=True)  # as above
    items = reviewed(run, most)
    text = review_page(run, items)
    try:
        write_text(out, text)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror}") from None
    if as_json:
        emit_json({"out": str(out), "examples": len(items)})
    else:
        say(f"{out}: {len(items):,} examples; open it in a browser")


def rounds_command(
    folder: FinishedRun,
    most: Annotated[int, typer.Option(min=10, max=20_000, help="Examples of each round at most.")] = 2000,
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
) -> None:
    """Compares each round with the real validation examples, as the trained learner sees them.

    precision: the share of samples near a real one. recall, coverage: the share of real ones that the samples reach.
    density: how many real ones are near. vendi: the effective number of different samples. Round 0 is plain. A round
    that is harder has a higher entropy; one that is worse has a lower precision; one that is narrower a lower recall
    and vendi score.
    """
    from dp_experiments.looking.report.page import named_rounds
    from dp_real import Run

    rows = _quality(Run(folder).unchanged(accept_changes), most)
    if as_json:
        emit_json({"run": str(folder), "rounds": rows})
        return
    table(named_rounds(rows))
    say("against the validation set; as many examples of each set, since the figures depend on that")


def evaluate_command(
    run: FinishedRun,
    on: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=WHERE",
            help="More real images: a folder, DIR/CLASS/IMAGE.jpg; shards, 'val-{00..63}.tar'; or a data set of the "
            "hub, for example imagenet-r=hub:axiong/imagenet-r@test.",
        ),
    ] = [],
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
) -> None:
    """Takes the run's own validation and test sets, and further ones. Each set counts among the classes it has."""
    from dp_real import Run
    from dp_real.runs.afterwards import evaluate

    rows = evaluate(Run(run).unchanged(accept_changes), _further_sets(on))
    if as_json:
        emit_json({"run": str(run), "sets": rows})
    else:
        table(counted(rows))


def _further_sets(entries: list[str]) -> dict[str, str]:
    """Where further images are, by name, from NAME=WHERE. Raises InputError for a name that is taken."""
    from dp_base.errors import InputError

    sets: dict[str, str] = {}
    for entry in entries:
        name, equals, where = entry.partition("=")
        if not equals or not name or not where:
            raise InputError(f"--on {entry}: must read NAME=WHERE, for example imagenet-v2=data/imagenet-v2")
        if name in sets or name in OWN_SETS:
            raise InputError(f"--on {entry}: there is a set called {name} already; give this one another name")
        sets[name] = where
    return sets
