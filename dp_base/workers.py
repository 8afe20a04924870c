"""Worker processes that end with the process that started them, however that ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

PATIENCE = 0.5  # seconds between looks at the parent


def ending_with_this_process() -> dict[str, Any]:
    """Arguments for joblib.Parallel: its processes, also those that have no work yet, end when this one does."""
    return {"initializer": end_with, "initargs": (os.getpid(),)}


def end_with(parent: int) -> None:
    """Kill this process, a child of `parent`, soon after `parent` has ended."""

    def watch() -> None:
        while os.getppid() == parent:  # children of a dead process are given to another one
            time.sleep(PATIENCE)
        os.kill(os.getpid(), signal.SIGKILL)  # what it writes is whole or not there

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()
