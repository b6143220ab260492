from __future__ import annotations

import msgspec

from reports.charts.figures import build_chart
from reports.charts.picture import Chart
from reports.model import Report
from reports.sections.distributions import build_cdf_figure


def build_cdf_chart(report: Report) -> Chart | None:
    figure = build_cdf_figure(report)
    return None if figure is None else build_chart("ecdf", figure)


def test_every_cdf_rises_from_0_to_100_percent(full_report: Report) -> None:
    drawing = build_cdf_chart(full_report)
    assert drawing is not None
    points = drawing.spec["datasets"][drawing.spec["layer"][0]["data"]["name"]]
    for distribution in full_report.distributions:
        percents = [point["y"] for point in points if point["series"] == distribution.label]
        assert percents[0] == 0
        assert percents[-1] == 100
        assert percents == sorted(percents)


def test_cdf_table_has_latency_by_share_of_responses(full_report: Report) -> None:
    drawing = build_cdf_chart(full_report)
    assert drawing is not None
    latency = [row for row in drawing.rows if row[0] == full_report.distributions[0].label]
    assert len(latency) == 20
    assert latency[-1][1] == "100\u202f%"
    assert drawing.alternative.startswith("Latency (from scheduled start) ranges from 1.")


def test_cdf_shows_slo_only_if_its_metric_is_drawn(full_report: Report) -> None:
    limited = build_cdf_chart(full_report)
    assert limited is not None
    assert len(limited.spec["layer"]) == 4
    other = msgspec.structs.replace(full_report.curve, metric="icl_ms")
    unlimited = build_cdf_chart(msgspec.structs.replace(full_report, curve=other))
    assert unlimited is not None
    assert len(unlimited.spec["layer"]) == 1


def test_single_response_has_no_cdf(full_report: Report, empty_report: Report) -> None:
    single_response = msgspec.structs.replace(full_report.distributions[0], n=1, share=(1.0,), ms=(5.0,))
    assert build_cdf_chart(msgspec.structs.replace(full_report, distributions=(single_response,))) is None
    assert build_cdf_chart(empty_report) is None
