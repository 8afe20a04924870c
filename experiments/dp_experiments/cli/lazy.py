"""Commands that are imported only when they run, so that `dp` starts quickly."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, wraps
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from dp_base.errors import InputError
from dp_base.launcher import require_one_task
from dp_experiments.cli.process import uncollected

TOGETHER = ("keys", "plan", "run", "resume", "branch", "evaluate")  # what several processes may be started as
Member = TyperCommand | TyperGroup


class OnceCommand(TyperCommand):
    """Refuses an option that is given twice, of which typer would take the last."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        for parameter in given:
            if parameter.opts[0].startswith("-") and not parameter.multiple and given.count(parameter) > 1:
                raise InputError(f"{parameter.opts[0]} is given {given.count(parameter)} times: give it once")
        return super().parse_args(ctx, args)


class LazyCommand(TyperCommand):
    """The function NAME_command of a module; its help page is the line that lists it, and its docstring."""

    def __init__(self, name: str, module: str, line: str) -> None:
        super().__init__(name, help=line)
        self.module = module

    @cached_property
    def loaded(self) -> TyperCommand:
        name = self.name or ""
        function = getattr(import_module(self.module), f"{name.replace('-', '_')}_command")
        app = typer.Typer(add_completion=False)
        app.command(name, cls=OnceCommand, help=f"{self.help}\n\n{reflow(inspect.getdoc(function) or '')}")(
            self.prepare(function)
        )
        command = get_command(app)
        assert isinstance(command, TyperCommand)
        return command

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A subclass may wrap the function that the command runs."""
        return function

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with uncollected():
            return self.loaded.make_context(*arguments, **options)


class Numeric(LazyCommand):
    """Computes with NumPy: numbers that overflow end it, rather than in a wrong answer."""

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from dp_theory.numerics.checks import finite_numbers

        return finite_numbers()(function)


class OfPipeline(LazyCommand):
    """A command that says how to get the packages of the extra `real` where they are lacking."""

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            from dp_base.imports import require_extra

            require_extra("real", "dp real")
            if self.name not in TOGETHER:
                require_one_task(f"dp real {self.name}")
            return function(*arguments, **options)

        return run


def reflow(text: str) -> str:
    """A line a paragraph, since typer shows the line breaks of all but the first."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def make_group(name: str, line: str, panels: Mapping[str, Sequence[Member]]) -> TyperGroup:
    """A group whose help page shows the commands under the headings of `panels`."""
    group = TyperGroup(name=name, help=line, no_args_is_help=True)
    for heading, members in panels.items():
        for member in members:
            member.rich_help_panel = heading
            group.add_command(member)
    return group
