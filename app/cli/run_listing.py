"""`runs list` and `runs show`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from app.errors import UsageError

if TYPE_CHECKING:
    from app.cli.tables import Cell
    from app.cli.verbs import Verbs
    from app.storage.run_directory import StoredRun

_WIDEST_NOTE = 60


def add_verbs(verbs: Verbs) -> None:
    listing = verbs.add_parser("list", help="the stored runs, oldest first")
    listing.add_argument("--tag", dest="tags", action="append", default=[], metavar="TAG",
                         help="only those that have it (several: all of them)")  # fmt: skip
    listing.add_argument("--deleted", action="store_true", help="those in the trash, the first deleted first")
    listing.set_defaults(act=_list)
    show = verbs.add_parser("show", help="the summary of one run")
    show.add_argument("run", help="a run directory, a run id or its beginning, or 'last'")
    show.set_defaults(act=_show)
    for verb in (listing, show):
        verb.add_argument("--json", action="store_true", help="print as JSON")


def _list(arguments: argparse.Namespace) -> int:
    rows = [row for row in _rows(arguments.deleted) if set(arguments.tags) <= set(row["tags"])]
    if arguments.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
    elif not rows:
        print(_nothing(arguments))
    else:
        _print(rows, deleted=arguments.deleted)
    return 0


def _nothing(arguments: argparse.Namespace) -> str:
    if arguments.deleted:
        return "the trash is empty"
    return "no run has that tag" if arguments.tags else "no runs yet: `sizewise quickstart` makes the first"


def _print(rows: list[dict[str, Any]], *, deleted: bool) -> None:
    """Columns that no run has anything for are left out."""
    from app.cli.tables import table

    header = ["run", "outcome", "measurement", "carries", "exit"]
    cells: list[list[Cell]] = [
        [row["run_id"], row["outcome"], row["verdict"] or row["state"], row["carries"], row["exit_code"]]
        for row in rows
    ]
    said = [(", ".join(row["tags"]), "; ".join(note["text"] for note in row["notes"])) for row in rows]
    columns = [("tags", [tags for tags, _ in said]), ("notes", [_short(notes) for _, notes in said])]
    if deleted:
        columns.append(("deleted", [row["deleted_at"] for row in rows]))
    for title, texts in columns:
        if any(texts):
            header.append(title)
            for line, text in zip(cells, texts, strict=True):
                line.append(text)
    print(table(header, cells))


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST_NOTE else f"{text[: _WIDEST_NOTE - 1]}…"


def _rows(deleted: bool) -> list[dict[str, Any]]:
    from app.storage.run_directory import stored_runs
    from app.storage.trash import deleted_runs

    if deleted:
        return [_row(one.run) | {"deleted_at": one.deleted_at.isoformat(timespec="seconds")} for one in deleted_runs()]
    return [_row(run) for run in stored_runs()]


def _row(run: StoredRun) -> dict[str, Any]:
    from app.reporting.carried import carried_words
    from app.reporting.verdict import verdict_of
    from app.storage.labels import read_labels

    row: dict[str, Any] = {
        "run_id": run.directory.name,
        "directory": str(run.directory),
        "name": None,
        "state": "done",
        "outcome": None,
        "verdict": None,
        "max_rate_per_s": None,
        "carries": None,
        "exit_code": None,
        "tags": (),
        "notes": (),
    }
    try:
        labels = read_labels(run.directory)
        row |= {"tags": labels.tags, "notes": [{"at": note.at, "text": note.text} for note in labels.notes]}
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
