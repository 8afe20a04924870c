"""Worker processes that end with the process that started them, however that ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

PATIENCE = 0.5  # seconds between looks at the parent


def in_worker(parent: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments). If this is a child of the process `parent`, it ends when `parent` does.

    A worker of another kind (a thread, a worker of a cluster) goes on.
    """
    if os.getppid() == parent:
        _watch(parent)
    return function(*arguments)


@cache
def _watch(parent: int) -> None:
    """Watch for the parent's end: its children are then given to another process."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PATIENCE)
        os.kill(os.getpid(), signal.SIGKILL)  # what it writes is whole or not there

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()
