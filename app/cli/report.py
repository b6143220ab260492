"""Render the report of a stored run again from its facts, or that of a plan file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.report_again import add_arguments as add_again
from app.cli.report_again import is_asked, is_judged_again, refuse_for_others, report_again, rescored_name
from app.cli.report_hidden import add_arguments as add_hiding
from app.cli.report_hidden import hidden_name, hidden_of, refuse_hiding
from app.cli.streams import warn
from app.errors import UsageError

if TYPE_CHECKING:
    from app.reporting.hiding import Hidden
    from app.storage.run_directory import StoredRun
    from reports.model import Definitions, PlanReport, Report

_LLM_D, _PDF = "llm-d", "pdf"
_WITH_FILES = ("html", "json")
"""Formats that tell of what lies beside them."""
_WITH_DEFINITIONS = (None, "html", "json", "text")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", help="a run directory, a run id or its beginning, 'last', a plan file, or another tool's result"
    )
    parser.add_argument(
        "--format",
        choices=["html", "json", "text", "markdown", "junit", "openmetrics", _PDF, _LLM_D],
        help="default: html; pdf takes the extra of that name; llm-d is a folder with a Benchmark Report of each load "
        "point",
    )
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
        help="default: report.html, report.json, report.pdf, summary.md, junit.xml, metrics.prom or llm-d in the run "
        "directory, or beside the plan file by its name; text goes to standard output",
    )
    add_again(parser)
    add_hiding(parser)


def execute(arguments: argparse.Namespace) -> int:
    from app.cli.report_foreign import is_foreign
    from app.storage.plan_file import is_plan_file
    from app.storage.run_directory import find_run

    if is_plan_file(Path(arguments.run)):
        return _execute_plan(arguments)
    if is_foreign(Path(arguments.run)):
        return _execute_foreign(arguments)
    run = find_run(arguments.run)
    if is_asked(arguments):
        return _execute_again(run, arguments)
    if arguments.definitions and arguments.format not in _WITH_DEFINITIONS:
        raise UsageError(f"{arguments.format} has no place for other tools' definitions", hint="Leave out --format.")
    if arguments.format == _LLM_D:
        return _execute_llm_d(run, arguments)
    if arguments.definitions and arguments.format is None:
        refuse_hiding(arguments, "a table of what other tools would print")
        return _deliver(_definitions_of(run), "text", arguments.out, run.directory)
    return _execute_run(run, arguments)


def _execute_run(run: StoredRun, arguments: argparse.Namespace) -> int:
    form: str = arguments.format or "html"
    report = _report_of(run, arguments.definitions)
    hidden = hidden_of(report, run.measured, arguments)
    usual = run.directory / _file_name(form)
    if hidden is not None:
        report, usual = hidden.report, usual.with_name(hidden_name(usual.name))
    if form in _WITH_FILES and not arguments.alone:
        report = _beside(report, run, arguments.out or usual, hidden)
    content = _content(report, form)
    if arguments.out is None and form != "text" and hidden is None:
        return _execute_in(run.directory, form, content, report)
    return _deliver(content, form, arguments.out, usual)


def _execute_again(run: StoredRun, arguments: argparse.Namespace) -> int:
    """The run's own report is never written over."""
    form: str = arguments.format or "html"
    if arguments.definitions or form == _LLM_D:
        refuse_for_others(arguments, "what other tools would print")
    report, result, code = report_again(run, arguments)
    hidden, name = hidden_of(report, result, arguments), _file_name(form)
    name = rescored_name(name) if is_judged_again(arguments) else name
    if hidden is not None:
        report, name = hidden.report, hidden_name(name)
    _deliver(_content(report, form), form, arguments.out, run.directory / name)
    return code


def _execute_in(directory: Path, form: str, content: bytes, report: Report) -> int:
    """Written beside the facts, where the checksums tell of it."""
    from app.storage.checksums import renew_checksum
    from app.storage.run_directory import write_document

    name_of_it = _file_name(form)
    print(write_document(directory / name_of_it, content))
    for name in (name_of_it, *(one.name for one in report.downloads)):
        renew_checksum(directory, name)
    return 0


