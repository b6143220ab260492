"""List the stored runs, show one, or speak to one that is going on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from app.errors import UsageError

if TYPE_CHECKING:
    from app.records.control import Wish
    from app.storage.run_directory import StoredRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    listing = actions.add_parser("list", help="the stored runs, oldest first")
    show = actions.add_parser("show", help="the summary of one run")
    show.add_argument("run", help="a run directory, a run id or its beginning, or 'last'")
    for action in (listing, show):
        action.add_argument("--json", action="store_true", help="print as JSON")
    stop = actions.add_parser("stop", help="let a running run finish what is in flight, and report; twice: cut it")
    note = actions.add_parser("note", help="write a note into a running run's events and result")
    rate = actions.add_parser("rate", help="change the rate of a running run's open stage, to its end")
    promote = actions.add_parser("promote", help="make a run the baseline of its profile: `run --baseline promoted`")
    promote.add_argument("run", help="a run that passed: its directory, its id or its beginning, or 'last'")
    for action in (stop, note, rate):
        action.add_argument("run", help="the directory, the id or its beginning, or 'last'")
    note.add_argument("text")
    rate.add_argument("rate", help="like 300/s")


def execute(arguments: argparse.Namespace) -> int:
    if arguments.action == "list":
        return _list(arguments)
    if arguments.action == "promote":
        return _promote(arguments)
    return _show(arguments) if arguments.action == "show" else _ask(arguments)


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
            (row["run_id"], row["outcome"], row["verdict"] or row["state"], row["carries"], row["exit_code"])
            for row in rows
        ]
        print(table(("run", "outcome", "measurement", "carries", "exit"), cells))
    return 0


def _row(run: StoredRun) -> dict[str, str | float | int | None]:
    from app.reporting.carried import carried_words
    from app.reporting.verdict import verdict_of

    row: dict[str, str | float | int | None] = {
        "run_id": run.directory.name,
        "directory": str(run.directory),
        "name": None,
        "state": "done",
        "outcome": None,
        "verdict": None,
        "max_rate_per_s": None,
        "carries": None,
        "exit_code": None,
    }
    try:
        result = run.result
        if result is None:
            finished = run.finished
            state = "running" if run.is_running else "cut short" if finished is None else "not measured"
            return row | {"state": state, "exit_code": None if finished is None else finished.exit_code}
    except UsageError:  # one damaged run, or one of a newer version, hides no other
        return row | {"verdict": "unreadable"}
    return row | {
        "run_id": result.run_id,
        "name": result.name,
        "outcome": verdict_of(result).outcome,
        "verdict": result.verdict.status,
        "max_rate_per_s": result.max_rate.per_s.value if result.max_rate else None,
        "carries": carried_words(result),
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


def _promote(arguments: argparse.Namespace) -> int:
    from app.storage.baselines import promote
    from app.storage.run_directory import find_run

    result = promote(find_run(arguments.run))
    print(f"{result.run_id} is the baseline of {result.name!r} now")
    return 0


def _ask(arguments: argparse.Namespace) -> int:
    from app.storage.control import ask_engine
    from app.storage.run_directory import find_run

    wish = _wish(arguments)
    print(ask_engine(find_run(arguments.run).directory, wish))
    return 0


def _wish(arguments: argparse.Namespace) -> Wish:
    from app.profiles.problems import BadValueError
    from app.profiles.units import parse_rate_per_s
    from app.records.control import HIGHEST_RATE_PER_S, NOTE_LENGTH, AddNote, SetRate, StopRun

    match arguments.action:
        case "note":
            if not 1 <= len(arguments.text) <= NOTE_LENGTH:
                raise UsageError(f"a note has 1 to {NOTE_LENGTH} characters")
            return AddNote(arguments.text)
        case "rate":
            try:
                rate_per_s = parse_rate_per_s(arguments.rate)
            except BadValueError as error:
                raise UsageError(str(error), hint=error.hint) from None
            if rate_per_s > HIGHEST_RATE_PER_S:
                raise UsageError(f"{arguments.rate} is more than any generator sends")
            return SetRate(rate_per_s)
        case _:
            return StopRun()
