"""`dp real cache list | clear`: what was made once and is kept."""

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

import typer

from dp_experiments.cli.options import Json
from dp_experiments.terminal import emit_json, say, table

OTHER = {"glyphs": "drawn typefaces", "words": "word lists", "stand-in/imagenet": "stand-ins for real images"}


def list_command(as_json: Json = False) -> None:
    """An entry that is broken is made again when it is needed."""
    from dp_real.runtime.cache import cache_folder, entries

    rows = [
        {
            "name": entry.name,
            "what": describe(entry.name, entry.depends),
            "megabytes": entry.size / 1e6,
            "age": str(timedelta(seconds=int(time.time() - entry.made))),
            "problem": entry.problem or None,
        }
        for entry in entries()
    ]
    if as_json:
        emit_json({"folder": str(cache_folder()), "entries": rows})
        return
    if not rows:
        say(f"nothing in {cache_folder()}")
        return
    table(rows, columns=[key for key in rows[0] if key != "problem"])
    for row in rows:
        if row["problem"]:
            say(f"broken: {row['problem']}; it is made again when it is needed, or removed by dp real cache clear")
    say(f"in {cache_folder()}")


def clear_command(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """What is needed again is made again."""
    from dp_base.errors import InputError
    from dp_real.runtime.cache import cache_folder, clear, entries

    found = entries()
    size = sum(entry.size for entry in found) / 1e6
    what = f"{len(found)} entries, {size:.0f} MB, in {cache_folder()}"
    if not yes:
        if not sys.stdin.isatty():
            raise InputError(f"removing {what} wants a confirmation; add --yes")
        typer.confirm(f"Remove {what}?", abort=True, err=True)
    clear()
    say(f"removed {what}")


def describe(name: str, depends: Mapping[str, Any]) -> str:
    """What a cache entry is, in a few words; its name in the cache, and what it was made from.

    An autoencoder depends on some keys of its generator only, so that several generators share it. Its kind is none of
    them.
    """
    if not depends:
        return "broken"
    if "base_url" in depends:
        return f"answers of {depends['model']} at {depends['base_url']}"
    generator = depends.get("generator")
    if isinstance(generator, Mapping):
        return f"{generator['kind']} generator" if "kind" in generator else "part of a generator"
    return OTHER.get(name.rpartition("-")[0], "stand-ins for real data")
