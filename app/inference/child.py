"""Functions for child processes: report errors to the parent process, and exit together with it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import msgspec

from app.errors import ExitCode, SizewiseError
from app.extras import build_missing_package_error
from app.records.trial import Failure


def run_reporting_errors(main: Callable[[], None]) -> int:
    """Run `main` and return its exit code. If an error of Sizewise is raised, write it to standard
    error as one line of JSON, a Failure."""
    try:
        main()
    except ModuleNotFoundError as error:
        missing = build_missing_package_error(error)
        if missing is None:
            raise
        return _report(missing)
    except SizewiseError as error:
        return _report(error)
    return 0


def _report(error: SizewiseError) -> int:
    failure = Failure(int(error.exit_code), str(error), error.hint)
    sys.stderr.write(msgspec.json.encode(failure).decode() + "\n")
    return failure.exit_code


def exit_with_parent() -> None:
    """Start a thread that exits this process immediately when its standard input ends, which
    happens when the parent process exits."""
    threading.Thread(target=_exit_at_end_of_input, daemon=True, name="parent watch").start()


def _exit_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(int(ExitCode.TERMINATED))
