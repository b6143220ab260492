from __future__ import annotations

import pytest
from msgspec.structs import replace

from reports.html import render_html
from reports.markdown import render_markdown
from reports.model import PlanReport, Report, read_report
from reports.plan_section import ShapePlanRow, ShapePlanSection
from reports.rendering import render
from reports.text import render_text

STATEMENT = "Big 8B was not measured. Nothing that this run measured is part of this plan."


@pytest.fixture(scope="module")
def report(full_report: Report, empty_report: Report) -> Report:
    """Without charts, which take most of the time of a page."""
    assert full_report.plan is not None
    fleet = replace(full_report.plan.offers[0], offer="acme/g1.large", instances=3, basis="assumed")
    section = ShapePlanSection(
        model="Big 8B",
        statement=STATEMENT,
        peak_per_s=20.0,
        input_tokens=900.0,
        output_tokens=120.0,
        slo_labels=("p95 TTFT < 1000 ms",),
        rows=(ShapePlanRow(accelerator="l4", fleet=fleet),),
        notes=("A note on prices.",),
    )
    return replace(empty_report, shape_plan=section)


@pytest.mark.parametrize("renderer", [render_text, render_markdown, render_html])
def test_reports_show_that_shape_plan_uses_no_measurement(report: Report, renderer: object) -> None:
    assert callable(renderer)
    text = " ".join(renderer(report).split())
    for part in (STATEMENT, "900 input tokens", "acme/g1.large", "assumed", "A note on prices."):
        assert part in text
    assert "Big 8B" not in renderer(replace(report, shape_plan=None))


def test_html_report_links_to_shape_plan(report: Report) -> None:
    page = render_html(report)
    assert '<a href="#shape-plan">' in page
    assert '<section id="shape-plan">' in page
    assert '"#shape-plan"' not in render_html(replace(report, shape_plan=None))


def test_shape_plan_without_feasible_offer_is_reported(report: Report) -> None:
    assert report.shape_plan is not None
    bare = replace(report, shape_plan=replace(report.shape_plan, rows=()))
    assert "No offer meets the traffic and the SLO." in render_html(bare)
    assert "No offer meets the traffic and the SLO." in render_text(bare)
    assert "No offer meets the traffic and the SLO." in render_markdown(bare)


def test_shape_plan_survives_json_round_trip(report: Report) -> None:
    read = read_report(render(report, "json", lambda _: None))
    assert not isinstance(read, PlanReport)
    assert read.shape_plan == report.shape_plan
