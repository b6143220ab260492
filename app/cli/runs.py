"""List the stored runs, or show one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from app.errors import UsageError

if TYPE_CHECKING:
    from app.storage.run_directory import StoredRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    listing = actions.add_parser("list", help="the stored runs, oldest first")
    show = actions.add_parser("show", help="the summary of one run")
    show.add_argument("run", help="a run directory, a run id or its beginning, or 'last'")
    for action in (listing, show):
        action.add_argument("--json", action="store_true", help="print as JSON")


def execute(arguments: argparse.Namespace) -> int:
    return _list(arguments) if arguments.action == "list" else _show(arguments)


def _list(arguments: argparse.Namespace) -> int:
    from app.storage.run_directory import stored_runs

    rows = [_row(run) for run in stored_runs()]
    if arguments.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
    elif not rows:
        print("no runs yet: `sizewise quickstart` makes the first")
    else:
        from app.cli.tables import table

        cells = [
            (row["run_id"], row["outcome"], row["verdict"] or "cut short", row["max_rate_per_s"], row["exit_code"])
            for row in rows
        ]
        print(table(("run", "outcome", "measurement", "max rate /s", "exit"), cells))
    return 0


def _row(run: StoredRun) -> dict[str, str | float | int | None]:
    from app.reporting.verdict import verdict_of

    row: dict[str, str | float | int | None] = {
        "run_id": run.directory.name,
        "directory": str(run.directory),
        "name": None,
        "outcome": None,
        "verdict": None,
        "max_rate_per_s": None,
        "exit_code": None,
    }
    try:
        result = run.result
    except UsageError:  # one damaged run, or one of a newer version, hides no other
        return row | {"verdict": "unreadable"}
    if result is None:
        return row
    return row | {
        "run_id": result.run_id,
        "name": result.name,
        "outcome": verdict_of(result).outcome,
        "verdict": result.verdict.status,
        "max_rate_per_s": result.max_rate.per_s.value if result.max_rate else None,
        "exit_code": result.exit.code,
    }


def _show(arguments: argparse.Namespace) -> int:
    from app.cli.rendering import report_of
    from app.storage.run_directory import find_run
    from reports.text import render_text

    run = find_run(arguments.run)
    if arguments.json and run.result_text is not None:
        print(run.result_text)
        return 0
    print(render_text(report_of(run)))
    return 0
