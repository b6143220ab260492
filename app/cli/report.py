"""Render the report of a stored run again from its facts, or that of a plan file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import UsageError

if TYPE_CHECKING:
    from app.storage.run_directory import StoredRun
    from reports.model import Definitions, PlanReport, Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run directory, a run id or its beginning, 'last', or a plan file")
    parser.add_argument("--format", choices=["html", "json", "text"], help="default: html")
    parser.add_argument(
        "--definitions",
        action="store_true",
        help="what vLLM, GuideLLM, AIPerf, genai-bench and inference-perf would print of the same requests: as a table "
        "to standard output, or with --format in the report",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="default: report.html or report.json in the run directory, or beside the plan file by its name; text goes "
        "to standard output",
    )


def execute(arguments: argparse.Namespace) -> int:
    from app.storage.plan_file import is_plan_file
    from app.storage.run_directory import find_run

    if is_plan_file(Path(arguments.run)):
        return _execute_plan(arguments)
    run = find_run(arguments.run)
    only_definitions = arguments.definitions and arguments.format is None
    form = "text" if only_definitions else arguments.format or "html"
    content = _definitions_of(run) if only_definitions else _rendered(_report(run, arguments.definitions), form)
    return _deliver(content, form, arguments.out, _usual_path(run, form))


def _execute_plan(arguments: argparse.Namespace) -> int:
    from app.reporting.plan import plan_report
    from app.storage.plan_file import read_plan

    path = Path(arguments.run)
    if arguments.definitions:
        raise UsageError(f"{path} is a plan, and holds no request to compare definitions by", hint="Give a run.")
    file = read_plan(path)
    form = arguments.format or "html"
    report = plan_report(file.plan, file.question, file.tool, f"sizewise plan {path.name}")
    return _deliver(_rendered_plan(report, form), form, arguments.out, path.with_suffix(f".{form}"))


def _rendered_plan(report: PlanReport, form: str) -> bytes:
    import msgspec

    from reports.html import render_plan_html
    from reports.text import render_plan

    if form == "json":
        return msgspec.json.encode(report)
    return (render_plan_html(report) if form == "html" else render_plan(report.plan)).encode()


def _deliver(content: bytes, form: str, out: Path | None, usual: Path) -> int:
    if form == "text" and out is None:
        print(content.decode())
        return 0
    print(_written(out or usual, content))
    return 0


def _report(run: StoredRun, with_definitions: bool) -> Report:
    import msgspec

    from app.cli.rendering import report_of

    report = report_of(run)
    return msgspec.structs.replace(report, definitions=_definitions(run)) if with_definitions else report


def _rendered(report: Report, form: str) -> bytes:
    import msgspec

    from reports.html import render_html
    from reports.text import render_text

    if form == "json":
        return msgspec.json.encode(report)
    return (render_html(report) if form == "html" else render_text(report)).encode()


def _definitions_of(run: StoredRun) -> bytes:
    from reports.definitions import render_definitions

    return render_definitions(_definitions(run)).encode()


def _definitions(run: StoredRun) -> Definitions:
    """Raises UsageError for a run that sent no request."""
    from app.reporting.definitions import definitions

    found = definitions(run.requests(), run.measured)
    if found is None:
        raise UsageError(
            f"{run.directory} holds no request to compare definitions by",
            hint="Give a run that put load on an endpoint: `sizewise runs list` shows what there is.",
        )
    return found


def _usual_path(run: StoredRun, form: str) -> Path:
    from app.storage.run_directory import REPORT_HTML, REPORT_JSON

    return run.directory / (REPORT_HTML if form == "html" else REPORT_JSON)


def _written(path: Path, content: bytes) -> Path:
    from app.storage.run_directory import write_whole

    try:
        write_whole(path, content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="Choose another --out.") from error
    return path
