"""What is raised for the person at the keyboard. The command line turns `exit_status` into the process's status."""


class InputError(ValueError):
    """Wrong input: the message says what, where, and what would be right."""

    exit_status = 2


class MissingError(RuntimeError):
    """Something needed is not there (weights, data, a device, a package); the message says which and how to get it."""

    exit_status = 3


class ConvergenceError(ArithmeticError):
    """A solver missed its tolerance; the message names the parameters and the residual."""

    exit_status = 1


class Interrupted(KeyboardInterrupt):
    """Stopped on request, after a checkpoint."""
