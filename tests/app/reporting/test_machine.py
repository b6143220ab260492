from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from app.records.result import Result, WorkerData
from app.reporting import build_report
from app.reporting.machine import (
    build_telemetry_series,
    build_worker_rows,
    describe_clock,
    describe_workers,
    format_workers,
)
from app.reporting.rows import MAX_POINTS
from reports.html import render_html
from reports.model import Report
from reports.text import render_text
from tests.fakes.results import COMMAND, SPEC, START_NS, full_run

pytestmark = pytest.mark.usefixtures("pages_without_pictures")

HERE = WorkerData(0, "bench", 11, cpu_s=0.5, sent=100, max_lag_ms=2.0)
THERE = WorkerData(1, "other <b>", 12, cpu_s=0.25, sent=99, max_lag_ms=1.0, clock_residual_ms=0.2)
LOST = replace(THERE, worker=2, lost_ns=full_run().result.time_zero_ns + 12_000_000_000)


def shared(*workers: WorkerData) -> Result:
    """Every stage sent by these."""
    result = full_run().result
    return replace(result, stages=tuple(replace(stage, workers=workers) for stage in result.stages))


def without_charts(result: Result) -> Report:
    """Charts of rows and telemetry take most of the time of a page."""
    return build_report(result, full_run().rows[:0], full_run().telemetry[:0], SPEC, COMMAND, "{}")


def test_hosts_are_counted() -> None:
    assert format_workers(shared(HERE, THERE, LOST).stages) == "3 workers on 2 hosts (bench: 1, other <b>: 2)"
    assert format_workers(shared(HERE, replace(HERE, worker=1)).stages) == "2 workers on bench"
    assert "by 3 workers on 2 hosts" in str(describe_workers(shared(HERE, THERE, LOST).stages))


def test_of_one_worker_nothing_is_said() -> None:
    result = full_run().result
    assert format_workers(result.stages) is None
    assert build_worker_rows(result) == ()
    report = without_charts(result)
    assert "Workers" not in render_text(report)
    assert "Load workers" not in render_html(report)


def test_clocks_are_reported_with_how_well_they_are_known() -> None:
    assert describe_clock(shared(HERE).stages) == "All times use one monotonic clock"
    assert describe_clock(shared(HERE, THERE).stages).endswith("with an error of at most 0.200\u202fms")


def test_each_has_a_row_in_text_and_page() -> None:
    result = shared(HERE, LOST)
    measured = [stage for stage in result.stages if stage.kind != "warmup" and not stage.is_pooled]
    rows = build_worker_rows(result)
    assert [(row.host, row.sent, row.lost_s) for row in rows] == [
        ("bench", 100 * len(measured), None), ("other <b>", 99 * len(measured), 12.0),
    ]  # fmt: skip
    report = without_charts(result)
    text = " ".join(render_text(report).split())
    assert "max clock error 0.200 ms; disconnected at 12.0 s" in text
    assert [row.cpu.value is None for row in rows] == [False, True], "what a lost worker used is not known"
    assert "CPU time" not in text.partition("worker 2 on")[2].partition("max send lag")[0]
    page = render_html(report)
    assert "other &lt;b&gt;" in page
    assert "same clock as the run" in page
    assert "at 12.0" in page


def test_series_are_bounded_and_in_the_catalogues_order() -> None:
    series = build_telemetry_series(full_run(gpu=True).telemetry, START_NS)
    assert [(one.source, one.metric) for one in series][:2] == [
        ("host", "host_cpu_percent"), ("host", "host_memory_gib"),
    ]  # fmt: skip
    assert all(len(one.at_s) == len(one.values) <= MAX_POINTS for one in series)


def test_what_could_not_be_read_is_none_and_not_zero() -> None:
    power = next(
        one for one in build_telemetry_series(full_run(gpu=True).telemetry, START_NS) if one.metric == "gpu_power_w"
    )
    assert set(power.values) == {None}


def test_a_point_is_the_mean_of_its_bin_at_the_bins_middle() -> None:
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


def test_many_cores_are_one_series_of_the_busiest() -> None:
    frame = pd.DataFrame(
        {
            "at_ns": [START_NS, START_NS, START_NS, START_NS + 10**9],
            "source": ["host/core0", "host/core1", "host", "host/core1"],
            "metric": ["core_cpu_percent", "core_cpu_percent", "host_cpu_percent", "core_cpu_percent"],
            "value": [10.0, 90.0, 50.0, 30.0],
        }
    )
    series = build_telemetry_series(frame.astype({"source": "category", "metric": "category"}), START_NS)
    assert [(one.source, one.values) for one in series] == [("host", (50.0,)), ("busiest core", (90.0, 30.0))]


def test_a_metric_the_catalogue_does_not_know_is_left_out() -> None:
    frame = pd.DataFrame({"at_ns": [START_NS], "source": ["host"], "metric": ["fan_rpm"], "value": [1.0]})
    assert build_telemetry_series(frame, START_NS) == ()


def counters(source: str, cached: list[float], tokens: list[float]) -> pd.DataFrame:
    """Readings of the two counters, one second apart."""
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


def test_the_hit_rate_of_a_prefix_cache_is_that_of_each_interval() -> None:
    """Intervals of two seconds: 30 of 100 tokens, none at all, 90 of 100, and a server that began anew."""
    frame = counters("server", [0, 0, 30, 30, 30, 30, 120, 120, 5], [0, 50, 100, 100, 100, 100, 200, 200, 20])
    frame = pd.concat([frame, counters("other", [1, 2, 3], [0, 0, 0]), counters("third", [0, 0, 0], [])])
    rates = {
        one.source: one
        for one in build_telemetry_series(frame.astype({"source": str, "metric": str}), START_NS)
        if one.metric == "server_cache_hit_percent"
    }
    assert rates["server"].values == (30.0, None, 90.0, None)
    assert rates["server"].unit == "%"
    assert rates["server"].at_s[1] - rates["server"].at_s[0] == pytest.approx(2, abs=0.3)
    assert rates["other"].values == (None,)
    assert "third" not in rates
