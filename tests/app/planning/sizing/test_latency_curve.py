from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from app.planning.hardware.capacity import Capacity
from app.planning.sizing.latency_curve import (
    LatencyCurve,
    build_latency_curve,
    estimate_latency_at_peak,
    estimate_latency_limit,
)
from app.records.offers import CurvePoint
from tests.fakes.offers import curve


def test_latency_is_interpolated_linearly_in_its_logarithm() -> None:
    line = build_latency_curve(curve(100.0))
    assert line.interpolate_ms(40.0) == pytest.approx(6.0)
    assert line.interpolate_ms(80.0) == pytest.approx((10.0 * 24.0) ** 0.5)
    assert line.interpolate_ms(100.0) == pytest.approx((45.0 * 47.0) ** 0.5)


def test_array_interpolation_equals_interpolation_of_single_rates() -> None:
    line = build_latency_curve(curve(100.0))
    rng = random.Random(1)
    rates_per_s = [0.0, *line.rates_per_s, *(rng.uniform(0.0, 110.0) for _ in range(500))]
    single_values_ms = [line.interpolate_ms(rate_per_s) for rate_per_s in rates_per_s]
    assert None in single_values_ms
    assert line.interpolate_each_ms(np.array(rates_per_s)).tolist() == [
        math.inf if latency_ms is None else latency_ms for latency_ms in single_values_ms
    ]
    assert LatencyCurve((), (), 100.0).interpolate_each_ms(np.array([50.0])).tolist() == [math.inf]


def test_points_above_the_max_rate_do_not_change_the_latency_curve() -> None:
    points = (CurvePoint(50.0, 10.0, 50.0, True), CurvePoint(200.0, 9000.0, 150.0, False))
    assert build_latency_curve(curve(100.0, points=points)).interpolate_ms(99.0) == pytest.approx(10.0)


def test_latency_beyond_the_max_rate_is_unknown() -> None:
    assert build_latency_curve(curve(100.0)).interpolate_ms(100.1) is None
    assert (
        estimate_latency_at_peak(build_latency_curve(curve(100.0)), 1.01, Capacity(100.0, 0.0, 1, "measured")).value
        is None
    )


def test_latency_below_the_lowest_measured_rate_is_constant_with_a_reason() -> None:
    latency = estimate_latency_at_peak(build_latency_curve(curve(100.0)), 0.02, Capacity(100.0, 0.0, 1, "measured"))
    assert latency.value == pytest.approx(5.0)
    assert "below the lowest measured rate" in (latency.reason or "")


def test_latency_of_a_curve_without_latencies_is_unknown() -> None:
    without_latency = curve(points=(CurvePoint(50.0, None, 50.0, True),))
    assert build_latency_curve(without_latency).interpolate_ms(50.0) is None
    assert (
        estimate_latency_at_peak(build_latency_curve(without_latency), 0.5, Capacity(100.0, 0.0, 1, "measured")).value
        is None
    )


def test_interpolated_latency_stays_in_the_measured_range_and_never_falls() -> None:
    dice = random.Random(8)
    for _ in range(200):
        points = tuple(
            CurvePoint(rate, dice.choice((None, dice.uniform(1, 100))), rate, True)
            for rate in (dice.choice((5.0, 10.0, 20.0, 40.0, 80.0)) for _ in range(8))
        )
        measured_ms = [point.latency_ms for point in points if point.latency_ms is not None]
        line = build_latency_curve(curve(80.0, points=points))
        interpolated = [line.interpolate_ms(rate) for rate in range(1, 81)]
        if not measured_ms:
            assert interpolated == [None] * 80
            continue
        values = [value for value in interpolated if value is not None]
        assert len(values) == 80
        assert all(left <= right * (1 + 1e-12) for left, right in itertools.pairwise(values))
        assert min(measured_ms) * 0.999999 <= values[0]
        assert values[-1] <= max(measured_ms) * 1.000001


def test_extrapolated_latency_has_an_interval_only_within_the_measured_rates() -> None:
    line = build_latency_curve(curve(100.0))
    latency = estimate_latency_at_peak(line, 0.4, Capacity(800.0, 0.2, 8, "extrapolated"))
    assert latency.basis == "extrapolated"
    assert latency.ci95 is not None
    assert latency.ci95[0] < 6.0 < latency.ci95[1]
    near_capacity = estimate_latency_at_peak(line, 0.9, Capacity(800.0, 0.2, 8, "extrapolated"))
    assert near_capacity.ci95 is None
    assert "beyond the max rate" in (near_capacity.reason or "")


def test_latency_on_the_measured_hardware_is_interpolated() -> None:
    assert (
        estimate_latency_at_peak(build_latency_curve(curve()), 0.5, Capacity(100.0, 0.02, 1, "measured")).basis
        == "interpolated"
    )


def test_latency_limit_is_the_90_percent_quantile_of_capacity_and_error() -> None:
    line, capacity = build_latency_curve(curve(100.0)), Capacity(800.0, 0.2, 8, "assumed")
    limit = estimate_latency_limit(line, 0.4, capacity, 0.5)
    at_low_capacity_ms = line.interpolate_ms(40.0 * math.exp(1.281552 * 0.2))
    assert at_low_capacity_ms is not None
    assert limit.value == pytest.approx(at_low_capacity_ms * math.exp(1.281552 * 0.5))
    assert (limit.ci95, limit.basis) == (None, "extrapolated")
    assert estimate_latency_limit(line, 0.9, capacity, 0.5).value is None
