"""Variants of the presets: `imagenet100-table4-3` has the values of the third row, static ones counted, of Table 4."""

from functools import cache
from typing import NamedTuple

from dp_experiments.presets.printed_tables import TableRow, table_rows
from dp_experiments.presets.schedule import BATCHES, GROWTH, tau


class Variant(NamedTuple):
    """A preset with the values of a row. `settings` are key=value, as --set takes them."""

    base: str
    settings: tuple[str, ...]
    reported: float | None  # validation accuracy in percent
    note: str  # what the table leaves open or misprints, and where the preset departs from it; may be empty
    inferred: tuple[str, ...] = ()  # keys that the table does not have


PLAN = ("practice.initial", "practice.increment", "practice.additions", "practice.patience")
CHEAP = ("sampling.steps=20", "guidance.every=4", "guidance.window=[0.2, 1.0]")
"""On digits and glyphs no worse, if the strength is tuned for it."""


@cache
def variants() -> dict[str, Variant]:
    """Each row of Tables 3, 4 and 5, the practice rows of Table 1, and presets with cheaper images.

    Tables 1 and 3 do not state N, P and T_max, nor Table 1 omega: they are of fitting rows of Tables 4 and 5, which the
    note names.
    """
    table3, table4, table5 = (table_rows(number) for number in (3, 4, 5))
    by_name: dict[str, Variant] = {}

    def add(name: str, row: TableRow, settings: list[str], note: str = "", inferred: tuple[str, ...] = ()) -> None:
        note = "; ".join(part for part in (row["note"], note) if part)
        by_name[name] = Variant(name.split("-")[0], tuple(settings), float(row["val"]), note, inferred)

    practice = [row for row in table_rows(1) if row["method"] == "deliberate practice"]
    for name, row, template, where in (
        ("imagenet100-table1", practice[0], table4[10], "Table 4, row 11"),
        ("imagenet1k-table1-1", practice[1], table5[5], "Table 5, row 6"),
        ("imagenet1k-table1-2", practice[2], table5[5], "Table 5, row 6"),
    ):
        additions = (int(row["samples"]) - int(template["initial"])) // int(template["increment"])
        settings = [
            *schedule(template, additions, 4 if template in table4 else 5),
            f"training.steps={row['iterations']}",
            "sampling.guidance_scale=3.0",
        ]
        note = f"N, P, k, T_max and omega are not in the table: those of {where}"
        add(name, row, settings, note, (*PLAN, "guidance.omega"))
    for number, row in enumerate(table3, 1):
        settings = [*schedule(table4[8], 18, 4), f"guidance.omega={row['omega']}"]
        fixed = row["patience"] == "fixed"
        settings += ["practice.patience_growth=0"] if fixed else []
        settings += ["practice.new_sample_weight=2"] if "twice" in row["sampling"] else []
        note = "N, P, k and T_max are not in the table: those of Table 4, row 9"
        note += "; by the inferred growth T_max is 4 or 5 in the other rows, 4 here" * fixed
        add(f"imagenet100-table3-{number}", row, settings, note, PLAN)
    for name, rows, table in (("imagenet100-table4", table4, 4), ("imagenet1k-table5", table5, 5)):
        for number, row in enumerate(rows, 1):
            alike = {
                int(other["rounds"] or 0): place
                for place, other in enumerate(rows, 1)
                if (other["initial"], other["increment"]) == (row["initial"], row["increment"])
            }
            longest = max(alike)
            rounds = int(row["rounds"] or 0)
            run = f"{name}-{alike[longest]}" + f" with practice.additions={rounds + 1}" * (rounds == longest)
            branch = f"printed of a branch: dp real branch of a run of {run} gives that"
            add(f"{name}-{number}", row, schedule(row, rounds, table), branch if row["branch_epoch"] else "")
    for base in ("imagenet100", "imagenet1k"):
        note = f"4 of 20 steps are guided: the moves add up to .2, in {base} (6 of 30) to .3; omega = 0.075 makes up"
        by_name[f"{base}-cheap"] = Variant(base, CHEAP, None, note)
    return by_name


def schedule(row: TableRow, additions: int, table: int) -> list[str]:
    """Settings of a row of Table 4 or 5 (static: N only, k = 0); tau and T_max's growth are inferred
    (presets.schedule).
    """
    if row["method"] == "static":
        return [f"practice.initial={row['initial']}", "practice.additions=0"]
    every = tau(int(row["initial"]), BATCHES[table])
    return [
        f"practice.initial={row['initial']}",
        f"practice.increment={row['increment']}",
        f"practice.additions={additions}",
        f"practice.patience={row['patience']}",
        f"practice.patience_growth={GROWTH}",
        f"practice.evaluate_every={every}",
        f"guidance.omega={row['omega']}",
    ]
