"""Functions for child processes: report errors to the parent, and exit with it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from app.errors import ExitCode, SizewiseError


def run_reporting_errors(main: Callable[[], None]) -> int:
    """Run `main` and return its exit code. Errors of Sizewise are written to standard error as
    `error:` and `hint:` lines."""
    try:
        main()
    except SizewiseError as error:
        sys.stderr.write(f"error: {error}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        return int(error.exit_code)
    return 0


def exit_with_parent() -> None:
    """Exit this process as soon as its standard input ends, regardless of what it is doing."""
    threading.Thread(target=_exit_at_end_of_input, daemon=True, name="parent watch").start()


def _exit_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(int(ExitCode.TERMINATED))
