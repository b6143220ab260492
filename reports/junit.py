"""The report as JUnit XML: the profile is the suite; its verdict, each SLO, gate and validity check is a case."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree

from reports import formatting
from reports.judgements import Judgement, State, judgements
from reports.model import Report, ReportHeader
from reports.printable import printable

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
