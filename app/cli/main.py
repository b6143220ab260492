"""Command line: select and run a command, and convert any failure to an error message, a hint and
an exit code."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from app import __version__
from app.cli import (
    calibrate,
    compare,
    doctor,
    gui,
    models,
    offers,
    plan,
    profiles,
    quickstart,
    report,
    run,
    runs,
    selftest,
    serve,
    simulate,
    worker,
)
from app.cli.colors import use_colors
from app.cli.streams import escape_controls, escape_output, ignore_broken_pipe
from app.errors import OPEN_FILES_HINT, ExitCode, SizewiseError, is_too_many_open_files
from app.extras import build_missing_package_error

COMMANDS: tuple[ModuleType, ...] = (
    quickstart, run, compare, plan, simulate, report, serve, calibrate, selftest, doctor, models, offers, profiles,
    runs, worker, gui,
)  # fmt: skip


_COLOR_OPTION = "--color"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sizewise",
        description="Benchmark AI inference and plan the hardware for it.",
        epilog="Start with `sizewise quickstart`. Every command accepts --color, --debug (print the traceback of an "
        "error) and --error-json (also print the error as one line of JSON to standard error).",
    )
    parser.add_argument("--version", action="version", version=f"sizewise {__version__}")
    parser.add_argument(_COLOR_OPTION, choices=["auto", "always", "never"], default="auto", metavar="WHEN",
                      help="color verdicts: auto (default; on a terminal, unless NO_COLOR is set), always or "
                      "never")  # fmt: skip
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        summary = " ".join((command.__doc__ or "").partition("\n\n")[0].split())
        subparser = subparsers.add_parser(name, help=summary, description=command.__doc__)
        command.add_arguments(subparser)
        subparser.set_defaults(execute=command.execute)
    return parser


def main(argv: Sequence[str], open_window: Callable[[tuple[Path, ...]], int] | None = None) -> int:
    """Run a command and return its exit code.

    `open_window` is called by `sizewise gui`. It is a parameter because the command line and the
    desktop app do not import each other.
    """
    with escape_output():
        return _run_command(argv, open_window)


def _run_command(argv: Sequence[str], open_window: Callable[[tuple[Path, ...]], int] | None) -> int:
    flags = {*argv} & {"--debug", "--error-json"}  # global options, accepted anywhere
    exit_code = ExitCode.OK
    try:
        arguments = build_parser().parse_args(
            _move_color_option_first([argument for argument in argv if argument not in flags])
        )
        arguments.open_window = open_window
        with ignore_broken_pipe(), use_colors(arguments.color):
            exit_code = arguments.execute(arguments)
    except SizewiseError as error:
        return _print_error(str(error), error.hint, error.exit_code, flags)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # outermost handler: a bug is reported with a message too
        missing = build_missing_package_error(error) if isinstance(error, ModuleNotFoundError) else None
        if missing is not None:
            return _print_error(str(missing), missing.hint, missing.exit_code, flags)
        if is_too_many_open_files(error):
            return _print_error("the limit of open files was reached", OPEN_FILES_HINT, ExitCode.LIMIT, flags)
        hint = "This is a bug in Sizewise. Run again with --debug and report the output."
        return _print_error(f"{type(error).__name__}: {error}", hint, ExitCode.BUG, flags)
    return int(exit_code)


def _move_color_option_first(argv: Sequence[str]) -> list[str]:
    """Move `--color WHEN` to the front of the arguments, so that this global option is accepted
    anywhere."""
    color_arguments: list[str] = []
    other_arguments: list[str] = []
    argument_iterator = iter(argv)
    for argument in argument_iterator:
        if argument == _COLOR_OPTION:
            color_arguments += [argument, *([mode] if (mode := next(argument_iterator, None)) is not None else [])]
        else:
            (color_arguments if argument.startswith(f"{_COLOR_OPTION}=") else other_arguments).append(argument)
    return [*color_arguments, *other_arguments]


def _print_error(message: str, hint: str | None, exit_code: ExitCode, flags: set[str]) -> int:
    if "--debug" in flags:
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    if "--error-json" in flags:
        print(_encode_failure(message, hint, exit_code), file=sys.stderr)
    return int(exit_code)


def _encode_failure(message: str, hint: str | None, exit_code: ExitCode) -> str:
    import msgspec

    from app.records.trial import Failure

    failure = Failure(int(exit_code), escape_controls(message), hint and escape_controls(hint))
    return msgspec.json.encode(failure).decode()
