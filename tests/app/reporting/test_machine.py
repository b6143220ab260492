from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from app.records.result import Result, WorkerData
from app.reporting.machine import (
    build_telemetry_series,
    build_worker_rows,
    describe_clock,
    describe_workers,
    format_workers,
)
from app.reporting.report import build_report
from app.reporting.rows import MAX_POINTS
from reports.html import render_html
from reports.model import Report
from reports.text import render_text
from tests.fakes.results import COMMAND, SPEC, START_NS, full_run

pytestmark = pytest.mark.usefixtures("pages_without_charts")

LOCAL_WORKER = WorkerData(0, "bench", 11, cpu_s=0.5, sent=100, max_lag_ms=2.0)
REMOTE_WORKER = WorkerData(1, "other <b>", 12, cpu_s=0.25, sent=99, max_lag_ms=1.0, clock_residual_ms=0.2)
LOST_WORKER = replace(REMOTE_WORKER, worker=2, lost_ns=full_run().result.time_zero_ns + 12_000_000_000)


def build_result_of_workers(*workers: WorkerData) -> Result:
    """Return a result in which these workers sent every stage."""
    result = full_run().result
    return replace(result, stages=tuple(replace(stage, workers=workers) for stage in result.stages))


def build_report_without_charts(result: Result) -> Report:
    """Return a report without rows and telemetry, because their charts take most of the time to render."""
    return build_report(result, full_run().rows[:0], full_run().telemetry[:0], SPEC, COMMAND, "{}")


def test_workers_are_counted_per_host() -> None:
    assert (
        format_workers(build_result_of_workers(LOCAL_WORKER, REMOTE_WORKER, LOST_WORKER).stages)
        == "3 workers on 2 hosts (bench: 1, other <b>: 2)"
    )
    assert (
        format_workers(build_result_of_workers(LOCAL_WORKER, replace(LOCAL_WORKER, worker=1)).stages)
        == "2 workers on bench"
    )
    assert "by 3 workers on 2 hosts" in str(
        describe_workers(build_result_of_workers(LOCAL_WORKER, REMOTE_WORKER, LOST_WORKER).stages)
    )


def test_report_of_a_single_worker_has_no_worker_section() -> None:
    result = full_run().result
    assert format_workers(result.stages) is None
    assert build_worker_rows(result) == ()
    report = build_report_without_charts(result)
    assert "Workers" not in render_text(report)
    assert "Load workers" not in render_html(report)


def test_clock_description_has_the_error_between_hosts() -> None:
    assert describe_clock(build_result_of_workers(LOCAL_WORKER).stages) == "All times use one monotonic clock"
    assert describe_clock(build_result_of_workers(LOCAL_WORKER, REMOTE_WORKER).stages).endswith(
        "with an error of at most 0.200\u202fms"
    )


def test_each_worker_has_a_row_in_text_and_html() -> None:
    result = build_result_of_workers(LOCAL_WORKER, LOST_WORKER)
    measured = [stage for stage in result.stages if stage.kind != "warmup" and not stage.is_pooled]
    rows = build_worker_rows(result)
    assert [(row.host, row.sent, row.lost_s) for row in rows] == [
        ("bench", 100 * len(measured), None), ("other <b>", 99 * len(measured), 12.0),
    ]  # fmt: skip
    report = build_report_without_charts(result)
    text = " ".join(render_text(report).split())
    assert "max clock error 0.200 ms; disconnected at 12.0 s" in text
    assert [row.cpu.value is None for row in rows] == [False, True], "the CPU time of a lost worker is unknown"
    assert "CPU time" not in text.partition("worker 2 on")[2].partition("max send lag")[0]
    page = render_html(report)
    assert "other &lt;b&gt;" in page
    assert "same clock as the run" in page
    assert "at 12.0" in page


def test_telemetry_series_are_bounded_and_in_catalog_order() -> None:
    series = build_telemetry_series(full_run(gpu=True).telemetry, START_NS)
    assert [(line.source, line.metric) for line in series][:2] == [
        ("host", "host_cpu_percent"), ("host", "host_memory_gib"),
    ]  # fmt: skip
    assert all(len(line.at_s) == len(line.values) <= MAX_POINTS for line in series)


def test_unreadable_telemetry_is_none_instead_of_zero() -> None:
    power = next(
        line for line in build_telemetry_series(full_run(gpu=True).telemetry, START_NS) if line.metric == "gpu_power_w"
    )
    assert set(power.values) == {None}


def test_telemetry_point_is_the_mean_of_its_bin() -> None:
    at_s = np.array([0.0, 0.1, 0.3])
    frame = pd.DataFrame(
        {
            "at_ns": (START_NS + at_s * 1e9).astype(np.int64),
            "source": "host",
            "metric": "host_cpu_percent",
            "value": [10.0, 20.0, 50.0],
        }
    )
    (series,) = build_telemetry_series(frame, START_NS)
    assert series.values == (15.0, 50.0)
    assert series.at_s == (0.125, 0.375)
    assert series.unit == "%"


def test_cores_are_one_series_of_the_busiest_core() -> None:
    frame = pd.DataFrame(
        {
            "at_ns": [START_NS, START_NS, START_NS, START_NS + 10**9],
            "source": ["host/core0", "host/core1", "host", "host/core1"],
            "metric": ["core_cpu_percent", "core_cpu_percent", "host_cpu_percent", "core_cpu_percent"],
            "value": [10.0, 90.0, 50.0, 30.0],
        }
    )
    series = build_telemetry_series(frame.astype({"source": "category", "metric": "category"}), START_NS)
    assert [(line.source, line.values) for line in series] == [("host", (50.0,)), ("busiest core", (90.0, 30.0))]


def test_unknown_telemetry_metric_is_omitted() -> None:
    frame = pd.DataFrame({"at_ns": [START_NS], "source": ["host"], "metric": ["fan_rpm"], "value": [1.0]})
    assert build_telemetry_series(frame, START_NS) == ()


def build_counter_readings(source: str, cached: list[float], tokens: list[float]) -> pd.DataFrame:
    """Return one reading per second of the two counters."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "at_ns": START_NS + 10**9 * np.arange(len(values)),
                    "source": source,
                    "metric": metric,
                    "value": np.array(values, np.float64),
                }
            )
            for metric, values in (("server_cached_tokens_total", cached), ("server_input_tokens_total", tokens))
        ],
        ignore_index=True,
    ).astype({"source": "category", "metric": "category"})


def test_prefix_cache_hit_rate_is_computed_per_interval() -> None:
    """The intervals of 2 s have 30 of 100 tokens, none, 90 of 100, and a server restart."""
    frame = build_counter_readings(
        "server", [0, 0, 30, 30, 30, 30, 120, 120, 5], [0, 50, 100, 100, 100, 100, 200, 200, 20]
    )
    frame = pd.concat(
        [frame, build_counter_readings("other", [1, 2, 3], [0, 0, 0]), build_counter_readings("third", [0, 0, 0], [])]
    )
    rates = {
        line.source: line
        for line in build_telemetry_series(frame.astype({"source": str, "metric": str}), START_NS)
        if line.metric == "server_cache_hit_percent"
    }
    assert rates["server"].values == (30.0, None, 90.0, None)
    assert rates["server"].unit == "%"
    assert rates["server"].at_s[1] - rates["server"].at_s[0] == pytest.approx(2, abs=0.3)
    assert rates["other"].values == (None,)
    assert "third" not in rates
