"""`completion`: what makes a shell complete commands, options, registries, states and tags.

The scripts are click's. bash takes `@` and `:` for the ends of words, so `@error` and `tag:x`
arrive there in pieces, and only the last piece is to be answered.
"""

from __future__ import annotations

import os
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class
from click.shell_completion import get_completion_class as shell_class

from batchpilot.errors import ExtraMissing

from . import COMPLETING
from .lazy import Command


SHELLS = ("bash", "zsh", "fish")
_WHERE = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc, behind compinit",
    "fish": "~/.config/fish/completions/batchpilot.fish",
}
_BREAKS = {"@": "@", "tag:": ":"}
"""What a selector begins with, and the character in it at which bash breaks a word."""


class Bash(BashComplete):
    """Put together again what bash has taken apart."""

    source_template = BashComplete.source_template.replace(
        "COMP_CWORD=$COMP_CWORD", 'COMP_CWORD=$COMP_CWORD COMP_WORDBREAKS="$COMP_WORDBREAKS"'
    )
    _cut = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one to be completed, and that one."""
        args, incomplete = super().get_completion_args()
        breaks = os.environ.get("COMP_WORDBREAKS", "")
        *before, last = _rejoined([*args, incomplete], breaks)
        ends = (last.rfind(mark) + 1 for mark in _BREAKS.values() if mark in breaks)
        self._cut = last[: max(ends, default=0)]
        return before, last

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return a line for the script; what bash has before the break is left out."""
        value = str(item.value)
        if item.type == "plain" and value.startswith(self._cut):
            value = value[len(self._cut) :]
        return f"{item.type},{value}"


def _rejoined(words: list[str], breaks: str) -> list[str]:
    whole: list[str] = []
    for word in words:
        before = whole[-1] if whole else ""
        opened = before.endswith(tuple(b for b, c in _BREAKS.items() if c in breaks))
        if (opened and before) or (word[:1] == ":" and before.endswith("tag") and ":" in breaks):
            whole[-1] += word
        else:
            whole.append(word)
    return whole


def use_our_bash() -> None:
    """Let click complete bash's words with `Bash`."""
    add_completion_class(Bash, "bash")


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete words.

    bash: put `eval "$(batchpilot completion bash)"` into ~/.bashrc; zsh alike.
    """
    use_our_bash()
    found = shell_class(shell)
    if found is None:
        raise ExtraMissing(f"click knows no {shell}", remedy="install a newer click")
    program = context.find_root()
    source = found(program.command, {}, str(program.info_name), COMPLETING).source()
    click.echo(source.rstrip())
    click.echo(f"To keep it, call this in {_WHERE[shell]}.", err=True)
