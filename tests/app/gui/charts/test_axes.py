from __future__ import annotations

import math

import numpy as np
import pytest

from app.gui.charts.axes import (
    Axis,
    format_clock,
    linear_ticks,
    log_tick_texts,
    log_ticks,
    percentile_text,
    percentile_ticks,
    tick_text,
)


@pytest.mark.parametrize(
    ("low", "high", "max_ticks", "expected"),
    [
        (0.0, 1250.0, 5, [0.0, 250.0, 500.0, 750.0, 1000.0, 1250.0]),
        (-1.0, 1.0, 4, [-1.0, -0.5, 0.0, 0.5, 1.0]),
        (0.0, 0.0, 5, []),
        (-1.0, 49.2, 2, [0.0, 20.0, 40.0]),
    ],
)
def test_linear_ticks_are_round(low: float, high: float, max_ticks: int, expected: list[float]) -> None:
    assert linear_ticks(low, high, max_ticks) == pytest.approx(expected)


def test_count_ticks_are_integers_and_clock_ticks_are_multiples_of_30_s() -> None:
    assert linear_ticks(0.5, 3.5, 10, is_count=True) == [1, 2, 3], "there is no run 1.5"
    assert linear_ticks(0, 300, 10, is_clock=True) == [30.0 * index for index in range(11)]


def test_log_ticks_are_round_values_and_at_most_as_many_as_requested() -> None:
    assert [round(10**tick) for tick in log_ticks(1, 4, 4)] == [10, 100, 1000, 10000]
    assert [round(10**tick) for tick in log_ticks(1, 3, 8)] == [10, 20, 50, 100, 200, 500, 1000]
    assert [round(10**tick) for tick in log_ticks(0, 12, 5)] == [1, 10**3, 10**6, 10**9, 10**12]
    assert [round(10**tick, 6) for tick in log_ticks(math.log10(40), math.log10(60), 4)] == [40, 45, 50, 55, 60]


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [(0.0, 1.0, "0"), (1500.0, 500.0, "1,500"), (2.5, 2.5, "2.5"), (0.25, 0.05, "0.25"), (-3.0, 1.0, "−3")],
)
def test_tick_text_has_enough_digits_for_its_step(value: float, step: float, text: str) -> None:
    assert tick_text(value, step) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1.25, 1.5, 1.75, 2.0], ["1.25", "1.50", "1.75", "2.00"]),
        ([10.2, 10.4, 10.6], ["10.2", "10.4", "10.6"]),
        ([0.5, 1.0, 2.0, 5.0, 10.0, 1000.0], ["0.5", "1.0", "2", "5", "10", "1,000"]),
    ],
)
def test_log_ticks_less_than_a_decade_apart_have_distinct_texts(values: list[float], texts: list[str]) -> None:
    assert log_tick_texts(values) == texts


@pytest.mark.parametrize(
    ("seconds", "step", "text"),
    [(90, 30, "1:30"), (3725, 1, "1:02:05"), (12.5, 0.5, "0:12.5"), (59.96, 0.1, "1:00.0"), (-5, 1, "−0:05")],
)
def test_clock_text_has_hours_minutes_and_rounded_seconds(seconds: float, step: float, text: str) -> None:
    assert format_clock(seconds, step) == text


def test_values_without_a_logarithm_are_gaps_on_a_log_axis() -> None:
    view_values = Axis("Latency", "ms", is_log=True).to_view([100.0, 0.0, -1.0, math.nan])
    assert view_values[0] == 2.0
    assert np.isnan(view_values[1:]).all()


def test_percentile_axis_spaces_p0_p90_p99_and_p999_equally() -> None:
    axis = Axis("Percentile", is_percentile=True)
    assert axis.to_view([0, 90, 99, 99.9]) == pytest.approx([0, 1, 2, 3])
    assert math.isnan(float(axis.to_view(100.0)))
    assert axis.from_view(3) == pytest.approx(99.9)

    def texts(low: float, high: float, distance: float) -> list[str]:
        return [percentile_text(axis.from_view(tick)) for tick in percentile_ticks(axis, low, high, distance)]

    assert texts(0, 3, 0.1) == ["p0", "p50", "p75", "p90", "p95", "p99", "p99.5", "p99.9"]
    assert texts(0, 3, 0.5) == ["p50", "p90", "p99", "p99.9"], "only the common percentiles where space is short"
    assert [percentile_text(percentile) for percentile in (62.71, 99.873, 99.999)] == ["p63", "p99.87", "p99.999"]
