"""`dp real report | review | evaluate`: runs as pages, and on real images."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from dp_base.errors import InputError
from dp_experiments.cli.options import Json
from dp_experiments.cli.real.options import AcceptChanges, FinishedRun, judge_option, tell_changes
from dp_experiments.terminal.lines import answer

NAMED = {"y": "test_accuracy"}  # columns of a comparison, in percent
SHOWN_OF_ARMS = ("series", "generated", "y", "se", "confirmed", "coverage", "vendi")
OWN_SETS = ("validation", "test")  # names of the sets that every run has
SHOWN_OF_ROUNDS = ("round", "count", "omega", "entropy", "fraction_wrong", "confirmed", "confirmed_of_missed")


def report_command(
    folders: Annotated[
        list[Path], Argument(metavar="RUN", help="Folders of runs, complete or not, or of comparisons.")
    ],
    out: Annotated[Path | None, Option(help="FILE.html.  Default: report.html in the only folder.")] = None,
    judge: Annotated[
        str | None,
        judge_option("that says what share of the samples of each round, or arm, is of the class that was asked for."),
    ] = None,
    rounds: Annotated[
        bool,
        Option("--rounds", help="Compare each round with real validation examples, as the learner sees them."),
    ] = False,
    as_json: Json = False,
) -> None:
    """The page has the figures in it: one file to send around.

    What --judge and --rounds find is shown as tables, too. precision: the share of samples near a real one. recall,
    coverage: the share of real ones that the samples reach. density: how many real ones are near. vendi: the effective
    number of different samples. Round 0 is plain. A round that is harder has a higher entropy; one that is worse has a
    lower precision; one that is narrower a lower recall and vendi score.
    """
    from dp_experiments.show.report.facts import facts_of
    from dp_experiments.show.report.page import named_rounds, overview, page
    from dp_experiments.terminal.pages import check_page, write_page

    if out is None and len(folders) > 1:
        raise InputError("several folders: name the file of the report as --out FILE.html")
    out = check_page(out or folders[0] / "report.html")
    tell_changes(*folders, judge)
    facts = [facts_of(folder, judge, rounds) for folder in folders]
    write_page(out, page(facts))
    shown: list[Any] = [overview([run for fact in facts for run in fact.get("runs", [fact])])]
    for fact in facts:
        if judge:
            own = fact["judge"]
            of, part = (SHOWN_OF_ROUNDS, "rounds") if "rounds" in fact else (SHOWN_OF_ARMS, "arms")
            shown.append([{NAMED.get(key, key): row[key] for key in of if key in row} for row in fact[part]])
            shown.append(f"the judge is right about {own['accuracy']:.1%} of {own['images']:,} real images")
        if rounds:
            shown.append(named_rounds(fact["quality"]))
    answer(as_json, {"out": str(out), "reports": facts}, *shown, str(out))


def review_command(
    folder: Annotated[Path, Argument(metavar="RUN", help="The folder of a run, complete or not.")],
    out: Annotated[Path | None, Option(help="FILE.html.  Default: review.html in RUN.")] = None,
    as_json: Json = False,
) -> None:
    """A page of the pool's texts or images, the hardest thousand first, on which wrong ones are marked.

    Its button saves the marks as marks.csv. A run with pool.marks = "marks.csv" leaves these examples out.
    """
    from dp_experiments.show.review import review_page, reviewed
    from dp_experiments.terminal.pages import check_page, write_page
    from dp_real import Run

    out = check_page(out or folder / "review.html")
    run = Run(folder).unchanged(accept_changes=True)  # as above
    items = reviewed(run)
    write_page(out, review_page(run, items))
    line = f"{out}: {len(items):,} examples; open it in a browser"
    answer(as_json, {"out": str(out), "examples": len(items)}, line)


def evaluate_command(
    run: FinishedRun,
    on: Annotated[
        list[str],
        Option(
            metavar="NAME=WHERE",
            help="More real images: a folder, DIR/CLASS/IMAGE.jpg; shards, 'val-{00..63}.tar'; or a data set of the "
            "hub, for example imagenet-r=hub:axiong/imagenet-r@test.",
        ),
    ] = [],
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
) -> None:
    """Takes the run's own validation and test sets, and further ones.

    Each set counts among the classes that it has, or among all if that is one.
    """
    from dp_experiments.show.report.page import with_errors
    from dp_real import Run
    from dp_real.runs.afterwards import evaluate

    rows = evaluate(Run(run).unchanged(accept_changes), _further_sets(on))
    alone = [
        f"{row['set']}: of one class alone, of which guessing it always is right: this accuracy means nothing"
        for row in rows
        if row["classes"] == 1
    ]
    answer(as_json, {"run": str(run), "sets": rows}, with_errors(rows), *alone)


def _further_sets(entries: list[str]) -> dict[str, str]:
    sets: dict[str, str] = {}
    for entry in entries:
        name, equals, where = entry.partition("=")
        if not equals or not name or not where:
            raise InputError(f"--on {entry}: must read NAME=WHERE, for example imagenet-v2=data/imagenet-v2")
        if name in sets or name in OWN_SETS:
            raise InputError(f"--on {entry}: there is a set called {name} already; give this one another name")
        sets[name] = where
    return sets
