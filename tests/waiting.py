"""Waits for what another process or thread is about to do."""

import time


def until(condition, seconds=60.0):
    """Return as soon as a condition holds; fail if it does not in so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
