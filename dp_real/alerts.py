"""Tells somebody who is elsewhere what happens to a run: by a command of theirs, or a webhook. Off by default."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr

from dp_real.sections import MASK, variable

log = logging.getLogger(__name__)
LONGEST = 30  # seconds that a command or a server has

Event = Literal["finish", "stall", "collapse", "hang", "restart"]


@dataclass(frozen=True)
class Alerts:
    """Where a run's alerts go: `target` is a command that gets a line of JSON on its stdin, or an http(s) URL.

    An empty target drops them.
    """

    target: str = field(repr=False)
    run: Path

    @classmethod
    def of(cls, key: SecretStr, run: Path) -> Alerts:
        """The alerts that a configuration's key asks for; none, with a warning, if where they go is not known here."""
        target = key.get_secret_value()
        if name := variable(key):
            target = os.environ.get(name, "")
        if key and target in ("", MASK):
            lacks = f"${name} is not set" if name else "no file of the run has it: give it again by --set alert=…"
            log.warning("alert goes nowhere: %s", lacks)
            target = ""
        return cls(target, run)

    def send(self, event: Event, **facts: Any) -> None:
        """What goes wrong with an alert is remarked on, and the run goes on."""
        if not self.target:
            return
        message = json.dumps({"event": event, "run": str(self.run.absolute())} | facts) + "\n"
        try:
            if self.target.startswith(("http://", "https://")):
                _post(self.target, message)
            else:
                subprocess.run(shlex.split(self.target), input=message, text=True, timeout=LONGEST, check=True)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            log.warning("alert: not sent: %s", type(error).__name__)  # the target may be a secret


def _post(url: str, message: str) -> None:
    request = urllib.request.Request(url, message.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=LONGEST):
        pass


_present = Alerts("", Path())


def alert(event: Event, **facts: Any) -> None:
    """Send an alert of the run that this process is at, if there is one. facts: values for JSON."""
    _present.send(event, **facts)


@contextmanager
def alerting(alerts: Alerts) -> Iterator[None]:
    """Within the block, let `alert` send to these."""
    global _present
    before = _present
    _present = alerts
    try:
        yield
    finally:
        _present = before
