"""`dp theory noise`: what practice and selection are worth where labels are wrong near the boundary."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import folder_option, several, values, write_tables, written
from dp_experiments.terminal import answer, progress, records, say
from dp_theory.numerics.costs import Costs

if TYPE_CHECKING:
    from pandas import DataFrame

    from dp_theory.loop import BoundaryFlips

MANY_ROUNDS = 20  # beyond which all loops together take seconds
EDGE = 1e-3  # in units of the flips' width: the window that stands for the boundary itself
LEAST = 1e-4  # the share of wrong labels that stands for none


def noise_command(
    share: Annotated[str | None, several("Share of plain rows with a wrong label.")] = None,
    confirmed: Annotated[
        float | None, typer.Option(help="In place of --share: the share of plain labels that a judge confirms.")
    ] = None,
    judge: Annotated[
        float | None, typer.Option(help="With --confirmed: the judge's accuracy on real images.  Default: 1.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds of practice.")] = 12,
    phi: Annotated[float, typer.Option(help="d over the rows of each round, and of the first pool.")] = 0.5,
    window: Annotated[str, several("Thresholds over tan(pi E), E the test error; the best is taken.")] = "0.25,1",
    out: Annotated[Path | None, folder_option("noise.csv")] = None,
    as_json: Json = False,
) -> None:
    """Practice is held against static data, where the generator's labels are wrong near the boundary.

    Shows each round for one share of wrong labels, and the last round of each for several shares.

    VALUES: a value, a comma list, or start:stop:count with both ends, in equal steps.
    """
    from dp_theory.loop import BoundaryFlips
    from dp_theory.noise import row_worth

    flips = [BoundaryFlips.of_share(wrong) for wrong in _shares(share, confirmed, judge)]
    with claimed(out):
        practice = _practice(flips, rounds, phi, values("window", window))
        if out is not None:
            write_tables(out, noise=practice)
    costs = Costs()
    price = costs.row("direct") / costs.row("static")  # of a row that is kept at the boundary, in plain rows
    at_boundary = [row_worth(each, EDGE * each.width) for each in flips]
    answer(
        as_json,
        {"practice": records(practice), "price": price, "worth_at_boundary": at_boundary},
        {"practice against static data": records(practice)},
        *(
            f"{each.share:.3g} wrong: a row at the boundary is worth {value:.3g} plain ones, and costs {price:.3g}"
            for each, value in zip(flips, at_boundary, strict=True)
        ),
        *written(out),
    )


def _shares(share: str | None, confirmed: float | None, judge: float | None) -> list[float]:
    if share is not None and confirmed is None:
        if judge is not None:
            raise InputError("--judge is for --confirmed: --share itself says how many labels are wrong")
        return list(dict.fromkeys(values("share", share)))
    if confirmed is None or share is not None:
        raise InputError("give one of --share and --confirmed, which say how many labels are wrong")
    accuracy = 1.0 if judge is None else judge
    wrong = judged_share(confirmed, accuracy)
    if confirmed >= accuracy:
        say(f"the judge confirms as many labels as real images: none seems wrong; share {wrong:g} is assumed")
    return [wrong]


def judged_share(confirmed: float, accuracy: float = 1.0) -> float:
    """The share of plain labels that are wrong, at least LEAST, from the share that a judge of this accuracy confirms.

    Judge and generator see the margin through noise of their own, as probit flips do. Their labels are signs of normals
    that differ with a probability of their angle over π:

        cos(π P(judge ≠ label)) = cos(π P(label wrong)) · cos(π P(judge wrong))
    """
    import numpy as np

    from dp_theory.numerics.checks import require, require_number

    for name, value in {"confirmed": confirmed, "accuracy": accuracy}.items():
        require_number(**{name: value})
        require(name, value, 0.5 < value <= 1, "lie in (1/2, 1]: it is a share of what is right")
    cosine = np.cos(np.pi * (1 - confirmed)) / np.cos(np.pi * (1 - accuracy))
    return max(float(np.arccos(min(cosine, 1.0)) / np.pi), LEAST)


def _practice(all_flips: "list[BoundaryFlips]", rounds: int, phi: float, windows: list[float]) -> "DataFrame":
    import pandas as pd

    from dp_theory.loop import Window
    from dp_theory.noise import loops_of_worth, worth

    plans = [Window(kappa) for kappa in windows]
    loops = sum(loops_of_worth(flips, phi, plans) for flips in all_flips)
    if rounds > MANY_ROUNDS:
        say(f"{loops} loops of {rounds} rounds: one of 50 takes about .4 seconds, one of 100 about two")
    parts = []
    with progress("noise", loops) as advance:
        for flips in all_flips:
            stages = worth(flips, rounds=rounds, phi=phi, plans=plans, advance=advance)
            shown = stages if len(all_flips) == 1 else stages.iloc[-1:]
            parts.append(shown.assign(share=flips.share, width=flips.width))
    result = pd.concat(parts, ignore_index=True)
    return result[["share", "width", *result.columns.drop(["share", "width"])]]
