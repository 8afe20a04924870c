"""`dp real …`: the full pipeline. torch is imported when a command runs, so that `dp --help` stays quick."""

from experiments.cli.real.run import app

__all__ = ["app"]
