"""`dp theory noise`: what practice and selection are worth where labels are wrong near the boundary."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import DirectCost, TrainingCost, folder_option, several, values
from dp_experiments.terminal import emit_json, progress, records, say, table
from dp_theory.numerics.costs import DIRECT_COST, TRAINING_COST, Costs

if TYPE_CHECKING:
    from pandas import DataFrame

    from dp_theory.loop import BoundaryFlips, RoundPlan

WINDOWS = "0.25,1"
MANY_ROUNDS = 20  # beyond which all loops together take seconds
EDGE = 1e-3  # in units of the flips' width: the window that stands for the boundary itself
LEAST = 1e-4  # the share of wrong labels that stands for none
COIN = 0.5  # probability of a flip at the boundary at which labels there say nothing


def noise_command(
    share: Annotated[str | None, several("Share of plain rows with a wrong label.")] = None,
    confirmed: Annotated[
        float | None, typer.Option(help="In place of --share: the share of plain labels that a judge confirms.")
    ] = None,
    judge: Annotated[
        float | None, typer.Option(help="With --confirmed: the judge's accuracy on real images.  Default: 1.")
    ] = None,
    shape: Annotated[
        str, typer.Option(help="How flips fall off the boundary: probit, logistic, exponential or window.")
    ] = "probit",
    eps: Annotated[float, typer.Option(help="Probability of a flip at the boundary.")] = COIN,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds of practice.")] = 12,
    phi: Annotated[float, typer.Option(help="d over the rows of each round, and of the first pool.")] = 0.5,
    window: Annotated[
        str | None, several(f"Thresholds over tan(pi E), E the test error; the best is taken.  Default: {WINDOWS}.")
    ] = None,
    missed: Annotated[str | None, several("In place of --window: the share of new rows that the learner misses.")] = (
        None
    ),
    rho: Annotated[
        float | None, typer.Option(help="Consider also a fixed selector of this cosine with the truth.")
    ] = None,
    direct_cost: DirectCost = DIRECT_COST,
    training_cost: TrainingCost = TRAINING_COST,
    out: Annotated[Path | None, folder_option("noise.csv and, with --rho, selection.csv")] = None,
    as_json: Json = False,
) -> None:
    """Practice is held against static data, where the generator's labels are wrong near the boundary.

    Shows each round for one share of wrong labels, and the last round of each for several shares.

    VALUES: a value, a comma list, or start:stop:count with both ends, in equal steps.
    """
    if window is not None and missed is not None:
        raise InputError("--window and --missed are two ways to say which rows are added: give one")
    from dp_theory.numerics.checks import require

    if rho is not None:
        require("rho", rho, 0 <= rho < 1, "lie in [0, 1): it is cos(w_s, w0)")
    flips = _all_flips(_shares(share, confirmed, judge), shape, eps)
    costs = Costs(direct=direct_cost, training=training_cost)
    with claimed(out):
        practice = _practice(flips, rounds, phi, window or WINDOWS, missed, costs)
        selection = None if rho is None else _selection(flips, rho, practice)
        if out is not None:
            _write(practice, selection, out)
    found = NoiseWorth(flips, practice, selection, costs)
    if as_json:
        _show_json(found)
        return
    _show(found)
    if out is not None:
        print(*sorted(out.iterdir()), sep="\n")


@dataclass(frozen=True)
class NoiseWorth:
    """What practice and one selection are worth, for flips of each share of wrong labels."""

    flips: "list[BoundaryFlips]"
    practice: "DataFrame"
    selection: "DataFrame | None"  # None without a fixed selector
    costs: Costs

    @property
    def price(self) -> float:
        """The price of a row that is kept at the boundary, in plain rows."""
        return self.costs.row("direct") / self.costs.row("static")

    @property
    def at_boundary(self) -> list[float | None]:
        """The worth of a row there in plain rows; None where its labels say which side is which, since it grows without
        limit.
        """
        from dp_theory.noise import row_worth

        return [row_worth(flips, EDGE * flips.width) if flips(0.0) == COIN else None for flips in self.flips]


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


def _all_flips(shares: list[float], shape: str, eps: float) -> "list[BoundaryFlips]":
    """Flips that leave each of these shares of plain rows with a wrong label."""
    from dp_theory.loop import BoundaryFlips

    return [BoundaryFlips.of_share(share, shape, eps=eps) for share in shares]


def _practice(
    all_flips: "list[BoundaryFlips]", rounds: int, phi: float, window: str, missed: str | None, costs: Costs
) -> "DataFrame":
    import pandas as pd

    from dp_theory.noise import loops_of_worth, worth

    parts = []
    plans = [_plans(flips, window, missed) for flips in all_flips]
    loops = sum(loops_of_worth(flips, phi, of_flips) for flips, of_flips in zip(all_flips, plans, strict=True))
    if rounds > MANY_ROUNDS:
        say(f"{loops} loops of {rounds} rounds: one of 50 takes about .4 seconds, one of 100 about two")
    with progress("noise", loops) as advance:
        for flips, of_flips in zip(all_flips, plans, strict=True):
            stages = worth(flips, rounds=rounds, phi=phi, plans=of_flips, costs=costs, advance=advance)
            shown = stages if len(all_flips) == 1 else stages.iloc[-1:]
            parts.append(shown.assign(share=flips.share, width=flips.width))
    result = pd.concat(parts, ignore_index=True)
    return result[["share", "width", *result.columns.drop(["share", "width"])]]


def _plans(flips: "BoundaryFlips", window: str, missed: str | None) -> "list[RoundPlan]":
    from dp_theory.loop import Window
    from dp_theory.noise import Missed

    if missed is not None:
        return [Missed(flips, share) for share in values("missed", missed)]
    return [Window(kappa) for kappa in values("window", window)]


def _selection(all_flips: "list[BoundaryFlips]", rho: float, practice: "DataFrame") -> "DataFrame":
    import pandas as pd

    from dp_theory.noise import selections

    most = practice.groupby("share", sort=False)["kept"].max()
    parts = []
    for flips, rows in zip(all_flips, most, strict=True):
        part = selections(flips, rho, rows)
        part.insert(0, "share", flips.share)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _write(practice: "DataFrame", selection: "DataFrame | None", out: Path) -> None:
    from dp_base.files import write_text

    write_text(out / "noise.csv", practice.to_csv(index=False))
    if selection is not None:
        write_text(out / "selection.csv", selection.to_csv(index=False))


def _show_json(found: NoiseWorth) -> None:
    answer: dict[str, Any] = {
        "practice": records(found.practice),
        "selection": [] if found.selection is None else records(found.selection),
        "price": found.price,
        "worth_at_boundary": found.at_boundary,
    }
    emit_json(answer)


def _show(found: NoiseWorth) -> None:
    table(records(found.practice), title="practice against static data")
    if found.selection is not None:
        print()
        table(records(found.selection), title="one selection of as many rows")
    for flips, value in zip(found.flips, found.at_boundary, strict=True):
        if value is not None:
            worth_it = f"a row at the boundary is worth {value:.3g} plain ones at last, and costs {found.price:.3g}"
            say(f"{flips.share:.3g} wrong: {worth_it}")
