"""Waits for files that another node has written, and that this node's file system does not show yet (NFS caches)."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dp_base.errors import DamagedError
from dp_real.runtime.processes import this_process

log = logging.getLogger(__name__)

PATIENCE = 180.0  # seconds; NFS keeps what it knows of a folder for up to 60
PAUSE = 0.5  # seconds between looks

Seen = TypeVar("Seen")


def when_visible(look: Callable[[], Seen], where: Path) -> Seen:
    """look(), tried again while it fails as if files were missing, which another process is known to have written.

    A remark says that there is a wait. Raises what `look` does once PATIENCE is over; at once in a single process.
    """
    deadline = time.monotonic() + PATIENCE
    told = False
    while True:
        try:
            return look()
        except (DamagedError, OSError, ValueError) as error:  # the last is Arrow's
            if this_process().num_processes == 1 or time.monotonic() > deadline:
                raise
            if not told:
                log.warning("%s: waiting for what another process wrote there: %s", where, error)
                told = True
        time.sleep(PAUSE)
