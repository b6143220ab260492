from __future__ import annotations

import math
import random

import msgspec
import numpy as np
import pytest

from app.analysis.objectives import parse_objective
from app.analysis.traces import compute_rate_per_s, select_busiest_rows
from app.planning.capacity import Capacity
from app.planning.fleet_rate import FleetShape, build_fleet_shape, find_highest_rate
from app.planning.fleet_sizer import FleetSizer, simulate_fleet_curve
from app.planning.service_models.service_times import speed_up
from app.planning.sizing import Demand, count_instances
from app.planning.slo_objectives import build_slo_objectives
from app.records.offers import PlanLimits, Router
from app.records.service import RequestService
from app.records.traffic import Traffic
from tests.checks.trace_truths import bursty_requests, needed_replicas
from tests.fakes.offers import catalogue, offer, target
from tests.fakes.planned import fleets_simulated_briefly, planned, question
from tests.fakes.services import fit_of, fitted
from tests.tiers import first_in_unit_tier

ONE = RequestService(1, 1.0, 1.0)
FIT = fit_of(fitted(ONE))


def shape(*slo: str) -> FleetShape:
    return build_fleet_shape(
        Traffic(1.0, "flat", (1.0,) * 24), build_slo_objectives([parse_objective(text) for text in slo]), "random"
    )


def test_it_never_falls_and_reaches_the_limit_at_the_highest_rate() -> None:
    what = shape("latency_ms.p95 < 8000")
    highest, _ = find_highest_rate(ONE, what, 2, 0.5)
    curve = simulate_fleet_curve(FIT, what, 2, 1.0, highest)
    assert list(curve.log_latencies) == sorted(curve.log_latencies)
    assert curve.max_rate_per_s == highest == curve.rates_per_s[-1]
    assert curve.interpolate_ms(highest) == pytest.approx(8000, rel=0.05)
    assert curve.interpolate_ms(1.01 * highest) is None


# a lone server's mean at low load, by Pollaczek and Khinchine
def test_its_time_is_the_first_objectives() -> None:
    curve = simulate_fleet_curve(FIT, shape("latency_ms.mean < 9000", "latency_ms.p99 < 90000"), 1, 1.0, 0.5)
    assert curve.interpolate_ms(0.5) == pytest.approx(2000, rel=0.05)
    without = simulate_fleet_curve(FIT, shape(), 1, 1.0, 0.5)
    tail = simulate_fleet_curve(FIT, shape("latency_ms.p95 < 8000"), 1, 1.0, 0.5)
    assert without == tail


def test_a_faster_replica_has_the_same_curve_at_higher_rates() -> None:
    what = shape("latency_ms.p95 < 8000")
    slow, fast = simulate_fleet_curve(FIT, what, 1, 1.0, 0.4), simulate_fleet_curve(FIT, what, 1, 2.0, 0.8)
    assert fast.rates_per_s == pytest.approx([2 * rate for rate in slow.rates_per_s])
    assert fast.log_latencies == pytest.approx([log - math.log(2) for log in slow.log_latencies], abs=1e-6)
    assert speed_up(ONE, 2.0) == RequestService(1, 0.5, 1.0)


def test_a_replica_that_carries_nothing_has_no_curve() -> None:
    assert simulate_fleet_curve(FIT, shape(), 1, 1.0, 0.0).interpolate_ms(0.0) is None


MEASURED = target(fit=fit_of(fitted(ONE)))
ALONE, PAIR = 0.2586, 0.5463
"""By formula, of a replica by itself and of each of two that share a queue, at p95 under 4 s."""


def demand(peak_per_s: float) -> Demand:
    return Demand(peak_per_s, peak_per_s, z=0.0, spares=0)


def settling_shape(router: Router = "least-outstanding") -> FleetShape:
    return build_fleet_shape(
        Traffic(1.0, "flat", (1.0,) * 24), build_slo_objectives([parse_objective("latency_ms.p95 < 4000")]), router
    )


def capacity(per_s: float = ALONE, replicas: int = 1, speed: float = 1.0) -> Capacity:
    return Capacity(per_s, 0.05, replicas, "measured", speed=speed)


def needed(peak_per_s: float, start: Capacity) -> tuple[int, Capacity]:
    asked = demand(peak_per_s)
    found = FleetSizer(settling_shape(), asked).estimate_capacity(MEASURED, start)
    return count_instances(asked, found, asked.z), found


# one alone is too few from 0.26/s on; two would do 0.55/s each, so that half of two seems enough up to there
@pytest.mark.parametrize(("peak_per_s", "instances"), [(0.25, 1), (0.27, 2), (0.5, 2), (1.05, 2), (1.12, 3), (2.0, 3)])
@pytest.mark.parametrize("start_per_s", [0.05, ALONE, 0.9])
def test_a_fleet_carries_the_load_at_its_own_rate(peak_per_s: float, instances: int, start_per_s: float) -> None:
    count, found = needed(peak_per_s, capacity(start_per_s))
    assert count == instances
    assert found.sizing_method == "formula"
    if peak_per_s == 0.5:
        assert found.rate_per_s == pytest.approx(ALONE, rel=1e-3)
    if peak_per_s == 1.05:
        assert found.rate_per_s == pytest.approx(PAIR, rel=1e-3)


