from __future__ import annotations

import msgspec

from reports.charts.style import MAX_SERIES
from reports.charts.telemetry import build_telemetry_charts
from reports.model import Report


def test_one_chart_a_unit_and_none_for_what_was_never_read(full_report: Report) -> None:
    assert [drawing.key for drawing in build_telemetry_charts(full_report)] == ["busy", "cores", "memory"]


def test_clocks_and_temperature_of_a_gpu_are_charts_of_their_own(full_report: Report) -> None:
    one = next(series for series in full_report.telemetry if series.metric == "gpu_utilization_percent")
    clock = msgspec.structs.replace(one, metric="gpu_sm_clock_mhz", unit="MHz", values=(1410.0,) * len(one.values))
    heat = msgspec.structs.replace(one, metric="gpu_temperature_c", unit="°C")
    clocks, temperature = build_telemetry_charts(msgspec.structs.replace(full_report, telemetry=(clock, heat)))
    assert (clocks.key, temperature.key) == ("clocks", "temperature")
    assert clocks.alternative == "gpu0 has a mean of 1,410\u202fMHz and a maximum of 1,410\u202fMHz."


def test_the_hit_rate_of_a_prefix_cache_is_a_chart_beside_the_utilization(full_report: Report) -> None:
    one = next(series for series in full_report.telemetry if series.metric == "gpu_utilization_percent")
    hits = msgspec.structs.replace(
        one, metric="server_cache_hit_percent", source="server", values=(25.0, 75.0) + (None,) * (len(one.values) - 2)
    )
    busy, rate = build_telemetry_charts(msgspec.structs.replace(full_report, telemetry=(one, hits)))
    assert (busy.key, rate.key) == ("busy", "server-cache")
    assert rate.alternative == "prefix cache hits, server has a mean of 50.0\u202f% and a maximum of 75.0\u202f%."


def test_many_gpus_leave_the_chart_readable_and_the_table_whole(full_report: Report) -> None:
    one = next(series for series in full_report.telemetry if series.metric == "gpu_utilization_percent")
    gpus = tuple(msgspec.structs.replace(one, source=f"gpu{index}") for index in range(8))
    (drawing,) = build_telemetry_charts(msgspec.structs.replace(full_report, telemetry=gpus))
    (values,) = drawing.spec["datasets"].values()
    assert len({value["series"] for value in values}) == MAX_SERIES
    assert len(drawing.rows) == 8
    assert drawing.note is not None
    assert drawing.note.endswith("2 more series are only in the table.")
    assert "not occupancy" in drawing.note


def test_one_reading_is_no_line(full_report: Report) -> None:
    once = tuple(
        msgspec.structs.replace(series, at_s=series.at_s[:1], values=series.values[:1])
        for series in full_report.telemetry
    )
    assert build_telemetry_charts(msgspec.structs.replace(full_report, telemetry=once)) == ()


def test_no_reading_no_chart(empty_report: Report) -> None:
    assert build_telemetry_charts(empty_report) == ()


def test_what_a_server_reports_are_charts_of_their_own(full_report: Report) -> None:
    one = full_report.telemetry[0]
    metrics = {
        "server_running_requests": "requests",
        "server_waiting_requests": "requests",
        "server_kv_cache_percent": "%",
        "server_cache_hit_percent": "%",
    }
    series = tuple(
        msgspec.structs.replace(one, source="vllm", metric=metric, unit=unit) for metric, unit in metrics.items()
    )
    requests, cache = build_telemetry_charts(msgspec.structs.replace(full_report, telemetry=series))
    assert [[row[0] for row in chart.rows] for chart in (requests, cache)] == [
        ["running, vllm", "waiting, vllm"], ["KV cache in use, vllm", "prefix cache hits, vllm"]
    ]  # fmt: skip
