"""`report --hide hosts,models,prompts`: for whoever may see the numbers only."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import UsageError

if TYPE_CHECKING:
    from app.records.result import Result
    from app.reporting.hiding import Hidden, Kind
    from reports.model import Report

_KINDS = ("hosts", "models", "prompts")  # as app.reporting.hiding has them, whose import would cost too much here


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hide",
        type=_kinds,
        metavar="WHAT",
        help="hosts, models, prompts, or several with commas between: other words stand for those names, and what was "
        "sent is left out, in the report and all that it carries; the run's own report stays",
    )
    parser.add_argument(
        "--alone", action="store_true", help="the one file: without rows and tables beside an html or json report"
    )


def hidden_of(report: Report, result: Result, arguments: argparse.Namespace) -> Hidden | None:
    """None where nothing is to be hidden. Tells on standard error what was."""
    if arguments.hide is None:
        return None
    from app.reporting.hiding import hide

    found = hide(report, result, arguments.hide)
    for one in found.stand_ins:
        where = "once" if one.places == 1 else f"{one.places} times"
        print(f"hidden: {one.written} is {one.shown}, {where}", file=sys.stderr)
    for kind in arguments.hide:
        if kind not in found.report.hidden:
            print(f"nothing to hide: the report tells of no {kind}", file=sys.stderr)
    return found


def refuse_hiding(arguments: argparse.Namespace, what: str) -> None:
    if arguments.hide is not None:
        raise UsageError(f"{what} has no names to hide", hint="Leave out --hide, or give a run.")


def hidden_name(name: str) -> str:
    """Of the file beside the run's own: report.html, report-hidden.html."""
    path = Path(name)
    return f"{path.stem}-hidden{path.suffix}"


def _kinds(text: str) -> tuple[Kind, ...]:
    asked = [word.strip() for word in text.split(",")]
    unknown = next((word for word in asked if word not in _KINDS), None)
    if unknown is not None:
        raise argparse.ArgumentTypeError(f"{unknown!r} is none of {', '.join(_KINDS)}")
    return tuple(kind for kind in _KINDS if kind in asked)  # type: ignore[misc]
