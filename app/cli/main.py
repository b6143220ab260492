"""Command line: select and run a command, and convert any failure to an error message, a hint and
an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from app import __version__
from app.cli.commands import GLOBAL_SECTION, CommandLine, CommandOption, suggest_option
from app.cli.streams import escape_controls, escape_output, ignore_broken_pipe, print_whole
from app.errors import OPEN_FILES_HINT, ExitCode, SizewiseError, is_too_many_open_files
from app.extras import build_missing_package_error
from reports.shortening import shorten, shorten_message

PROGRAM = "sizewise"
COMPLETION_VARIABLE = "_SIZEWISE_COMPLETE"
"""Environment variable in which a shell passes its request for completions."""

_SECTIONS = {
    "Measure": ("quickstart", "run", "init", "serve", "worker"),
    "Decide": ("report", "explain", "compare", "plan", "simulate"),
    "Automate": ("profiles", "runs", "completion"),
    "Maintain": ("doctor", "selftest", "calibrate", "models", "offers", "evidence", "gui"),
}
_EXIT_CODES = (
    ("0", "success"),
    ("1", "bug in Sizewise"),
    ("2", "invalid command line, profile or file"),
    ("3", "target, device or extra is unavailable"),
    ("4", "the measurement is INVALID"),
    ("5", "stopped by a limit, such as a full disk, or by abort_when"),
    ("10", "an SLO or gate was missed, or no request succeeded"),
    ("11", "regression against the baseline"),
    ("12", "inconclusive, with --on-inconclusive fail"),
    ("130, 143", "stopped by Ctrl-C or SIGTERM; results so far are stored"),
)
_VARIABLES = (
    ("SIZEWISE_HOME", "folder of runs, baselines, imported prices and calibrations"),
    ("SIZEWISE_TOKEN", "secret shared by a run and its remote load workers"),
    ("NO_COLOR", "disables colors"),
)


def build_command_line() -> CommandLine:
    """Return the root of the command line, with all commands."""
    return CommandLine(
        PROGRAM,
        _SECTIONS,
        documentation="Benchmark AI inference and plan the hardware for it.\n\n"
        "Start with `sizewise quickstart`, or measure a URL: `sizewise run http://…`.",
        parameters=[
            CommandOption(
                ["--version"],
                section=GLOBAL_SECTION,
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_print_version,
                help="print the version",
            )
        ],
        notes={"Exit codes": _EXIT_CODES, "Environment variables": _VARIABLES},
    )


def _print_version(ctx: click.Context, _parameter: click.Parameter, is_requested: bool) -> None:
    if is_requested:
        print(f"{PROGRAM} {__version__}")
        ctx.exit()


def main(argv: Sequence[str], open_window: Callable[[tuple[Path, ...]], int] | None = None) -> int:
    """Run a command and return its exit code.

    `open_window` is called by `sizewise gui`. It is a parameter because the command line and the
    desktop app do not import each other.
    """
    if COMPLETION_VARIABLE in os.environ:
        from click.shell_completion import shell_complete

        instruction = os.environ[COMPLETION_VARIABLE]
        return shell_complete(build_command_line(), {}, PROGRAM, COMPLETION_VARIABLE, instruction)
    with escape_output():
        return _run_command(argv, open_window)


def _run_command(argv: Sequence[str], open_window: Callable[[tuple[Path, ...]], int] | None) -> int:
    try:
        with ignore_broken_pipe(), build_command_line().make_context(PROGRAM, [*argv], obj=open_window) as context:
            return int(context.command.invoke(context))
        return ExitCode.OK  # the reader of the output has closed the pipe
    except click.exceptions.Exit as command_exit:  # of --help and --version
        return command_exit.exit_code
    except click.UsageError as error:
        return _print_usage_error(error, argv)
    except SizewiseError as error:
        return _print_error(str(error), error.hint, error.exit_code, argv)
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    except Exception as error:  # outermost handler: a bug is reported with a message too
        missing = build_missing_package_error(error) if isinstance(error, ModuleNotFoundError) else None
        if missing is not None:
            return _print_error(str(missing), missing.hint, missing.exit_code, argv)
        if is_too_many_open_files(error):
            return _print_error("the limit of open files was reached", OPEN_FILES_HINT, ExitCode.LIMIT, argv)
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            hint = f"Run `{PROGRAM} --help` for what the command accepts."
            return _print_error(
                f"the file name {shorten(str(error.filename))!r} is too long", hint, ExitCode.USAGE, argv
            )
        hint = "This is a bug in Sizewise. Run again with --debug and report the output."
        return _print_error(f"{type(error).__name__}: {error}", hint, ExitCode.BUG, argv)


def _print_usage_error(error: click.UsageError, argv: Sequence[str]) -> int:
    """Print an error that click found in the command line, with the name that was probably meant."""
    command_path = PROGRAM if error.ctx is None else error.ctx.command_path
    hint = f"Run `{command_path} --help`."
    match error:
        case click.exceptions.NoArgsIsHelpError():
            print(error.message, file=sys.stderr)
            return ExitCode.USAGE
        case click.NoSuchOption():
            message = f"unknown option {error.option_name}"
            suggestion = None if error.ctx is None else suggest_option(error.ctx.command, error.option_name)
            if suggestion is not None:
                hint = f"Did you mean {suggestion}?"
        case click.exceptions.NoSuchCommand():
            message = f"unknown command {error.command_name!r}"
            if error.possibilities:
                hint = f"Did you mean {' or '.join(error.possibilities)}?"
        case _:
            text = error.format_message()
            message = f"{text[:1].lower()}{text[1:]}".removesuffix(".")
    if isinstance(error, click.BadOptionUsage):
        hint = f"{_suggest_value(error)}{hint}"
    return _print_error(message, hint, ExitCode.USAGE, argv)


def _suggest_value(error: click.BadOptionUsage) -> str:
    """Return a sentence with the value that an option lacks; empty for a flag, which has none."""
    context = error.ctx
    for parameter in () if context is None else context.command.params:
        if isinstance(parameter, click.Option) and not parameter.is_flag and error.option_name in parameter.opts:
            assert context is not None
            return f"Write `{error.option_name} {parameter.make_metavar(context)}`. "
    return ""


def _print_error(message: str, hint: str | None, exit_code: ExitCode, argv: Sequence[str]) -> int:
    if "--debug" in argv:
        traceback.print_exc()
    message, hint = shorten_message(message), hint and shorten_message(hint)
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    if "--error-json" in argv:
        print_whole(_encode_failure(message, hint, exit_code), sys.stderr)
    return int(exit_code)


def _encode_failure(message: str, hint: str | None, exit_code: ExitCode) -> str:
    import msgspec

    from app.records.trial import Failure

    failure = Failure(int(exit_code), escape_controls(message), hint and escape_controls(hint))
    return msgspec.json.encode(failure).decode()
