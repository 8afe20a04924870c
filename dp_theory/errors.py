"""What dp_theory raises. The command line turns `exit_status` into the process's status."""


class InputError(ValueError):
    """A parameter is outside its domain; the message says which, its value, and what would be right."""

    exit_status = 2


class ConvergenceError(ArithmeticError):
    """A solver missed its tolerance; the message names the parameters and the residual."""

    exit_status = 1


class MissingError(RuntimeError):
    """An optional package is not installed; the message says which and how to get it."""

    exit_status = 3
