"""`runs attach`: a run that goes on, shown as if it had been started here."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from app.errors import ExitCode, StorageError

if TYPE_CHECKING:
    from app.cli.verbs import Verbs
    from app.storage.run_directory import StoredRun

_LOOK_S = 0.1


def add_verbs(verbs: Verbs) -> None:
    attach = verbs.add_parser(
        "attach", help="show how a running run goes, and end with its exit code; Ctrl-C leaves it running"
    )
    attach.add_argument("run", help="the directory, the id or its beginning, or 'last'")
    attach.set_defaults(act=_attach)


def _attach(arguments: argparse.Namespace) -> int:
    from app.storage.run_directory import find_run

    run = find_run(arguments.run)
    try:
        return _follow(run)
    except KeyboardInterrupt:
        print(f"detached; the run goes on: `sizewise runs attach {run.directory.name}`", file=sys.stderr)
        return ExitCode.INTERRUPTED


def _follow(run: StoredRun) -> int:
    """The run's exit code. Raises StorageError where its engine is gone without a word."""
    import threading

    from app.cli.progress import open_progress
    from app.cli.tables import shown
    from app.storage.following import RunFollower

    follower, pause, is_written = RunFollower(run.directory), threading.Event(), True
    with open_progress() as progress:
        while (finished := follower.finished) is None:
            event = follower.take()
            if event is not None:
                progress.show(event)
            elif not is_written:
                hint = "What was measured until then is there: `sizewise.open_run` in Python reads it."
                raise StorageError(f"the engine of {run.directory} is gone, and left no result", hint=hint)
            else:  # what it wrote just before it went is read after it was seen to be gone
                is_written = follower.is_written()
                pause.wait(_LOOK_S if is_written else 0)
    print(f"{run.directory.name}: {finished.status}", file=sys.stderr)
    for cause in finished.causes:
        print(f"exit {finished.exit_code}: {shown(cause)}", file=sys.stderr)
    return finished.exit_code
