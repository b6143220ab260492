"""Classes of requests in a report, in each of its formats."""

from __future__ import annotations

import csv
import html
import io
import re
from typing import Any

import msgspec
import pytest

from app.reporting.report import build_report
from app.reporting.request_classes import build_class_section
from reports.html import render_html
from reports.markdown import render_markdown
from reports.model import Report
from reports.openmetrics import render_openmetrics
from reports.tables import build_tables
from reports.text import render_text
from reports.truncation import truncate_report
from tests.fakes.golden import assert_golden
from tests.fakes.request_classes import class_result
from tests.fakes.results import full_run

pytestmark = pytest.mark.usefixtures("pages_without_charts")


@pytest.fixture(scope="module")
def report() -> Report:
    return build_report_of(class_result())


def build_report_of(result: Any) -> Report:
    run = full_run()
    return build_report(result, run.rows.iloc[:0], run.telemetry.iloc[:0], "", "", "{}")


def test_request_class_has_a_row_per_stage_and_overview_of_the_headline(report: Report) -> None:
    section = report.classes
    assert section is not None
    assert [(row.name, row.stage) for row in section.rows] == [
        ("chat", "calm"), ("chat", "peak"), ("batch", "calm"), ("batch", "peak"),
    ]  # fmt: skip
    assert (section.stage, section.has_tokens) == ("peak", True)
    chat, batch = section.overview
    assert (chat.weight_share, chat.share.value, chat.requests, chat.failed) == (0.8, 0.8, 400, 0)
    assert (chat.has_slo, chat.meets_slo, batch.has_slo, batch.meets_slo) == (True, False, False, None)
    assert (chat.ttft_p95.value, batch.ttft_p95.value) == (15, 50)
    assert (chat.goodput.value, batch.goodput.value) == (0, 1), "goodput by its own limit, or by the SLO"
    assert [*section.rows_by_class] == ["chat", "batch"]


def test_run_without_classes_has_no_section_and_warm_ups_have_no_rows() -> None:
    result = full_run().result
    assert build_class_section(result, result.stages[-1], "latency_ms") is None
    with_warmup = class_result()
    first, last = with_warmup.stages
    with_warmup = msgspec.structs.replace(with_warmup, stages=(msgspec.structs.replace(first, kind="warmup"), last))
    section = build_class_section(with_warmup, None, "latency_ms")
    assert section is not None
    assert [row.stage for row in section.rows] == ["peak", "peak"]
    assert section.rows_by_class == {}, "the overview shows them"


def test_class_overview_uses_the_headline_stage_of_equal_names() -> None:
    result = class_result()
    first, last = result.stages
    repeated = msgspec.structs.replace(result, stages=(msgspec.structs.replace(first, name="peak"), last))
    section = build_class_section(repeated, last, "latency_ms")
    assert section is not None
    assert [(row.name, row.ttft_p95.value) for row in section.overview] == [("chat", 15), ("batch", 50)]


def test_text_report_compares_classes_and_names_them_in_objectives(report: Report) -> None:
    text = render_text(report)
    assert re.search(r"FAIL p95 TTFT \(chat\) < 10 ms: 15\.0 .*in peak", text)
    lines = text[text.index("Classes") :].splitlines()
    assert re.split(r"\s{2,}", lines[0])[:7] == ["Classes", "class", "SLO", "share", "weight", "n", "req/s"]
    assert re.split(r"\s{2,}", lines[1].strip())[:5] == ["chat", "missed", "80.0 %", "80.0 %", "400"]
    assert re.split(r"\s{2,}", lines[2].strip())[:5] == ["batch", "–", "20.0 %", "20.0 %", "100"]
    assert any(line.strip().startswith("in peak; times in ms") for line in lines)


def test_tiles_have_no_limits_of_single_classes(report: Report) -> None:
    limits = {tile.label: tile.limit for tile in report.tiles}
    assert limits["p95 TTFT"] is None
    assert limits["p95 latency"] is not None


def test_markdown_and_html_have_a_table_per_class(report: Report) -> None:
    markdown = render_markdown(report)
    assert "### Classes of requests\n\nIn peak:\n\n| class | share (weight) |" in markdown
    assert re.search(r"#### batch\n\n\| stage \|.*\n.*\n\| calm \| .*\n\| peak \|", markdown)
    page = render_html(report)
    captions = [html.unescape(caption) for caption in re.findall("<caption[^>]*>([^<]*)</caption>", page)]
    assert {"Classes of requests in peak", "Class chat", "Class batch"} <= set(captions)


def test_class_csv_has_numbers(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(build_tables(report)["classes"])))
    assert [(row["class"], row["stage"], row["meets_slo"]) for row in rows[:2]] == [
        ("chat", "calm", "true"), ("chat", "peak", "false"),
    ]  # fmt: skip
    numbers = float(rows[1]["ttft_p95_ms"]), float(rows[1]["goodput_share"]), rows[1]["cached_input_share"]
    assert numbers == (15, 0, "")


def test_openmetrics_has_metric_families_of_classes(report: Report) -> None:
    text = render_openmetrics(report)
    lines = [line for line in text.splitlines() if "_class_" in line and "_ci95_" not in line]
    assert_golden("metrics_of_classes.prom", "\n".join([*lines, ""]))
    assert "sizewise_class" not in render_openmetrics(msgspec.structs.replace(report, classes=None))


def test_hostile_class_names_are_escaped() -> None:
    """A result file can be edited by hand."""
    hostile = build_report_of(class_result(("<script>alert(1)</script>", "=1+1|x")))
    page = render_html(hostile)
    assert "<script>alert" not in page
    assert html.escape("<script>alert(1)</script>", quote=False) in page
    markdown = render_markdown(hostile)
    assert "<script>" not in markdown
    assert build_tables(hostile)["classes"].count("'=1+1|x") == 2


def test_class_rows_of_a_truncated_report_are_noted(report: Report) -> None:
    truncated = truncate_report(report, 3)
    assert truncated.classes is not None
    assert len(truncated.classes.rows) == 3
    assert "3 of 4 rows of classes" in truncated.notes[0]
