from __future__ import annotations

import msgspec

from reports.charts.figures import build_chart
from reports.charts.picture import render_svg
from reports.model import Report
from reports.sections.concurrency import build_concurrency_figures


def test_concurrency_charts_show_latency_and_throughput_by_clients(clients_report: Report) -> None:
    figures = build_concurrency_figures(clients_report)
    times, rates = (build_chart(key, figure) for key, figure in figures.items() if figure is not None)
    assert [row[0] for row in times.rows] == ["1", "2", "4", "8", "16", "32"]
    assert times.alternative.startswith("p50 changes from 19.7")
    assert "at 32." in rates.alternative
    assert "Concurrency" in render_svg(times)
    assert render_svg(rates) == render_svg(rates)


def test_single_concurrency_has_no_concurrency_charts(clients_report: Report, full_report: Report) -> None:
    single_stage_report = msgspec.structs.replace(clients_report, stages=clients_report.stages[:1])
    assert build_concurrency_figures(single_stage_report) == {}
    assert build_concurrency_figures(full_report) == {}
