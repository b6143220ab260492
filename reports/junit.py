"""The report as JUnit XML: the profile is the suite; its verdict, each SLO, gate and validity check is a case.

What a pipeline is told of a run, one by one: the verdict, each objective, each validity check, and
how it went.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal
from xml.etree import ElementTree

import msgspec

from reports import formatting
from reports.formatting import printable
from reports.model import CheckRow, ObjectiveRow, Report, ReportHeader, ReportVerdict, Trust

State = Literal["passed", "failed", "error", "open", "warned"]
"""`error`: the measurement itself; `open`: neither passed nor failed; `warned`: missed, and meant to warn only."""
Subject = Literal["run", "SLO", "gate", "validity"]
_FAILED = (10, 11, 12)
_OF_CHECKS: dict[Trust, State] = {"VALID": "passed", "WARN": "warned", "INVALID": "error"}


class Judgement(msgspec.Struct, frozen=True):
    """`detail` has the observed value with its interval, and the limit."""

    subject: Subject
    name: str
    state: State
    detail: str


def judgements(report: Report) -> Iterator[Judgement]:
    """The first is the run's own: `failed` or `error` exactly where the command did not end with 0."""
    yield Judgement("run", "verdict", _state_of_run(report.verdict), _told_of_run(report.verdict))
    for row in report.objectives:
        yield Judgement(row.kind, row.text, _state_of(row, report.verdict), _told_of(row, report.verdict))
    for check in report.checks:
        yield Judgement("validity", check.name, _OF_CHECKS[check.verdict], _told_of_check(check))


def _state_of_run(verdict: ReportVerdict) -> State:
    if verdict.exit_code:
        return "failed" if verdict.exit_code in _FAILED else "error"
    return "open" if verdict.outcome == "INCONCLUSIVE" else "passed"


def _told_of_run(verdict: ReportVerdict) -> str:
    reasons = "".join(f" {reason};" for reason in verdict.reasons).rstrip(";")
    return f"{verdict.outcome}, measurement {verdict.trust}: {verdict.sentence}{reasons}"


def _state_of(row: ObjectiveRow, verdict: ReportVerdict) -> State:
    if verdict.trust == "INVALID" or row.judgement == "INCONCLUSIVE":
        return "open"
    if row.judgement == "PASS":
        return "passed"
    return "failed" if row.level == "fail" else "warned"


def _told_of(row: ObjectiveRow, verdict: ReportVerdict) -> str:
    where = f" in {row.stage}" if row.stage else ""
    parts = [
        f"observed {formatting.quantity(row.observed)}{where}",
        f"limit {formatting.limit(row.limit)}",
        *([row.why] if row.why else []),
        *(["the measurement is INVALID"] if verdict.trust == "INVALID" else []),
        *(["warns only"] if row.level == "warn" else []),
    ]
    return "; ".join(parts)


def _told_of_check(check: CheckRow) -> str:
    limit = "" if check.limit is None else f"; limit {formatting.check_limit(check)}"
    hint = f"; {check.hint}" if check.hint else ""
    return f"observed {formatting.check_value(check)}{limit}{hint}"


_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENTS: dict[State, str] = {"failed": "failure", "error": "error", "open": "skipped", "warned": "skipped"}


def render_junit(report: Report) -> str:
    """A case that failed has a failure, one that tells of a bad measurement an error, one that is not settled or only
    warns is skipped; each with observed, interval and limit."""
    report = printable(report)
    found = list(judgements(report))
    counts = {
        "tests": len(found),
        "failures": sum(one.state == "failed" for one in found),
        "errors": sum(one.state == "error" for one in found),
        "skipped": sum(one.state in ("open", "warned") for one in found),
    }
    totals = {name: str(count) for name, count in counts.items()} | {"time": f"{report.header.duration_s:.3f}"}
    name = _clean(report.header.title)
    root = ElementTree.Element("testsuites", {"name": "sizewise", **totals})
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **totals, **_timestamp(report.header)})
    properties = ElementTree.SubElement(suite, "properties")
    for label, value in _properties(report):
        ElementTree.SubElement(properties, "property", {"name": _clean(label), "value": _clean(value)})
    for one in found:
        _add_case(suite, name, one)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def _add_case(suite: ElementTree.Element, name: str, one: Judgement) -> None:
    attributes = {"classname": f"{name}.{one.subject}", "name": _clean(one.name), "time": "0"}
    case = ElementTree.SubElement(suite, "testcase", attributes)
    detail = _clean(one.detail)
    element = _ELEMENTS.get(one.state)
    if element is None:
        ElementTree.SubElement(case, "system-out").text = detail
        return
    told = ElementTree.SubElement(case, element, {"message": detail})
    if element != "skipped":
        told.set("type", one.subject)
        told.text = detail


def _properties(report: Report) -> list[tuple[str, str]]:
    header = report.header
    facts = [("run", header.run_id), ("profile", header.profile_hash), ("tool", header.tool), ("target", header.target)]
    facts += [("hidden", ", ".join(report.hidden))] if report.hidden else []
    return [*facts, *((tile.label, formatting.quantity(tile.quantity)) for tile in report.tiles)]


def _timestamp(header: ReportHeader) -> dict[str, str]:
    """In UTC and without a zone, as the schema wants it."""
    try:
        started = datetime.fromisoformat(header.started).astimezone(UTC)
    except ValueError:
        return {}
    return {"timestamp": f"{started:%Y-%m-%dT%H:%M:%S}"}


def _clean(raw: str) -> str:
    """Without what XML 1.0 has no way to write; a thin space is a plain one."""
    return _NOT_XML.sub("\ufffd", raw).replace(formatting.THIN, " ")
