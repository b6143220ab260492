"""Render the report of a stored run, of a plan file or of another tool's result.

With `--slo`, `--from`, `--to` and `--recover`, a stored run is re-evaluated from its data. With
`--redact hosts,models,prompts`, names are redacted for readers who may see only the numbers.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from app.cli.commands import Command, CommandOption
from app.cli.options import complete_runs, out_option
from app.cli.streams import warn
from app.errors import ExitCode, UsageError
from reports.formats import FORMATS_BY_ID, REPORT_FORMATS

if TYPE_CHECKING:
    from app.records.result import Result
    from app.reporting.redaction import RedactedKind, RedactedReport
    from app.storage.run_directory import StoredRun
    from reports.model import Definitions, PlanReport, Report


_EVALUATION_EXIT_CODES = (ExitCode.INVALID, ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE)


class EvaluationOptions(NamedTuple):
    """Options that evaluate a stored run again."""

    slo: tuple[str, ...]
    from_s: str | None
    to_s: str | None
    recover: bool


class ReportOptions(NamedTuple):
    """Options of the report that is written."""

    format: str | None
    definitions: bool
    out: Path | None
    report_only: bool
    redact: tuple[RedactedKind, ...] | None


def requests_recomputation(evaluation: EvaluationOptions) -> bool:
    return requests_reevaluation(evaluation) or evaluation.recover


def requests_reevaluation(evaluation: EvaluationOptions) -> bool:
    return bool(evaluation.slo) or evaluation.from_s is not None or evaluation.to_s is not None


def reevaluate_if_requested(run: StoredRun, evaluation: EvaluationOptions) -> tuple[Report, Result, int]:
    """Return the report and the result of a stored run, re-evaluated if requested, and the exit
    code of the command: the exit code of the re-evaluation, or 0 without a re-evaluation."""
    from app.reporting.opened import load_run

    opened_run = load_run(run, recover=evaluation.recover)
    if not requests_reevaluation(evaluation):
        return opened_run.report(), opened_run.result, 0
    result = opened_run.reevaluate(
        evaluation.slo or None, _parse_window(evaluation, opened_run.result.clock.duration_s)
    )
    exit_codes = [cause.code for cause in result.exit.causes if cause.code in _EVALUATION_EXIT_CODES]
    return opened_run.report(result), result, exit_codes[0] if exit_codes else 0


def refuse_reevaluation(evaluation: EvaluationOptions, subject: str) -> None:
    if requests_recomputation(evaluation):
        raise UsageError(
            f"{subject} cannot be re-evaluated",
            hint="Remove --slo, --from, --to and --recover, or request a report of a run's own metrics.",
        )


def build_reevaluated_name(name: str) -> str:
    """Return the file name of a re-evaluated report, such as report-reevaluated.html for
    report.html, so that the original report is not overwritten."""
    path = Path(name)
    return f"{path.stem}-reevaluated{path.suffix}"


def _parse_window(evaluation: EvaluationOptions, duration_s: float) -> tuple[float, float] | None:
    if evaluation.from_s is None and evaluation.to_s is None:
        return None
    from_s = 0.0 if evaluation.from_s is None else _parse_seconds(evaluation.from_s, "--from")
    return from_s, duration_s if evaluation.to_s is None else _parse_seconds(evaluation.to_s, "--to")


def _parse_seconds(text: str, option: str) -> float:
    from app.profiles.problems import BadValueError
    from app.profiles.units import parse_duration_s

    try:
        return parse_duration_s(text)
    except BadValueError as error:
        raise UsageError(f"{option}: {error}", hint=error.hint) from None


_REDACTED_KINDS = ("hosts", "models", "prompts")  # as in app.reporting.redaction, which takes too long to import here


def redact_report(report: Report, result: Result, kinds: tuple[RedactedKind, ...] | None) -> RedactedReport | None:
    """Redact a report, and list the redactions on standard error. Return `None` if no redaction
    was requested."""
    if kinds is None:
        return None
    from app.reporting.redaction import redact

    redacted_report = redact(report, result, kinds)
    for redaction in redacted_report.redactions:
        count_text = "once" if redaction.occurrences == 1 else f"{redaction.occurrences} times"
        print(f"redacted: {redaction.original} → {redaction.replacement}, {count_text}", file=sys.stderr)
    for kind in kinds:
        if kind not in redacted_report.report.redacted:
            print(f"the report contains no {kind} to redact", file=sys.stderr)
    return redacted_report


def refuse_redaction(kinds: tuple[RedactedKind, ...] | None, subject: str) -> None:
    if kinds is not None:
        raise UsageError(f"{subject} has no names to redact", hint="Remove --redact, or specify a run.")


def build_redacted_name(name: str) -> str:
    """Return the file name of a redacted report, such as report-redacted.html for report.html, so
    that the original report is not overwritten."""
    path = Path(name)
    return f"{path.stem}-redacted{path.suffix}"


def _parse_redacted_kinds(text: str) -> tuple[RedactedKind, ...]:
    requested_kinds = [kind.strip() for kind in text.split(",")]
    unknown_kind = next((kind for kind in requested_kinds if kind not in _REDACTED_KINDS), None)
    if unknown_kind is not None:
        raise click.BadParameter(f"{unknown_kind!r} is not one of {', '.join(_REDACTED_KINDS)}")
    return tuple(kind for kind in _REDACTED_KINDS if kind in requested_kinds)  # type: ignore[misc]


_LLM_D = "llm-d"


def _report(run: str, evaluation: EvaluationOptions, options: ReportOptions) -> int:
    from app.storage.plan_file import is_plan_file
    from app.storage.run_directory import find_run

    if is_plan_file(Path(run)):
        return _execute_plan(Path(run), evaluation, options)
    if _is_foreign_result(Path(run)):
        return _execute_imported_result(Path(run), evaluation, options)
    stored_run = find_run(run)
    if requests_recomputation(evaluation):
        return _execute_recomputed(stored_run, evaluation, options)
    if options.definitions and not _has_definitions(options.format):
        raise UsageError(f"{options.format} cannot show other tools' definitions", hint="Remove --format.")
    if options.format == _LLM_D:
        return _write_llm_d_reports(stored_run, options)
    if options.definitions and options.format is None:
        refuse_redaction(options.redact, "a table of other tools' definitions")
        return _write_or_print(_render_definitions(stored_run), "text", options.out, stored_run.directory)
    return _execute_run(stored_run, options)


def _execute_run(run: StoredRun, options: ReportOptions) -> int:
    format_id: str = options.format or "html"
    report = _build_report(run, options.definitions)
    redacted_report = redact_report(report, run.complete_result, options.redact)
    default_path = run.directory / FORMATS_BY_ID[format_id].file
    if redacted_report is not None:
        report, default_path = redacted_report.report, default_path.with_name(build_redacted_name(default_path.name))
    if FORMATS_BY_ID[format_id].has_linked_files and not options.report_only:
        report = _add_sidecars(report, run, options.out or default_path, redacted_report)
    content = _render(report, format_id)
    if options.out is None and format_id != "text" and redacted_report is None:
        return _write_in_run_directory(run.directory, format_id, content, report)
    return _write_or_print(content, format_id, options.out, default_path)


def _execute_recomputed(run: StoredRun, evaluation: EvaluationOptions, options: ReportOptions) -> int:
    """Re-evaluate or recover a run, and write the report. By default, a re-evaluated report is
    written to a separate file, and the report of a recovered run replaces the original report."""
    format_id: str = options.format or "html"
    if options.definitions or format_id == _LLM_D:
        refuse_reevaluation(evaluation, "a report with the metrics of other tools")
    report, result, exit_code = reevaluate_if_requested(run, evaluation)
    redacted_report, name = redact_report(report, result, options.redact), FORMATS_BY_ID[format_id].file
    name = build_reevaluated_name(name) if requests_reevaluation(evaluation) else name
    if redacted_report is not None:
        report, name = redacted_report.report, build_redacted_name(name)
    _write_or_print(_render(report, format_id), format_id, options.out, run.directory / name)
    return exit_code


def _write_in_run_directory(directory: Path, format_id: str, content: bytes, report: Report) -> int:
    """Write the report into the run directory, and update the checksums of the report and the files
    that accompany it."""
    from app.storage.checksums import update_checksum
    from app.storage.run_directory import write_document

    report_name = FORMATS_BY_ID[format_id].file
    print(write_document(directory / report_name, content))
    for name in (report_name, *(download.name for download in report.downloads)):
        update_checksum(directory, name)
    return 0


def _execute_plan(path: Path, evaluation: EvaluationOptions, options: ReportOptions) -> int:
    import msgspec

    from app.reporting.plan import build_plan_report
    from app.wiring.plan_files import read_plan

    format_id: str = options.format or "html"
    refuse_reevaluation(evaluation, f"{path} is a plan and")
    refuse_redaction(options.redact, f"{path} is a plan and")
    if options.definitions:
        raise UsageError(
            f"{path} is a plan, which has no requests to apply other definitions to", hint="Specify a run."
        )
    plan_file = read_plan(path)
    plan = msgspec.structs.replace(plan_file.plan, notes=(*plan_file.notes, *plan_file.plan.notes))
    report = build_plan_report(plan, plan_file.inputs, plan_file.tool, f"sizewise plan {path.name}")
    try:
        content = _render(report, format_id)
    except ValueError as error:
        raise UsageError(f"{path}: {error}", hint="Specify a run, or choose another --format.") from error
    return _write_or_print(
        content, format_id, options.out, path.with_suffix(Path(FORMATS_BY_ID[format_id].file).suffix)
    )


def _is_foreign_result(path: Path) -> bool:
    """Return whether the path is a file, or a folder that is not a run directory.

    The file format is not checked: an unknown format is detected only when the file is read.
    """
    from app.storage.run_directory import EVENTS

    return path.is_file() or (path.is_dir() and not (path / EVENTS).exists())


def _execute_imported_result(path: Path, evaluation: EvaluationOptions, options: ReportOptions) -> int:
    refuse_reevaluation(evaluation, f"{path} is another tool's result and")
    if options.definitions or options.format == _LLM_D:
        raise UsageError(f"{path} is another tool's result, which has no requests", hint="Specify a run.")
    format_id: str = options.format or "html"
    report, result = _build_foreign_report(path)
    redacted_report, name = redact_report(report, result, options.redact), FORMATS_BY_ID[format_id].file
    if redacted_report is not None:
        report, name = redacted_report.report, build_redacted_name(name)
    return _write_or_print(_render(report, format_id), format_id, options.out, path.with_name(f"{path.stem}-{name}"))


def _build_foreign_report(path: Path) -> tuple[Report, Result]:
    """Build the report of a result file of another tool. Raises UsageError if the format of the
    file is unknown."""
    import msgspec

    from app.analysis.foreign_result import build_foreign_result
    from app.records.telemetry import TELEMETRY_SCHEMA
    from app.reporting.report import build_report
    from app.storage.foreign.reading import read_foreign
    from loadgen.records import REQUEST_SCHEMA

    result = build_foreign_result(read_foreign([path]))
    report = build_report(
        result,
        REQUEST_SCHEMA.empty_table(),
        TELEMETRY_SCHEMA.empty_table().to_pandas(),
        "",
        f"sizewise report {path.name}",
        msgspec.json.encode(result).decode(),
    )
    return msgspec.structs.replace(report, environment=()), result  # the file does not state the environment


def _write_llm_d_reports(run: StoredRun, options: ReportOptions) -> int:
    import msgspec

    from app.reporting.llm_d import build_llm_d_reports
    from app.storage.run_directory import write_document

    result, spec_text = run.complete_result, run.spec_text or ""
    redacted_report = (
        None if options.redact is None else redact_report(_build_report(run, False), result, options.redact)
    )
    if redacted_report is not None:
        result, spec_text = redacted_report.result, redacted_report.report.reproduce.spec_text
    reports = build_llm_d_reports(result, spec_text)
    if not reports:
        raise UsageError(f"{run.directory} has no load point", hint="Specify a run of an endpoint.")
    folder = options.out or run.directory / (_LLM_D if redacted_report is None else build_redacted_name(_LLM_D))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror}", hint="Choose another path with --out."
        ) from error
    for index, report in enumerate(reports):
        print(write_document(folder / f"{index:03d}.json", msgspec.json.format(msgspec.json.encode(report), indent=2)))
    return 0


def _has_definitions(format_id: str | None) -> bool:
    return format_id is None or (format_id in FORMATS_BY_ID and FORMATS_BY_ID[format_id].has_definitions)


def _render(report: Report | PlanReport, format_id: str) -> bytes:
    """Render a report in the requested format. The text of a run's report contains marks, which
    `print_with_colors` replaces. Raises ValueError if the format is not supported for a plan."""
    from reports.model import Report
    from reports.rendering import render_document
    from reports.text import render_text

    if format_id == _LLM_D:
        raise ValueError(f"a plan cannot be written as {format_id} because it has no load point")
    if format_id == "text" and isinstance(report, Report):
        return render_text(report, with_marks=True).encode()
    try:
        return render_document(report, format_id, warn)
    except ValueError as error:
        if format_id != "pdf":
            raise
        raise UsageError(str(error), hint="Alternatively, print report.html from a browser.") from error


def _write_or_print(content: bytes, format_id: str, out: Path | None, default_path: Path) -> int:
    if format_id == "text" and out is None:
        from app.cli.colors import print_with_colors

        print_with_colors(content.decode())
        return 0
    from app.storage.run_directory import write_document
    from reports.marks import drop_marks

    content = drop_marks(content.decode()).encode() if format_id == "text" else content
    print(write_document(out or default_path, content))
    return 0


def _build_report(run: StoredRun, with_definitions: bool) -> Report:
    import msgspec

    from app.reporting.stored import build_stored_report

    report: Report = build_stored_report(run)
    return msgspec.structs.replace(report, definitions=_compute_definitions(run)) if with_definitions else report


def _add_sidecars(report: Report, run: StoredRun, page_path: Path, redacted_report: RedactedReport | None) -> Report:
    from app.reporting.sidecars import write_sidecars

    try:
        return write_sidecars(
            report, run.directory, page_path, None if redacted_report is None else redacted_report.build_replacer()
        )
    except OSError as error:
        raise UsageError(
            f"data files next to {page_path} cannot be written: {error.strerror}",
            hint="Choose another path with --out.",
        ) from error


def _render_definitions(run: StoredRun) -> bytes:
    from reports.definitions import render_definitions

    return render_definitions(_compute_definitions(run)).encode()


def _compute_definitions(run: StoredRun) -> Definitions:
    """Compute the metrics of a run as other tools define them. Raises UsageError for a run without
    requests."""
    from app.reporting.definitions import build_definitions

    definitions = build_definitions(run.requests(), run.complete_result)
    if definitions is None:
        raise UsageError(
            f"{run.directory} has no requests to apply other definitions to",
            hint="Specify a run of an endpoint. List the runs with `sizewise runs list`.",
        )
    return definitions


_FILE_NAMES = ", ".join(report_format.file for report_format in REPORT_FORMATS if report_format.file)
FORMAT_IDS = (*FORMATS_BY_ID, _LLM_D)
_REEVALUATION_SECTION = "Re-evaluation of a stored run"

COMMAND = Command(
    "report",
    _report,
    [
        click.Argument(
            ["run"],
            shell_complete=complete_runs,
            help="run directory, run ID or its prefix, 'last', plan file, or result of another tool",
        ),
        CommandOption(
            ["--format"],
            type=click.Choice(FORMAT_IDS),
            help="output format (default: html); pdf needs the pdf extra; llm-d writes a folder with a Benchmark "
            "Report per load point",
        ),
        CommandOption(
            ["--definitions"],
            is_flag=True,
            help="show the metrics as vLLM, GuideLLM, AIPerf, genai-bench and inference-perf define them: as a table "
            "on standard output, or in the report with --format",
        ),
        out_option(
            "FILE",
            f"output file (default: {_FILE_NAMES} or {_LLM_D} in the run directory, or next to the plan file; text is "
            "printed to standard output)",
        ),
        CommandOption(
            ["--report-only"],
            is_flag=True,
            help="write only the report file, without data files next to an html or json report",
        ),
        CommandOption(
            ["--redact"],
            type=_parse_redacted_kinds,
            metavar="WHAT",
            help="redact hosts, models or prompts (separate several with commas): names are replaced and request "
            "bodies are left out of the report and its data files; the run's own report is unchanged",
        ),
        CommandOption(
            ["--slo"],
            multiple=True,
            metavar="OBJECTIVE",
            section=_REEVALUATION_SECTION,
            help='re-evaluate the run with this SLO, like "latency_ms.p95 < 30", and set the exit code; repeatable',
        ),
        CommandOption(
            ["--from", "from_s"],
            metavar="TIME",
            section=_REEVALUATION_SECTION,
            help="evaluate only requests scheduled from this time after the start of the load, such as 10s",
        ),
        CommandOption(
            ["--to", "to_s"],
            metavar="TIME",
            section=_REEVALUATION_SECTION,
            help="evaluate only requests scheduled up to this time",
        ),
        CommandOption(
            ["--recover"],
            is_flag=True,
            section=_REEVALUATION_SECTION,
            help="report a run whose process was killed, from the data that it stored",
        ),
    ],
    documentation=__doc__,
    examples=(
        "sizewise report last",
        "sizewise report last --format markdown --out report.md",
        'sizewise report last --slo "latency_ms.p95 < 30"',
    ),
)
