"""`dp theory noise`: what practice is worth where labels are wrong near the boundary."""

from pathlib import Path
from typing import Annotated

from typer import Option

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import folder_option, several, values, write_tables, written
from dp_experiments.terminal.lines import answer, progress, records, say
from dp_theory.numerics.costs import Costs


def noise_command(
    share: Annotated[str | None, several("Share of plain rows with a wrong label.")] = None,
    confirmed: Annotated[
        float | None, Option(help="In place of --share: the share of plain labels that a judge confirms.")
    ] = None,
    judge: Annotated[float, Option(help="The judge's accuracy on real images.")] = 1.0,
    rounds: Annotated[int, Option(min=1, max=100, help="Rounds of practice.")] = 12,
    phi: Annotated[float, Option(help="d over the rows of each round, and of the first pool.")] = 0.5,
    window: Annotated[str, several("Thresholds over tan(pi E), E the test error; the best is taken.")] = "0.25,1",
    out: Annotated[Path | None, folder_option("noise.csv")] = None,
    as_json: Json = False,
) -> None:
    """Practice is held against static data, where the generator's labels are wrong near the boundary.

    Shows each round for one share of wrong labels, and the last round of each for several shares. samples and compute:
    what static data takes for this error, over what practice took. saved and saved_compute: the share of static data's
    error that practice saves with as many rows, or for the same cost.

    VALUES: a value, a comma list, or start:stop:count with both ends, in equal steps.
    """
    import pandas as pd

    from dp_theory.loop import BoundaryFlips
    from dp_theory.noise import judged_share, loops_of_worth, row_worth, worth

    if (share is None) == (confirmed is None):
        raise InputError("give one of --share and --confirmed, which say how many labels are wrong")
    if share is not None and judge != 1:
        raise InputError(f"--judge {judge:g} is for --confirmed")
    shares = values("share", share) if share is not None else [judged_share(confirmed or 0.0, judge)]
    if confirmed is not None and confirmed >= judge:
        say(f"the judge confirms as many labels as real images: none seems wrong; share {shares[0]:g} is assumed")
    all_flips = [BoundaryFlips.of_share(wrong) for wrong in dict.fromkeys(shares)]
    windows = values("window", window)
    with claimed(out):
        parts = []
        with progress("noise", sum(loops_of_worth(flips, phi, windows) for flips in all_flips)) as advance:
            for flips in all_flips:
                stages = worth(flips, rounds=rounds, phi=phi, windows=windows, advance=advance)
                stages = stages if len(all_flips) == 1 else stages.iloc[-1:].copy()
                stages.insert(0, "share", flips.share)
                stages.insert(1, "width", flips.width)
                parts.append(stages)
        practice = pd.concat(parts, ignore_index=True)
        write_tables(out, noise=practice)
    costs = Costs()
    price = costs.row("direct") / costs.row("static")  # of a row that is kept at the boundary, in plain rows
    at_boundary = [row_worth(flips) for flips in all_flips]
    rows = records(practice)
    answer(
        as_json,
        {"practice": rows, "price": price, "worth_at_boundary": at_boundary},
        {"practice against static data": rows},
        *(
            f"{flips.share:.3g} wrong: a row at the boundary is worth {value:.3g} plain ones, and costs {price:.3g}"
            for flips, value in zip(all_flips, at_boundary, strict=True)
        ),
        *written(out),
    )