def _execute_plan(arguments: argparse.Namespace) -> int:
    from app.reporting.plan import plan_report
    from app.storage.plan_file import read_plan

    path = Path(arguments.run)
    form: str = arguments.format or "html"
    refuse_for_others(arguments, f"{path}, a plan,")
    refuse_hiding(arguments, f"{path}, a plan,")
    if arguments.definitions:
        raise UsageError(f"{path} is a plan, and holds no request to compare definitions by", hint="Give a run.")
    file = read_plan(path)
    report = plan_report(file.plan, file.question, file.tool, f"sizewise plan {path.name}")
    try:
        content = _content(report, form)
    except ValueError as error:
        raise UsageError(f"{path}: {error}", hint="Give a run, or another --format.") from error
    return _deliver(content, form, arguments.out, path.with_suffix(Path(_file_name(form)).suffix))


def _execute_foreign(arguments: argparse.Namespace) -> int:
    from app.cli.report_foreign import foreign_report

    path = Path(arguments.run)
    refuse_for_others(arguments, f"{path}, another tool's result,")
    if arguments.definitions or arguments.format == _LLM_D:
        raise UsageError(f"{path} is another tool's result, and holds no request of its own", hint="Give a run.")
    form: str = arguments.format or "html"
    report, result = foreign_report(path)
    hidden, name = hidden_of(report, result, arguments), _file_name(form)
    if hidden is not None:
        report, name = hidden.report, hidden_name(name)
    return _deliver(_content(report, form), form, arguments.out, path.with_name(f"{path.stem}-{name}"))


def _execute_llm_d(run: StoredRun, arguments: argparse.Namespace) -> int:
    import msgspec

    from app.reporting.llm_d import llm_d_reports
    from app.storage.run_directory import write_document

    result, spec_text = run.measured, run.spec_text or ""
    hidden = None if arguments.hide is None else hidden_of(_report_of(run, False), result, arguments)
    if hidden is not None:
        result, spec_text = hidden.result, hidden.report.reproduce.spec_text
    found = llm_d_reports(result, spec_text)
    if not found:
        raise UsageError(f"{run.directory} has no load point", hint="Give a run that put load on an endpoint.")
    folder = arguments.out or run.directory / (_LLM_D if hidden is None else hidden_name(_LLM_D))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}", hint="Choose another --out.") from error
    for place, report in enumerate(found):
        print(write_document(folder / f"{place:03d}.json", msgspec.json.format(msgspec.json.encode(report), indent=2)))
    return 0


def _content(report: Report | PlanReport, form: str) -> bytes:
    """Raises ValueError where a plan has no such format."""
    from reports.rendering import FORMATS, render

    if form == _PDF:
        return _pdf(report)
    known = next((one for one in FORMATS if one == form), None)
    if known is None:
        raise ValueError(f"a plan is not written as {form}: it has no load point")
    return render(report, known, warn).encode()


def _pdf(report: Report | PlanReport) -> bytes:
    from reports.pdf import render_pdf

    try:
        return render_pdf(report)
    except ValueError as error:
        raise UsageError(str(error), hint="Or print report.html from a browser.") from error


def _file_name(form: str) -> str:
    """Of a run directory; text is for a terminal."""
    from reports.rendering import FILES

    if form == _PDF:
        return "report.pdf"
    return next((name for known, name in FILES.items() if known == form), "")


def _deliver(content: bytes, form: str, out: Path | None, usual: Path) -> int:
    if form == "text" and out is None:
        print(content.decode())
        return 0
    from app.storage.run_directory import write_document

    print(write_document(out or usual, content))
    return 0


def _report_of(run: StoredRun, with_definitions: bool) -> Report:
    import msgspec

    from app.reporting.stored import report_of

    report: Report = report_of(run)
    return msgspec.structs.replace(report, definitions=_definitions(run)) if with_definitions else report


def _beside(report: Report, run: StoredRun, page: Path, hidden: Hidden | None) -> Report:
    from app.reporting.sidecars import with_sidecars

    try:
        return with_sidecars(report, run.directory, page, None if hidden is None else hidden.renaming())
    except OSError as error:
        raise UsageError(f"cannot write beside {page}: {error.strerror}", hint="Choose another --out.") from error


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
