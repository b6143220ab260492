from __future__ import annotations

import math

import pytest

from app.analysis.objectives import parse_objective
from app.planning.fleet_curve import fleet_curve
from app.planning.fleet_rate import FleetShape, highest_rate, shape_of
from app.planning.goals import goals_of
from app.planning.service_speed import faster
from app.records.service import RequestService
from app.records.traffic import Traffic
from tests.fakes.services import fit_of, fitted

ONE = RequestService(1, 1.0, 1.0)
FIT = fit_of(fitted(ONE))


def shape(*slo: str) -> FleetShape:
    return shape_of(Traffic(1.0, "flat", (1.0,) * 24), goals_of([parse_objective(text) for text in slo]), "random")


def test_it_never_falls_and_reaches_the_limit_at_the_highest_rate() -> None:
    what = shape("latency_ms.p95 < 8000")
    highest, _ = highest_rate(ONE, what, 2, 0.5)
    curve = fleet_curve(FIT, what, 2, 1.0, highest)
    assert list(curve.log_latencies) == sorted(curve.log_latencies)
    assert curve.max_rate_per_s == highest == curve.rates_per_s[-1]
    assert curve.at(highest) == pytest.approx(8000, rel=0.05)
    assert curve.at(1.01 * highest) is None


# a lone server's mean at low load, by Pollaczek and Khinchine
def test_its_time_is_the_first_goals() -> None:
    curve = fleet_curve(FIT, shape("latency_ms.mean < 9000", "latency_ms.p99 < 90000"), 1, 1.0, 0.5)
    assert curve.at(0.5) == pytest.approx(2000, rel=0.05)
    without = fleet_curve(FIT, shape(), 1, 1.0, 0.5)
    tail = fleet_curve(FIT, shape("latency_ms.p95 < 8000"), 1, 1.0, 0.5)
    assert without == tail


def test_a_faster_replica_has_the_same_curve_at_higher_rates() -> None:
    what = shape("latency_ms.p95 < 8000")
    slow, fast = fleet_curve(FIT, what, 1, 1.0, 0.4), fleet_curve(FIT, what, 1, 2.0, 0.8)
    assert fast.rates_per_s == pytest.approx([2 * rate for rate in slow.rates_per_s])
    assert fast.log_latencies == pytest.approx([log - math.log(2) for log in slow.log_latencies], abs=1e-6)
    assert faster(ONE, 2.0) == RequestService(1, 0.5, 1.0)


def test_a_replica_that_carries_nothing_has_no_curve() -> None:
    assert fleet_curve(FIT, shape(), 1, 1.0, 0.0).at(0.0) is None
