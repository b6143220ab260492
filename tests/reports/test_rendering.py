from __future__ import annotations

import html
import json
import re
from xml.etree import ElementTree

import msgspec
import pandas as pd
import pytest
from hypothesis import given, settings
from markdown_it import MarkdownIt
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from app.records.result import Result
from app.reporting.report import build_report
from reports import formatting
from reports.model import PlanReport, Report
from reports.rendering import render
from tests.fakes.random_results import results
from tests.fakes.results import COMMAND, SPEC

_TERSE = ("text", "markdown")
_NO_TELEMETRY = pd.DataFrame(columns=["at_ns", "source", "metric", "value"])


def _report(result: Result) -> Report:
    stored = msgspec.json.encode(result).decode()
    return build_report(result, pd.DataFrame(), _NO_TELEMETRY, SPEC, COMMAND, stored)


def _plain(text: str) -> str:
    return " ".join(text.replace(formatting.THIN_SPACE, " ").split())


def _read_html(page: str) -> str:
    body = re.sub(r"(?s)<(script|style|svg).*?</\1>", "", page)
    return _plain(
        html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"<(?=/?(td|th|p|li|dd|dt|span class=\"fine)\b)", " <", body)))
    )


def _read_markdown(markdown: str) -> str:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    return _plain(" ".join("".join(part.content for part in token.children or []) for token in tokens))


@settings(max_examples=60)
@given(results())
def test_every_format_shows_numbers_of_stored_result(result: Result) -> None:
    """Each number of result.json, rounded as it is formatted, is in the text, HTML, Markdown and JUnit reports, and
    to the last digit in the metrics."""
    report = _report(result)
    stored = msgspec.json.decode(report.result_json, type=Result)
    shown = {
        "text": _plain(render(report, "text")),
        "html": _read_html(render(report, "html")),
        "markdown": _read_markdown(render(report, "markdown")),
    }
    junit = [
        _plain(" ".join([*(element.get("message") or "" for element in case), *case.itertext()]))
        for case in ElementTree.fromstring(render(report, "junit")).iter("testcase")
    ]
    evaluated = (*stored.slo, *stored.gates)
    assert len(evaluated) == len(report.objectives)
    for evaluation, row in zip(evaluated, report.objectives, strict=True):
        assert (evaluation.observed.value, evaluation.observed.ci95, evaluation.outcome) == (
            row.observed.value, row.observed.ci95, row.outcome,
        )  # fmt: skip
        number = _plain(formatting.format_quantity(row.observed))
        assert f"{evaluation.outcome} {evaluation.objective.label}: {number}" in shown["text"]
        assert f"{evaluation.objective.label} {row.kind}" in shown["html"]
        assert number in shown["html"]
        assert number in shown["markdown"]
        assert f"observed {number}" in " ".join(junit)
    for tile in report.tiles:
        assert all(
            f"{tile.label} {_plain(formatting.format_quantity(tile.quantity))}" in shown[form] for form in _TERSE
        )
        assert f"{tile.label} {_plain(formatting.format_value_unit(tile.quantity))}" in shown["html"]
    for check in stored.validity:
        number = _plain(formatting.format_check_value(next(row for row in report.checks if row.id == check.id)))
        assert all(number in text for text in shown.values()) or check.verdict == "VALID"
        assert any(f"observed {number}" in case for case in junit)
    families = text_string_to_metric_families(render(report, "openmetrics"))
    samples = {
        (sample.name, sample.labels.get("objective")): sample.value for family in families for sample in family.samples
    }
    for evaluation in (*result.slo, *result.gates):
        assert samples.get(("sizewise_objective_observed", evaluation.objective.text)) == evaluation.observed.value
        assert samples["sizewise_objective_limit", evaluation.objective.text] == evaluation.objective.limit


def test_json_format_is_whole_report(full_report: Report) -> None:
    assert msgspec.json.decode(render(full_report, "json"), type=Report) == full_report
    assert json.loads(render(full_report, "json"))["header"]["run_id"] == full_report.header.run_id


@pytest.mark.parametrize("form", ["junit", "openmetrics"])
def test_junit_and_openmetrics_of_plan_are_refused(whole_plan_report: PlanReport, form: str) -> None:
    with pytest.raises(ValueError, match="a plan has no report in the format"):
        render(whole_plan_report, form)
