from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from app.planning.capacity import Capacity
from app.planning.latency_curve import LatencyCurve, build_latency_curve, estimate_latency_at_peak
from app.records.offers import CurvePoint
from tests.fakes.offers import curve


def test_between_points_log_latency_is_a_line() -> None:
    line = build_latency_curve(curve(100.0))
    assert line.interpolate_ms(40.0) == pytest.approx(6.0)
    assert line.interpolate_ms(80.0) == pytest.approx((10.0 * 24.0) ** 0.5)
    assert line.interpolate_ms(100.0) == pytest.approx((45.0 * 47.0) ** 0.5)


def test_many_rates_at_once_have_the_latencies_of_each() -> None:
    line = build_latency_curve(curve(100.0))
    rng = random.Random(1)
    rates_per_s = [0.0, *line.rates_per_s, *(rng.uniform(0.0, 110.0) for _ in range(500))]
    alone_ms = [line.interpolate_ms(rate_per_s) for rate_per_s in rates_per_s]
    assert None in alone_ms
    assert line.interpolate_each_ms(np.array(rates_per_s)).tolist() == [
        math.inf if latency_ms is None else latency_ms for latency_ms in alone_ms
    ]
    assert LatencyCurve((), (), 100.0).interpolate_each_ms(np.array([50.0])).tolist() == [math.inf]


def test_what_failed_above_the_max_rate_does_not_bend_the_line() -> None:
    points = (CurvePoint(50.0, 10.0, 50.0, True), CurvePoint(200.0, 9000.0, 150.0, False))
    assert build_latency_curve(curve(100.0, points=points)).interpolate_ms(99.0) == pytest.approx(10.0)


def test_nothing_is_said_beyond_the_max_rate() -> None:
    assert build_latency_curve(curve(100.0)).interpolate_ms(100.1) is None
    assert (
        estimate_latency_at_peak(build_latency_curve(curve(100.0)), 1.01, Capacity(100.0, 0.0, 1, "measured")).value
        is None
    )


def test_below_the_lowest_rate_its_latency_is_given_and_labelled() -> None:
    found = estimate_latency_at_peak(build_latency_curve(curve(100.0)), 0.02, Capacity(100.0, 0.0, 1, "measured"))
    assert found.value == pytest.approx(5.0)
    assert "below the lowest measured rate" in (found.reason or "")


def test_no_latency_at_all() -> None:
    blind = curve(points=(CurvePoint(50.0, None, 50.0, True),))
    assert build_latency_curve(blind).interpolate_ms(50.0) is None
    assert estimate_latency_at_peak(build_latency_curve(blind), 0.5, Capacity(100.0, 0.0, 1, "measured")).value is None


def test_it_never_leaves_the_measured_range_and_never_falls() -> None:
    dice = random.Random(8)
    for _ in range(200):
        points = tuple(
            CurvePoint(rate, dice.choice((None, dice.uniform(1, 100))), rate, True)
            for rate in (dice.choice((5.0, 10.0, 20.0, 40.0, 80.0)) for _ in range(8))
        )
        known = [point.latency_ms for point in points if point.latency_ms is not None]
        line = build_latency_curve(curve(80.0, points=points))
        found = [line.interpolate_ms(rate) for rate in range(1, 81)]
        if not known:
            assert found == [None] * 80
            continue
        values = [value for value in found if value is not None]
        assert len(values) == 80
        assert all(left <= right * (1 + 1e-12) for left, right in itertools.pairwise(values))
        assert min(known) * 0.999999 <= values[0]
        assert values[-1] <= max(known) * 1.000001


def test_an_extrapolated_latency_has_an_interval_while_the_slow_end_is_measured() -> None:
    line = build_latency_curve(curve(100.0))
    found = estimate_latency_at_peak(line, 0.4, Capacity(800.0, 0.2, 8, "extrapolated"))
    assert found.basis == "extrapolated"
    assert found.ci95 is not None
    assert found.ci95[0] < 6.0 < found.ci95[1]
    tight = estimate_latency_at_peak(line, 0.9, Capacity(800.0, 0.2, 8, "extrapolated"))
    assert tight.ci95 is None
    assert "beyond the max rate" in (tight.reason or "")


def test_on_the_measured_hardware_it_is_interpolated() -> None:
    assert (
        estimate_latency_at_peak(build_latency_curve(curve()), 0.5, Capacity(100.0, 0.02, 1, "measured")).basis
        == "interpolated"
    )