@pytest.mark.parametrize("replicas", [1, 3, 4])
def test_more_load_never_needs_fewer(replicas: int) -> None:
    dice = random.Random(replicas)
    peaks = sorted(math.exp(dice.uniform(math.log(0.1), math.log(70.0))) for _ in range(200))
    counts = [needed(peak_per_s, capacity(ALONE * replicas, replicas))[0] for peak_per_s in peaks]
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert counts[-1] == pytest.approx(70 / replicas, rel=0.1)


@fleets_simulated_briefly()
def test_replicas_that_miss_the_slo_one_by_one_are_planned_where_pooling_meets_it() -> None:
    """2 % of the requests of one wait even at its least load, so its p99 is over the limit; 32 share their queue."""
    near = RequestService(1, 0.1, 0.2)
    tight = build_fleet_shape(
        Traffic(1.0, "flat", (1.0,) * 24),
        build_slo_objectives([parse_objective("latency_ms.p99 < 165")]),
        "least-outstanding",
    )
    asked = demand(200.0)
    settling, measured = FleetSizer(tight, asked), target(fit=fit_of(fitted(near, mean_s=0.01)))
    previewed = settling.estimate_capacity(measured, capacity(0.0))
    assert 20 < count_instances(asked, previewed, asked.z) < 40
    found = settling.simulate_capacity(measured, capacity(0.0))
    assert found is not None
    assert 28 <= count_instances(asked, found[0], asked.z) <= 33  # 6.8/s each, by simulation of 32
    alone = FleetSizer(msgspec.structs.replace(tight, router="random"), asked)
    assert alone.estimate_capacity(measured, capacity(0.0)).rate_per_s == 0


def test_without_a_service_model_the_measured_rate_stands() -> None:
    settling, measured = FleetSizer(settling_shape(), demand(2.0)), target()
    assert settling.estimate_capacity(measured, capacity()) == capacity()
    assert settling.simulate_capacity(measured, capacity()) is None


def test_what_is_simulated_has_its_own_sigma_and_latencies() -> None:
    settling = FleetSizer(settling_shape(), demand(3.0))
    previewed = settling.estimate_capacity(MEASURED, capacity(replicas=2))
    found = settling.simulate_capacity(MEASURED, previewed)
    assert found is not None
    simulated, latencies = found
    assert (simulated.sizing_method, simulated.replicas) == ("simulated", 2)
    assert simulated.rate_per_s == pytest.approx(previewed.rate_per_s, rel=0.1)
    assert latencies.max_rate_per_s == pytest.approx(simulated.rate_per_s / 2)
    slowest = latencies.interpolate_ms(latencies.max_rate_per_s)
    assert slowest == pytest.approx(4000, rel=0.05)


def test_one_speed_is_played_once_whatever_it_costs_and_another_anew() -> None:
    settling = FleetSizer(settling_shape("random"), demand(0.5))
    first = settling.simulate_capacity(MEASURED, capacity())
    again = settling.simulate_capacity(MEASURED, capacity())
    assert first is not None
    assert again is not None
    assert again[1] is first[1]
    faster = settling.simulate_capacity(MEASURED, capacity(speed=2.0))
    assert faster is not None
    assert faster[0].rate_per_s > 1.8 * first[0].rate_per_s


@pytest.mark.parametrize("bursts", first_in_unit_tier([(1.0, 4.0, 15.0), (5.0, 2.2, 10.0)]))
def test_short_bursts_of_a_trace_are_bought_for(bursts: tuple[float, float, float]) -> None:
    """The need is that of the trace's own requests in an independent simulator. A burst has its duration, how many
    times the rate, and how often it comes."""
    burst_s, times, every_s = bursts
    requests = bursty_requests(burst_s, times, every_s, 120.0)
    at_s = np.array([one.at_s for one in requests])
    mean_s = 0.4
    needed = needed_replicas([(at_s.tolist(), [mean_s] * at_s.size)], 2.5 * mean_s, 0.99)
    rows = select_busiest_rows(at_s)
    traffic = Traffic(compute_rate_per_s(rows), "flat", (1.0,) * 24, rows=rows)
    law = RequestService(2, mean_s, 0.0)
    slo = f"latency_ms.p99 < {2500 * mean_s}"
    limits = PlanLimits(router="least-outstanding", confidence=0.5)
    asked = question(law, slo=slo, traffic=traffic, catalog=catalogue(offer("c1", vcpus=1.0)), limits=limits)
    target = asked.measured[0]
    assert target.fit is not None
    fit = msgspec.structs.replace(target.fit, highest_per_s=law.max_throughput_per_s)
    asked = msgspec.structs.replace(asked, measured=(msgspec.structs.replace(target, fit=fit),))
    fleet = planned(asked).offers[0]
    assert fleet.instances_needed is not None
    assert abs(fleet.instances_needed.p50 - needed) <= max(1, 0.05 * needed)
    assert needed >= 8  # Poisson arrivals at 20/s need 6
