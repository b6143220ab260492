"""The command line without running commands: the parsed arguments, and the options that exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from app.cli.main import PROGRAM, build_command_line


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Return the values of the command that the arguments name. Raises click.UsageError as the command would."""
    command: click.Command | None = build_command_line()
    name, rest, context = PROGRAM, [*words], None
    while isinstance(command, click.Group):
        context = command.make_context(name, rest, parent=context)
        rest = [*context._protected_args, *context.args]
        matched_name, command, rest = command.resolve_command(context, rest)
        name = matched_name or ""
    assert command is not None
    return command.make_context(name, rest, parent=context).params


def iter_commands(group: click.Group | None = None) -> Iterator[click.Command]:
    """Yield every command that can be run, without the groups."""
    group = build_command_line() if group is None else group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from iter_commands(command)
        else:
            yield command
