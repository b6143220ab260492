from __future__ import annotations

import numpy as np
import pandas as pd

from app.reporting.rows import MAX_POINTS
from app.reporting.telemetry import telemetry_series
from tests.fakes.results import START_NS, full_run


def test_series_are_bounded_and_in_the_catalogues_order() -> None:
    series = telemetry_series(full_run(gpu=True).telemetry, START_NS)
    assert [(one.source, one.metric) for one in series][:2] == [
        ("host", "host_cpu_percent"), ("host", "host_memory_gib"),
    ]  # fmt: skip
    assert all(len(one.at_s) == len(one.values) <= MAX_POINTS for one in series)


def test_what_could_not_be_read_is_none_and_not_zero() -> None:
    power = next(one for one in telemetry_series(full_run(gpu=True).telemetry, START_NS) if one.metric == "gpu_power_w")
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
    (series,) = telemetry_series(frame, START_NS)
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
    series = telemetry_series(frame.astype({"source": "category", "metric": "category"}), START_NS)
    assert [(one.source, one.values) for one in series] == [("host", (50.0,)), ("busiest core", (90.0, 30.0))]


def test_a_metric_the_catalogue_does_not_know_is_left_out() -> None:
    frame = pd.DataFrame({"at_ns": [START_NS], "source": ["host"], "metric": ["fan_rpm"], "value": [1.0]})
    assert telemetry_series(frame, START_NS) == ()
