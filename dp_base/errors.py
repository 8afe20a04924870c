"""Errors meant for the user. The `dp` command exits with the `exit_status` of the error."""


class InputError(ValueError):
    """Wrong input. The message says what is wrong, where, and what would be right."""

    exit_status = 2


class MissingError(RuntimeError):
    """Something needed is missing (weights, data, a device, a package). The message says what, and how to get it."""

    exit_status = 3


class DamagedError(MissingError):
    """A file that was written is missing, cut short or changed. The message names it, and says the way on."""


class ConvergenceError(ArithmeticError):
    """A solver missed its tolerance. The message names the parameters and the residual."""

    exit_status = 1


class Interrupted(KeyboardInterrupt):
    """Stopped on request. What was finished is on disk, and the work can be resumed."""
