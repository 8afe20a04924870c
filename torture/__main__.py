"""`python -m torture`: all attacks and one table of what was tried, what survived and what the user saw."""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from torture import damage, disks, endpoint, faults, fuzz, kills, ranks, together
from torture.attempt import Attempt, Place


class Kind(NamedTuple):
    """An attack, and how many cases are tried by default (0: all)."""

    attack: Callable[[Place, int, random.Random], Iterator[Attempt]]
    tries: int


KINDS = {
    "kills": Kind(kills.attack, 120),
    "damage": Kind(damage.attack, 0),
    "endpoint": Kind(endpoint.attack, 40),
    "together": Kind(together.attack, 21),
    "disks": Kind(disks.attack, 40),
    "faults": Kind(faults.attack, 36),
    "ranks": Kind(ranks.attack, 0),
    "fuzz": Kind(fuzz.attack, 2000),
}


def main() -> None:
    """Attack; exit status 1 if a case was not survived."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)}; all by default")
    parser.add_argument("--tries", type=int, help="cases of each kind; 0: all kinds of damage and of ranks")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"there is no {', '.join(unknown)}: {', '.join(KINDS)}")
    attempts: list[Attempt] = []
    with (
        tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder,
        Place(Path(folder)) as place,
    ):
        for name in options.kinds or KINDS:
            attack, tries = KINDS[name]
            begin = time.monotonic()
            tries = tries if options.tries is None else options.tries
            for attempt in attack(place, tries, random.Random(options.seed)):
                attempts.append(attempt)
                if attempt.fault:
                    print(f"NOT SURVIVED {attempt.kind}: {attempt.case}: {attempt.fault}", file=sys.stderr, flush=True)
            print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    print(table(attempts))
    sys.exit(any(attempt.fault for attempt in attempts))


def table(attempts: Iterable[Attempt]) -> str:
    """A row per kind: tried, survived, and what the user most often saw."""
    saw = "what the user saw most often"
    tried = pd.DataFrame(
        [
            {"attack": each.kind, "survived": not each.fault, saw: each.saw.replace(each.case, "…")[:90]}
            for each in attempts
        ]
    )
    rows = tried.groupby("attack")["survived"].agg(tried="size", survived="sum")
    rows[saw] = tried.groupby("attack")[saw].agg(lambda lines: lines.mode()[0])
    rows.loc["all"] = len(tried), tried["survived"].sum(), ""
    return rows.reset_index().to_string(index=False, justify="left")


if __name__ == "__main__":
    main()
