from __future__ import annotations

import msgspec

from reports.charts.concurrency import build_concurrency_charts
from reports.charts.picture import render_svg
from reports.model import Report


def test_concurrency_charts_show_latency_and_throughput_by_clients(clients_report: Report) -> None:
    times, rates = build_concurrency_charts(clients_report)
    assert [row[0] for row in times.rows] == ["1", "2", "4", "8", "16", "32"]
    assert times.alternative.startswith("p50 changes from 19.7")
    assert "at 32." in rates.alternative
    assert "Concurrency" in render_svg(times)
    assert render_svg(rates) == render_svg(rates)


def test_single_concurrency_has_no_concurrency_charts(clients_report: Report, full_report: Report) -> None:
    single_stage_report = msgspec.structs.replace(clients_report, stages=clients_report.stages[:1])
    assert build_concurrency_charts(single_stage_report) == ()
    assert build_concurrency_charts(full_report) == ()
