from __future__ import annotations

import msgspec

from reports.model import Report
from reports.sections.figure import MAX_SERIES, LineFigure
from reports.sections.telemetry import build_telemetry_figures


def _build(report: Report) -> dict[str, LineFigure]:
    figures = build_telemetry_figures(report)
    return {key: figure for key, figure in figures.items() if isinstance(figure, LineFigure)}


def test_telemetry_has_one_chart_per_sampled_unit(full_report: Report) -> None:
    assert [*_build(full_report)] == ["busy", "cores", "memory"]


def test_gpu_clocks_and_temperature_have_own_charts(full_report: Report) -> None:
    utilization = next(series for series in full_report.telemetry if series.metric == "gpu_utilization_percent")
    clock = msgspec.structs.replace(
        utilization, metric="gpu_sm_clock_mhz", unit="MHz", values=(1410.0,) * len(utilization.values)
    )
    heat = msgspec.structs.replace(utilization, metric="gpu_temperature_c", unit="°C")
    figures = _build(msgspec.structs.replace(full_report, telemetry=(clock, heat)))
    assert [*figures] == ["clocks", "temperature"]
    assert figures["clocks"].alternative == "gpu0 has a mean of 1,410\u202fMHz and a maximum of 1,410\u202fMHz."


def test_prefix_cache_hit_rate_has_own_chart(full_report: Report) -> None:
    utilization = next(series for series in full_report.telemetry if series.metric == "gpu_utilization_percent")
    hits = msgspec.structs.replace(
        utilization,
        metric="server_cache_hit_percent",
        source="server",
        values=(25.0, 75.0) + (None,) * (len(utilization.values) - 2),
    )
    figures = _build(msgspec.structs.replace(full_report, telemetry=(utilization, hits)))
    assert [*figures] == ["busy", "server-cache"]
    assert (
        figures["server-cache"].alternative
        == "prefix cache hits, server has a mean of 50.0\u202f% and a maximum of 75.0\u202f%."
    )


def test_chart_of_many_gpus_is_limited_and_table_is_complete(full_report: Report) -> None:
    utilization = next(series for series in full_report.telemetry if series.metric == "gpu_utilization_percent")
    gpus = tuple(msgspec.structs.replace(utilization, source=f"gpu{index}") for index in range(8))
    (drawing,) = _build(msgspec.structs.replace(full_report, telemetry=gpus)).values()
    assert len(drawing.lines) == MAX_SERIES
    assert len(drawing.rows) == 8
    assert drawing.note is not None
    assert drawing.note.endswith("2 more series are only in the table.")
    assert "not occupancy" in drawing.note


def test_single_sample_has_no_telemetry_chart(full_report: Report) -> None:
    once = tuple(
        msgspec.structs.replace(series, at_s=series.at_s[:1], values=series.values[:1])
        for series in full_report.telemetry
    )
    assert _build(msgspec.structs.replace(full_report, telemetry=once)) == {}


def test_run_without_telemetry_has_no_telemetry_chart(empty_report: Report) -> None:
    assert _build(empty_report) == {}


def test_server_metrics_have_own_charts(full_report: Report) -> None:
    any_series = full_report.telemetry[0]
    metrics = {
        "server_running_requests": "requests",
        "server_waiting_requests": "requests",
        "server_kv_cache_percent": "%",
        "server_cache_hit_percent": "%",
    }
    series = tuple(
        msgspec.structs.replace(any_series, source="vllm", metric=metric, unit=unit) for metric, unit in metrics.items()
    )
    requests, cache = _build(msgspec.structs.replace(full_report, telemetry=series)).values()
    assert [[row[0] for row in chart.rows] for chart in (requests, cache)] == [
        ["running, vllm", "waiting, vllm"], ["KV cache in use, vllm", "prefix cache hits, vllm"]
    ]  # fmt: skip
