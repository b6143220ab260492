"""Render a report as JUnit XML. The profile is the test suite; the verdict, each objective and
each validity check is a test case."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal
from xml.etree import ElementTree

import msgspec

from reports import formatting
from reports.formatting import sanitize
from reports.model import CheckRow, ObjectiveRow, Report, ReportHeader, ReportVerdict, Validity

State = Literal["passed", "failed", "error", "open", "warned"]
"""State of a test case: `error` if the measurement itself failed, `open` if the case neither passed
nor failed, `warned` if a limit was missed but can only warn."""
Subject = Literal["run", "SLO", "gate", "validity"]
_FAILED_EXIT_CODES = (10, 11, 12)
_CHECK_STATES: dict[Validity, State] = {"VALID": "passed", "WARN": "warned", "INVALID": "error"}


class CaseResult(msgspec.Struct, frozen=True):
    """Result of one test case. `detail` contains the observed value with its confidence interval,
    and the limit."""

    subject: Subject
    name: str
    state: State
    detail: str


def build_case_results(report: Report) -> Iterator[CaseResult]:
    """Yield the results of a report as test cases.

    The first case is the verdict of the run. Its state is `failed` or `error` if, and only if, the
    exit code of the command was not 0."""
    yield CaseResult("run", "verdict", _get_run_state(report.verdict), _format_run_detail(report.verdict))
    for row in report.objectives:
        yield CaseResult(
            row.kind, row.text, _get_objective_state(row, report.verdict), _format_objective_detail(row, report.verdict)
        )
    for check in report.checks:
        yield CaseResult("validity", check.name, _CHECK_STATES[check.verdict], _format_check_detail(check))


def _get_run_state(verdict: ReportVerdict) -> State:
    if verdict.exit_code:
        return "failed" if verdict.exit_code in _FAILED_EXIT_CODES else "error"
    return "open" if verdict.outcome == "INCONCLUSIVE" else "passed"


def _format_run_detail(verdict: ReportVerdict) -> str:
    reasons_text = "".join(f" {reason};" for reason in verdict.reasons).rstrip(";")
    return f"{verdict.outcome}, measurement {verdict.validity}: {verdict.sentence}{reasons_text}"


def _get_objective_state(row: ObjectiveRow, verdict: ReportVerdict) -> State:
    if verdict.validity == "INVALID" or row.outcome == "INCONCLUSIVE":
        return "open"
    if row.outcome == "PASS":
        return "passed"
    return "failed" if row.level == "fail" else "warned"


def _format_objective_detail(row: ObjectiveRow, verdict: ReportVerdict) -> str:
    location = f" in {row.stage}" if row.stage else ""
    detail_texts = [
        f"observed {formatting.format_quantity(row.observed)}{location}",
        f"limit {formatting.format_limit(row.limit)}",
        *([row.why] if row.why else []),
        *(["the measurement is INVALID"] if verdict.validity == "INVALID" else []),
        *(["warning only"] if row.level == "warn" else []),
    ]
    return "; ".join(detail_texts)


def _format_check_detail(check: CheckRow) -> str:
    limit_text = "" if check.limit is None else f"; limit {formatting.format_check_limit(check)}"
    hint_text = f"; {check.hint}" if check.hint else ""
    return f"observed {formatting.format_check_value(check)}{limit_text}{hint_text}"


_NON_XML_CHARACTERS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENTS: dict[State, str] = {"failed": "failure", "error": "error", "open": "skipped", "warned": "skipped"}


def render_junit(report: Report) -> str:
    """Render a report as JUnit XML. Each case states the observed value, its confidence interval
    and its limit.

    A failed case becomes a failure, and a failed measurement an error. An inconclusive case or a
    warning becomes skipped."""
    report = sanitize(report)
    cases = list(build_case_results(report))
    counts = {
        "tests": len(cases),
        "failures": sum(case.state == "failed" for case in cases),
        "errors": sum(case.state == "error" for case in cases),
        "skipped": sum(case.state in ("open", "warned") for case in cases),
    }
    totals = {suite_name: str(count) for suite_name, count in counts.items()} | {
        "time": f"{report.header.duration_s:.3f}"
    }
    suite_name = _clean_text(report.header.title)
    root_element = ElementTree.Element("testsuites", {"name": "sizewise", **totals})
    suite_element = ElementTree.SubElement(
        root_element, "testsuite", {"name": suite_name, **totals, **_build_timestamp(report.header)}
    )
    properties = ElementTree.SubElement(suite_element, "properties")
    for label, value in _list_properties(report):
        ElementTree.SubElement(properties, "property", {"name": _clean_text(label), "value": _clean_text(value)})
    for case in cases:
        _add_case(suite_element, suite_name, case)
    ElementTree.indent(root_element)
    return ElementTree.tostring(root_element, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def _add_case(suite_element: ElementTree.Element, suite_name: str, case: CaseResult) -> None:
    attributes = {"classname": f"{suite_name}.{case.subject}", "name": _clean_text(case.name), "time": "0"}
    case_element = ElementTree.SubElement(suite_element, "testcase", attributes)
    detail = _clean_text(case.detail)
    tag = _ELEMENTS.get(case.state)
    if tag is None:
        ElementTree.SubElement(case_element, "system-out").text = detail
        return
    outcome_element = ElementTree.SubElement(case_element, tag, {"message": detail})
    if tag != "skipped":
        outcome_element.set("type", case.subject)
        outcome_element.text = detail


def _list_properties(report: Report) -> list[tuple[str, str]]:
    header = report.header
    properties = [
        ("run", header.run_id),
        ("profile", header.profile_hash),
        ("tool", header.tool),
        ("target", header.target),
    ]
    properties += [("redacted", ", ".join(report.redacted))] if report.redacted else []
    return [*properties, *((tile.label, formatting.format_quantity(tile.quantity)) for tile in report.tiles)]


def _build_timestamp(header: ReportHeader) -> dict[str, str]:
    """Return the start of the run as a `timestamp` attribute in UTC without a time zone, as the
    schema requires; empty if the start cannot be parsed."""
    try:
        start_time = datetime.fromisoformat(header.started).astimezone(UTC)
    except ValueError:
        return {}
    return {"timestamp": f"{start_time:%Y-%m-%dT%H:%M:%S}"}


def _clean_text(raw: str) -> str:
    """Replace characters that XML 1.0 cannot represent, and replace thin spaces by normal
    spaces."""
    return _NON_XML_CHARACTERS.sub("\ufffd", raw).replace(formatting.THIN_SPACE, " ")
