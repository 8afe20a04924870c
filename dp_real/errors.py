"""What dp_real raises for the person at the keyboard. `exit_status` is the command line's answer."""


class InputError(ValueError):
    """Wrong input: the message says what, where, and what would be right."""

    exit_status = 2


class MissingError(RuntimeError):
    """Something needed is not there (weights, data, a device); the message says which and how to get it."""

    exit_status = 3


class Interrupted(KeyboardInterrupt):
    """Stopped on request, after a checkpoint."""
