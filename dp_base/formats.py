"""Format numbers: a file that is read again later states the number of the format that it was written in.

Each kind of file has a number of its own, and no other number is read. Formats are additive: a key that a file lacks
takes its default, which is what was done before there was the key. So the number rises only where the meaning of what
was written changes, since all that was written before becomes unreadable.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dp_base.errors import InputError

KEY = "format"


def require_format(record: Mapping[str, Any], number: int, path: str | Path) -> None:
    """Raise InputError unless a file's record has this format number. path: names the file in the message."""
    found = record.get(KEY)
    if found != number:
        other = "no format number" if found is None else f"format {found!r}"
        raise InputError(
            f"{path} has {other}, and this version of dp reads format {number}: "
            "read it with the version that wrote it, or make it again"
        )
