"""Commands and options of the command line: help in sections, with examples, and global options.

Parsing, shell completion and suggestions for misspelled names are click's.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

import click

from app.cli.colors import ColorMode, use_colors

PATH = click.Path(path_type=Path)
COLOR_MODES = get_args(ColorMode)
_CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
DEFAULT_SECTION = "Options"
GLOBAL_SECTION = "Global options"


Rows = Sequence[tuple[str, str]]
"""Names and their meanings, for a section of the help."""


Group = TypeVar("Group", bound=NamedTuple)


def build_group(group: type[Group], values: Mapping[str, Any]) -> Group:
    """Return the values of a group of options as a record, whose fields are named as the options are. Raises KeyError
    for a field that is no option of the command."""
    return group._make(values[name] for name in group._fields)


def call_with(handler: Callable[..., int], values: Mapping[str, Any]) -> int:
    """Call the handler of a command with the values of its arguments and options, by name.

    A parameter of the handler is an option with the same name, or, if its type is a NamedTuple, the group of the
    options that the fields name. Raises KeyError for a name that is no option of the command.
    """

    def read(name: str, hint: Any) -> Any:
        return build_group(hint, values) if is_group(hint) else values[name]

    hints = {name: hint for name, hint in get_type_hints(handler).items() if name != "return"}
    return int(handler(**{name: read(name, hint) for name, hint in hints.items()}))


def is_group(hint: Any) -> bool:
    """Return whether a type hint is a NamedTuple, which groups options."""
    return isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields")


class CommandOption(click.Option):
    """Option that is listed in a section of the help.

    `elsewhere` are the names that other tools have for it, which a user may type out of habit.
    """

    def __init__(
        self,
        declarations: Sequence[str],
        *,
        section: str = DEFAULT_SECTION,
        elsewhere: Sequence[str] = (),
        **attributes: Any,
    ) -> None:
        super().__init__(declarations, **attributes)
        self.section, self.elsewhere = section, elsewhere


ACCELERATOR_SYNONYMS = ("--gpu", "--gpus")
"""Names of an `--accelerator` option for one accelerator in other tools."""


def suggest_option(command: click.Command, name: str) -> str | None:
    """Return the option of a command that a user probably meant by an unknown one: the option that has this name in
    another tool, otherwise the one with the most similar name. `None` if there is none."""
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    for option in options:
        if isinstance(option, CommandOption) and name in option.elsewhere:
            return max(option.opts, key=len)
    from app.profiles.problems import did_you_mean

    suggestion = did_you_mean(
        name.lstrip("-"), [text.lstrip("-") for option in options for text in option.opts if text.startswith("--")]
    )
    return None if suggestion is None else f"--{suggestion.name}"


class Command(click.Command):
    """Command that calls `execute` with the values of its parameters (see `call_with`), and returns an exit code."""

    def __init__(
        self,
        name: str,
        execute: Callable[..., int],
        parameters: Sequence[click.Parameter] = (),
        *,
        documentation: str | None,
        examples: Sequence[str] = (),
        notes: Mapping[str, Rows] | None = None,
    ) -> None:
        super().__init__(
            name,
            callback=lambda **values: call_with(execute, values),
            params=[*parameters, *_build_global_options()],
            help=documentation,
            short_help=_build_summary(documentation),
            context_settings=_CONTEXT_SETTINGS,
        )
        self.execute, self.examples, self.notes = execute, examples, notes or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. Errors of click's parser lack the command that they concern."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_options(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        _write_notes(self.notes, formatter)
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"{'':>{formatter.current_indent}}{line}\n" for line in self.examples))


class CommandGroup(click.Group):
    """Command with subcommands. Without a subcommand, its help is a usage error."""

    def __init__(
        self,
        name: str,
        commands: Sequence[click.Command] = (),
        *,
        documentation: str | None,
        parameters: Sequence[click.Parameter] = (),
    ) -> None:
        super().__init__(
            name,
            {str(command.name): command for command in commands},
            params=[*parameters, *_build_global_options()],
            help=documentation,
            short_help=_build_summary(documentation),
            subcommand_metavar="COMMAND [ARGS]...",
            context_settings=_CONTEXT_SETTINGS,
            no_args_is_help=True,
        )

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return [*self.commands]  # in the given order; click sorts by name

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        _write_options(self.get_params(ctx), ctx, formatter)


class CommandLine(CommandGroup):
    """Root of the command line. The module of a command is imported when the command is selected.

    `sections` maps the headings of the help to the names of commands; `app.cli.NAME.COMMAND` is the
    command.
    """

    def __init__(
        self,
        name: str,
        sections: Mapping[str, Sequence[str]],
        *,
        documentation: str,
        parameters: Sequence[click.Parameter],
        notes: Mapping[str, Rows],
    ) -> None:
        names = [name for names_of_section in sections.values() for name in names_of_section]
        placeholders = [click.Command(name) for name in names]
        super().__init__(name, placeholders, documentation=documentation, parameters=parameters)
        self.sections, self.notes = sections, notes

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in self.commands:
            return None
        command: click.Command = importlib.import_module(f"app.cli.{cmd_name}").COMMAND
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands))
        for heading, names in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl(
                    [
                        (f"{name:<{width}}", str(getattr(self.get_command(ctx, name), "short_help", "")))
                        for name in names
                    ]
                )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        _write_notes(self.notes, formatter)


def _build_summary(documentation: str | None) -> str:
    """Return the first paragraph of a command's documentation, without the period, for lists of
    commands."""
    return " ".join(inspect.cleandoc(documentation or "").partition("\n\n")[0].split()).removesuffix(".")


def _write_notes(notes: Mapping[str, Rows], formatter: click.HelpFormatter) -> None:
    for heading, rows in notes.items():
        with formatter.section(heading):
            formatter.write_dl(rows)


def _write_options(parameters: Sequence[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the options in their sections: those of the command, and then the global ones."""
    records_by_section: dict[str, list[tuple[str, str]]] = {DEFAULT_SECTION: []}
    for parameter in parameters:
        record = None if isinstance(parameter, click.Argument) else parameter.get_help_record(ctx)
        if record is not None:
            is_help = parameter is ctx.command.get_help_option(ctx)
            section = GLOBAL_SECTION if is_help else getattr(parameter, "section", DEFAULT_SECTION)
            records_by_section.setdefault(section, []).append(record)
    for heading, records in records_by_section.items():
        if records:
            with formatter.section(heading):
                formatter.write_dl(records)


def _build_global_options() -> list[click.Parameter]:
    """Return the options that every command accepts. `app.cli.main` evaluates --debug and
    --error-json, which also apply to errors in the command line itself."""
    return [
        CommandOption(
            ["--color"],
            type=click.Choice(COLOR_MODES),
            metavar="WHEN",
            expose_value=False,
            callback=_set_color_mode,
            section=GLOBAL_SECTION,
            help="color output: auto (default; on a terminal, unless NO_COLOR is set), always or never",
        ),
        CommandOption(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            section=GLOBAL_SECTION,
            help="print the traceback of an error",
        ),
        CommandOption(
            ["--error-json"],
            is_flag=True,
            expose_value=False,
            section=GLOBAL_SECTION,
            help="also print an error as one line of JSON to standard error",
        ),
    ]


def _set_color_mode(ctx: click.Context, _parameter: click.Parameter, mode: Any) -> None:
    if mode is not None:
        ctx.with_resource(use_colors(mode))
