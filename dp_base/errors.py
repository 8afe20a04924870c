"""Errors that are meant for the user. The `dp` command exits with the `exit_status` of the error."""

import logging
import re
import signal
from dataclasses import dataclass
from functools import cache

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Ask for a stop. Cluster managers, and the templates of their users, send SIGUSR1 or SIGUSR2 before a time limit."""


class InputError(ValueError):
    """The input is wrong. The message says on one line what, where, and what would be right."""

    exit_status = 2

    def __init__(self, message: str) -> None:
        super().__init__(re.sub(r"\s*\n\s*", " ", message))  # an array that it quotes may have several lines


class MissingError(RuntimeError):
    """Weights, data, a device or a package are missing. The message says which, and how to get it.

    Each argument names one missing thing, and is one line of the message.
    """

    exit_status = 3

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


@cache
def warn_once(message: str) -> None:
    """Log a warning, the first time only: what is checked before hours of work is checked again when it is used."""
    logging.getLogger("dp_real").warning(message)


@dataclass(frozen=True)
class Finding:
    """What was looked for, what was found, and what is wrong."""

    what: str
    found: str  # what was found
    problem: str | None = None  # with what to do about it; None: nothing is wrong


class DamagedError(MissingError):
    """A file that was written is missing, cut short or changed. The message names it and says what to do."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem

    def __str__(self) -> str:
        return "; ".join(filter(None, self.args))


class ConvergenceError(ArithmeticError):
    """A solver missed its tolerance. The message names the parameters and the residual."""

    exit_status = 1


class DivergedError(ArithmeticError):
    """Numbers are no longer finite, or no longer useful, under the user's settings, which the message names."""

    exit_status = 2


class Interrupted(KeyboardInterrupt):
    """Work was stopped on request. What was finished is on disk; the rest can be resumed."""
