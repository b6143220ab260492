from __future__ import annotations

import pytest
from msgspec.structs import replace

from reports.charts.figures import build_chart
from reports.charts.picture import Chart
from reports.model import Report, SteadyRow
from reports.quantity import Quantity
from reports.sections.timelines import build_timeline_figures


def _draw(key: str, report: Report) -> Chart:
    figure = build_timeline_figures(report)[key]
    assert figure is not None
    return build_chart(key, figure)


def test_rate_timeline_of_closed_loop_has_no_offered_rate(clients_report: Report, full_report: Report) -> None:
    closed, offered = _draw("rates", clients_report), _draw("rates", full_report)
    assert closed.title == "Request rate over time"
    assert closed.columns == ("Time (s)", "sent (req/s)", "completed (req/s)", "good (req/s)", "in flight")
    assert "requests were sent over" in closed.alternative
    assert offered.columns[1] == "offered (req/s)"
    assert "requests were offered over" in offered.alternative


@pytest.mark.parametrize(
    ("metric", "times", "is_drawn"),
    [
        ("latency_ms", "latency_ms", True),
        ("service_ms", "service_ms", True),
        ("service_ms", "latency_ms", False),
        ("tpot_ms", "latency_ms", False),
    ],
)
def test_slo_limit_is_drawn_only_on_chart_of_its_metric(
    full_report: Report, metric: str, times: str, is_drawn: bool
) -> None:
    assert full_report.curve.limit is not None
    drawing = _draw("latency", replace(full_report, times=times, curve=replace(full_report.curve, metric=metric)))
    assert ("SLO p95" in str(drawing.spec)) == is_drawn


def test_steady_state_is_shaded_on_both_timelines(full_report: Report) -> None:
    nothing = Quantity(value=None, unit="ms")
    row = SteadyRow(
        stage="chat", start_s=2, end_s=8, window_s=(12.0, 18.0), throughput=nothing, steady_throughput=nothing,
        p50=nothing, steady_p50=nothing, p95=nothing, steady_p95=nothing,
    )  # fmt: skip
    older = replace(row, window_s=None)  # of a report that does not have it
    for key in ("rates", "latency"):
        shaded, plain = (_draw(key, replace(full_report, steady=(steady_row,))) for steady_row in (row, older))
        assert [{"from": 12.0, "to": 18.0, "stage": "chat"}] in shaded.spec["datasets"].values()
        assert "shaded" in (shaded.note or "")
        assert "shaded" not in (plain.note or "")
        assert "steady state of" not in str(plain.spec)
