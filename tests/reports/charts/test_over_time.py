from __future__ import annotations

import pytest
from msgspec.structs import replace

from reports.charts.over_time import build_latency_timeline_chart, build_rate_timeline_chart
from reports.model import Report


def test_in_a_closed_loop_nothing_is_offered(clients_report: Report, full_report: Report) -> None:
    closed, offered = build_rate_timeline_chart(clients_report), build_rate_timeline_chart(full_report)
    assert closed is not None
    assert offered is not None
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
def test_the_limit_is_drawn_where_it_is_of_the_times_shown(
    full_report: Report, metric: str, times: str, is_drawn: bool
) -> None:
    assert full_report.curve.limit is not None
    drawing = build_latency_timeline_chart(
        replace(full_report, times=times, curve=replace(full_report.curve, metric=metric))
    )
    assert drawing is not None
    assert ("SLO p95" in str(drawing.spec)) == is_drawn
