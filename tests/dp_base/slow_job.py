"""A job for worker processes that takes longer than a test."""

import os
import time
from pathlib import Path


def slowly(out: str) -> None:
    """Leave a file that is called by the process's number in the folder `out`, and sleep for a minute."""
    (Path(out) / str(os.getpid())).touch()
    time.sleep(60)
