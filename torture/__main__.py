"""`python -m torture`: all attacks and one table of what was tried, what survived and what the user saw."""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from torture import damage, disks, faults, fuzz, kills, ranks, together
from torture.attempt import Attempt, Place

KINDS = {"kills": (kills.attack, 120), "damage": (damage.attack, 0), "together": (together.attack, 21),
         "disks": (disks.attack, 40), "faults": (faults.attack, 36), "ranks": (ranks.attack, 0),
         "fuzz": (fuzz.attack, 2000)}  # fmt: skip


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
        for kind in options.kinds or KINDS:
            attack, tries = KINDS[kind]
            begin = time.monotonic()
            tries = tries if options.tries is None else options.tries
            for attempt in attack(place, tries, random.Random(options.seed)):
                attempts.append(attempt)
                if attempt.fault:
                    print(f"NOT SURVIVED {attempt.kind}: {attempt.case}: {attempt.fault}", file=sys.stderr, flush=True)
            print(f"{kind}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    print(table(attempts))
    sys.exit(any(attempt.fault for attempt in attempts))


def table(attempts: Iterable[Attempt]) -> str:
    """A row per kind of attempt: tried, survived, and what the user most often saw."""
    by_kind: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_kind.setdefault(attempt.kind, []).append(attempt)
    rows = [("attack", "tried", "survived", "what the user saw most often")]
    for kind, tried in sorted(by_kind.items()):
        survived = sum(not attempt.fault for attempt in tried)
        saw = Counter(attempt.saw.replace(attempt.case, "…") for attempt in tried).most_common(1)[0][0]
        rows.append((kind, str(len(tried)), str(survived), saw[:90]))
    everything = [attempt for tried in by_kind.values() for attempt in tried]
    rows.append(("all", str(len(everything)), str(sum(not attempt.fault for attempt in everything)), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{row[0]:{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}".rstrip() for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
