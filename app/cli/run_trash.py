"""`runs delete` and `runs restore`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from app.errors import UsageError

if TYPE_CHECKING:
    from app.cli.verbs import Verbs


def add_verbs(verbs: Verbs) -> None:
    delete = verbs.add_parser("delete", help="move runs to the trash")
    delete.add_argument("runs", nargs="*", metavar="RUN", help="the id or its beginning, or 'last'")
    delete.add_argument("--purge", action="store_true", help="end for good what was deleted more than 30 days ago")
    delete.set_defaults(act=_delete)
    restore = verbs.add_parser("restore", help="bring a deleted run back (`runs list --deleted`)")
    restore.add_argument("run", help="the id or its beginning")
    restore.set_defaults(act=_restore)


def _delete(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from app.storage.run_directory import find_run
    from app.storage.trash import delete_runs, purge

    if bool(arguments.runs) == arguments.purge:
        raise UsageError("delete which runs?", hint="Name runs, or --purge alone to empty the trash of old ones.")
    now = datetime.now(UTC)
    if arguments.purge:
        gone = purge(now)
        print("\n".join(f"{name} is gone" for name in gone) or "nothing was deleted more than 30 days ago")
        return 0
    found = {run.directory.resolve(): run for run in map(find_run, arguments.runs)}
    delete_runs([*found.values()], now)
    for directory in found:
        print(f"{directory.name} is deleted; `sizewise runs restore {directory.name}` brings it back")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from app.storage.trash import restore_run

    print(restore_run(arguments.run))
    return 0
