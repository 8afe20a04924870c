"""Variants of the presets: one for each row of the paper's tables.

`imagenet100-table4-3` is `imagenet100` with the values of the third row of Table 4. Static rows count, too.
"""

from dataclasses import dataclass
from functools import cache

from dp_experiments.presets.reported.printed_tables import TableRow, table_rows

LEAST_TAU = 25  # steps between validations; more frequent ones would take too much of the time


@dataclass(frozen=True)
class Variant:
    """A preset with the values of a row. `settings` are key=value, as --set takes them."""

    base: str
    settings: tuple[str, ...]
    reported: float  # validation accuracy in percent
    note: str  # what the table leaves open or misprints, and where the preset departs from it; may be empty


@cache
def variants() -> dict[str, Variant]:
    """The variants by name: each row of Tables 3, 4 and 5, and the practice rows of Table 1.

    Tables 1 and 3 do not state N, P and T_max. They are taken from rows of Tables 4 and 5 that fit, and the note says
    which. Table 1 was made with lambda = 2; its other rows are real data and other authors' methods.
    """
    table3, table4, table5 = (table_rows(number) for number in (3, 4, 5))
    found: dict[str, Variant] = {}

    def add(name: str, row: TableRow, settings: list[str], note: str = "") -> None:
        note = "; ".join(part for part in (row["note"], note) if part)
        found[name] = Variant(name.split("-")[0], tuple(settings), float(row["val"]), note)

    practice = [row for row in table_rows(1) if row["method"] == "deliberate practice"]
    for name, row, like, where in (
        ("imagenet100-table1", practice[0], table4[10], "Table 4, row 11"),
        ("imagenet1k-table1-1", practice[1], table5[5], "Table 5, row 6"),
        ("imagenet1k-table1-2", practice[2], table5[5], "Table 5, row 6"),
    ):
        additions = (int(row["samples"]) - int(like["initial"])) // int(like["increment"])
        steps = int(row["iterations"])
        settings = [
            *schedule(like, additions, additions, steps),
            f"training.steps={steps}",
            "sampling.guidance_scale=3.0",
        ]
        add(name, row, settings, f"N, P and T_max are not in the table: those of {where}")
    for number, row in enumerate(table3, 1):
        settings = [*schedule(table4[8], 18, 18, 50_000), f"guidance.omega={row['omega']}"]
        settings += [f"practice.patience_policy={row['patience']}"]
        settings += ["practice.new_sample_weight=2"] if "twice" in row["sampling"] else []
        add(
            f"imagenet100-table3-{number}",
            row,
            settings,
            "N, P, k and T_max are not in the table: those of Table 4, row 9",
        )
    for name, rows, steps in (("imagenet100-table4", table4, 50_000), ("imagenet1k-table5", table5, 100_000)):
        for number, row in enumerate(rows, 1):
            alike = {
                int(other["rounds"] or 0): place
                for place, other in enumerate(rows, 1)
                if (other["initial"], other["increment"]) == (row["initial"], row["increment"])
            }
            longest = max(alike)
            rounds = int(row["rounds"] or 0)
            settings = schedule(row, rounds, longest, steps)
            kept = row["method"] == "static" or f"practice.patience={row['patience']}" in settings
            notes = [] if kept else ["T_max is lower than printed, and tau longer: so many validations would not fit"]
            if rounds < longest:
                notes.append(f"printed of a branch: dp real branch of a run of {name}-{alike[longest]} gives that")
            add(f"{name}-{number}", row, settings, "; ".join(notes))
    return found


def schedule(row: TableRow, additions: int, longest: int, steps: int) -> list[str]:
    """Settings for N, P, k, T_max, omega and tau of a row of Tables 4 and 5. A static row sets N only, and k = 0.

    tau is our choice. It is 100, or less if incremental patience would else take more than half of the constant phase
    of a run with `longest` additions. Rows with the same N and P share tau, so that the shorter runs are branches of
    the longest. T_max is lowered if tau would fall below LEAST_TAU. Checkpoints are about 2,000 steps apart.
    """
    if row["method"] == "static":
        return [f"practice.initial={row['initial']}", "practice.additions=0"]
    initial, increment, patience = (int(row[name]) for name in ("initial", "increment", "patience"))
    rounds = longest + increment / initial * longest * (longest - 1) / 2  # a round lasts in proportion to its pool
    steps_a_round = min(100 * patience, 0.35 * steps / rounds)
    patience = min(patience, max(1, int(steps_a_round / LEAST_TAU)))
    every = int(steps_a_round / patience)
    return [
        f"practice.initial={initial}",
        f"practice.increment={increment}",
        f"practice.additions={additions}",
        f"practice.patience={patience}",
        f"practice.evaluate_every={every}",
        f"practice.checkpoint_every={round(2000 / every)}",
        f"guidance.omega={row['omega']}",
    ]
