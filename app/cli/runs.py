"""List the stored runs, or show one."""

from __future__ import annotations

import argparse


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
    import msgspec

    from app.cli.tables import table
    from app.storage.run_directory import stored_runs

    results = [(run, run.result) for run in stored_runs()]
    if arguments.json:
        rows = [
            {
                "run_id": run.run_id,
                "directory": str(run.directory),
                "name": result.name if result else None,
                "verdict": result.verdict.status if result else None,
                "max_rate_per_s": result.max_rate.per_s.value if result and result.max_rate else None,
                "exit_code": result.exit.code if result else None,
            }
            for run, result in results
        ]
        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
        return 0
    if not results:
        print("no runs yet: `sizewise quickstart` makes the first")
        return 0
    print(
        table(
            ("run", "verdict", "max rate /s", "exit"),
            [
                (
                    run.run_id,
                    result.verdict.status if result else "cut short",
                    result.max_rate.per_s.value if result and result.max_rate else None,
                    result.exit.code if result else None,
                )
                for run, result in results
            ],
        )
    )
    return 0


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
