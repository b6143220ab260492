"""Every handler takes what its command parses: a parameter or a field of a group per option, with the option's type."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import click
import pytest

from app.analysis.gating import GateKind
from app.cli.commands import Command, call_with, is_group
from app.cli.plan_options import ListOfChoices
from app.reporting.redaction import RedactedKind
from tests.fakes.command_line import iter_commands

IMPORTED_FOR_TYPES_ONLY = {"GateKind": GateKind, "RedactedKind": RedactedKind, "datetime": datetime, "Path": Path}


class Size(NamedTuple):
    width: int
    height: int


def list_hints(command: Command) -> dict[str, Any]:
    """Return the type of each option that the handler takes, by name, with the fields of its groups."""
    hints: dict[str, Any] = {}
    for name, hint in get_type_hints(command.execute).items():
        if is_group(hint):
            hints |= get_type_hints(hint, localns=IMPORTED_FOR_TYPES_ONLY)
        elif name != "return":
            hints[name] = hint
    return hints


def type_of(parameter: click.Parameter) -> Any:
    """Return the type of one value of a parameter; None for a choice, whose handler may name the values."""
    match parameter.type:
        case ListOfChoices():
            return tuple[str, ...]
        case click.Choice():
            return None
        case click.types.FuncParamType() as parsed:
            return get_type_hints(parsed.func, localns=IMPORTED_FOR_TYPES_ONLY)["return"]
        case click.Path():
            return Path
        case click.types.IntParamType():
            return int
        case click.types.FloatParamType():
            return float
        case click.types.BoolParamType():
            return bool
        case _:
            return str


def accepts(hint: Any, parameter: click.Parameter, default: Any) -> bool:
    """Return whether a type hint is that of the values of a parameter."""
    if parameter.multiple or parameter.nargs == -1:
        return get_args(hint) == (type_of(parameter), ...)
    is_optional = not parameter.required and default is None
    if is_optional != (type(None) in get_args(hint)):
        return False
    one_type = type_of(parameter)
    if one_type is None:
        choices = {value for part in (get_args(hint) or (hint,)) for value in (get_args(part) or (part,))}
        return choices - {type(None)} in ({str}, set(parameter.type.choices))  # type: ignore[attr-defined]
    return bool(hint == (one_type | None if is_optional else one_type))


COMMANDS = [command for command in iter_commands() if isinstance(command, Command)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.execute.__module__ + "." + command.name)
def test_handler_has_a_parameter_of_the_right_type_for_each_option(command: Command) -> None:
    hints = list_hints(command)
    defaults = command.make_context(command.name, [], resilient_parsing=True).params
    assert {*hints} == {*defaults}
    exposed = {str(parameter.name): parameter for parameter in command.params if parameter.expose_value}
    assert not [name for name, row in exposed.items() if not accepts(hints[name], row, defaults[name])]


def test_handler_is_called_with_options_and_groups_of_options() -> None:
    def handle(name: str, size: Size) -> int:
        return len(name) + size.width * size.height

    assert call_with(handle, {"name": "abc", "width": 2, "height": 5, "other": None}) == 13
    with pytest.raises(KeyError, match="height"):
        call_with(handle, {"name": "abc", "width": 2})
