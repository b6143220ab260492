"""`runs list` and `runs show`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.cli.tables import Cell
    from app.cli.verbs import Verbs

_WIDEST_NOTE = 60


def add_verbs(verbs: Verbs) -> None:
    listing = verbs.add_parser("list", help="the stored runs, oldest first")
    listing.add_argument("--tag", dest="tags", action="append", default=[], metavar="TAG",
                         help="only those that have it (several: all of them)")  # fmt: skip
    listing.add_argument("--trust", choices=["VALID", "WARN", "INVALID"], help="only those so much to be trusted")
    listing.add_argument("--find", dest="words", action="append", default=[], metavar="WORDS",
                         help="only those that hold every word, in id, name, title, target, tags or notes")  # fmt: skip
    listing.add_argument("--deleted", action="store_true", help="those in the trash, the first deleted first")
    listing.set_defaults(act=_list)
    show = verbs.add_parser("show", help="the summary of one run")
    show.add_argument("run", help="a run directory, a run id or its beginning, or 'last'")
    show.set_defaults(act=_show)
    for verb in (listing, show):
        verb.add_argument("--json", action="store_true", help="print as JSON")


def _list(arguments: argparse.Namespace) -> int:
    rows = _rows(arguments)
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
    if arguments.words or arguments.trust:
        return "no run is so"
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
    columns = [
        ("title", [_short(row["title"] or "") for row in rows]),
        ("tags", [tags for tags, _ in said]),
        ("notes", [_short(notes) for _, notes in said]),
    ]
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


def _rows(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from msgspec import to_builtins

    from app.reporting.run_rows import deleted_rows, matching, run_rows

    asked = {"words": " ".join(arguments.words), "tags": arguments.tags, "trust": arguments.trust}
    if not arguments.deleted:
        return [to_builtins(row) for row in matching(run_rows().rows, **asked)]
    return [
        to_builtins(one.run) | {"deleted_at": one.deleted_at.isoformat(timespec="seconds")}
        for one in deleted_rows()
        if matching([one.run], **asked)
    ]


def _show(arguments: argparse.Namespace) -> int:
    from app.reporting.stored import report_of
    from app.storage.run_directory import find_run
    from reports.text import render_text

    run = find_run(arguments.run)
    if arguments.json and run.result_text is not None:
        _ = run.measured  # so that nobody parses the result of a damaged run
        print(run.result_text)
        return 0
    print(render_text(report_of(run)))
    return 0
