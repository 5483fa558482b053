"""What all commands share, and the group that loads a command only when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from .failures import Run


def debug_option() -> click.Option:
    """Return the option that shows tracebacks; it stands at every command."""
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=_set_debug,
        help="Show the traceback of an error.",
    )


def _set_debug(context: click.Context, _: click.Parameter, debug: bool) -> None:
    if debug:
        context.ensure_object(Run).debug = True


class Command(click.Command):
    """Be a command with `--debug`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(debug_option())


class Family(click.Group):
    """Be a group of commands below a word, `batchpilot agents list`, shown in the order written."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the commands as they were written."""
        return list(self.commands)


class LazyGroup(click.Group):
    """Load a command's file when the command is called, and show its help without it.

    Args:
        families: For each command the module of `batchpilot.cli` that holds it, and its short help.
    """

    def __init__(self, *args: Any, families: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.families = families
        self.params.append(debug_option())

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the commands in the order of a study."""
        return list(self.families)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Return a command, loading its file."""
        if cmd_name not in self.families:
            return None
        module = import_module(f"{__package__}.{self.families[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the commands' names and short helps."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in self.families.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return the commands that begin like a word, without loading them, and options."""
        found = [
            CompletionItem(name, help=help_)
            for name, (_, help_) in self.families.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]
