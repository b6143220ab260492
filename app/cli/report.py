"""Render the report of a stored run again from its facts."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run directory, a run id or its beginning, or 'last'")
    parser.add_argument("--format", choices=["html", "json", "text"], default="html")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="default: report.html or report.json in the run directory; text goes to standard output",
    )


def execute(arguments: argparse.Namespace) -> int:
    import msgspec

    from app.cli.rendering import report_of
    from app.storage.run_directory import REPORT_HTML, REPORT_JSON, find_run, write_whole
    from reports.html import render_html
    from reports.text import render_text

    run = find_run(arguments.run)
    report = report_of(run)
    if arguments.format == "text" and arguments.out is None:
        print(render_text(report))
        return 0
    content = {
        "html": lambda: render_html(report).encode(),
        "json": lambda: msgspec.json.encode(report),
        "text": lambda: render_text(report).encode(),
    }[arguments.format]()
    path = arguments.out or run.directory / (REPORT_HTML if arguments.format == "html" else REPORT_JSON)
    try:
        write_whole(path, content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="Choose another --out.") from error
    print(path)
    return 0
