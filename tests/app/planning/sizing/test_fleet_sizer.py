from __future__ import annotations

import math
import random

import msgspec
import numpy as np
import pytest

from app.analysis.objectives import parse_objective
from app.analysis.traces import compute_rate_per_s, select_busiest_rows
from app.planning.hardware.capacity import Capacity
from app.planning.service_models.service_times import speed_up
from app.planning.sizing.fleet_rate import FleetShape, build_fleet_shape, find_highest_rate
from app.planning.sizing.fleet_sizer import FleetSizer, simulate_fleet_curve
from app.planning.sizing.instances import Demand, count_instances
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.offers import PlanLimits, Router
from app.records.service import RequestService
from app.records.traffic import Traffic
from tests.fakes.offers import catalog_of, offer, target
from tests.fakes.services import fit_of, fitted_service
from tests.fakes.small_plan import cached_plan, planning_inputs, short_fleet_simulations
from tests.studies.trace_truths import bursty_requests, needed_replicas
from tests.tiers import first_in_unit_tier

SERVICE = RequestService(1, 1.0, 1.0)
FIT = fit_of(fitted_service(SERVICE))


def build_shape(*slo: str) -> FleetShape:
    return build_fleet_shape(
        Traffic(1.0, "flat", (1.0,) * 24), build_slo_objectives([parse_objective(text) for text in slo]), "random"
    )


def test_fleet_latency_curve_is_monotonic_and_reaches_the_limit_at_the_max_rate() -> None:
    fleet_shape = build_shape("latency_ms.p95 < 8000")
    highest, _ = find_highest_rate(SERVICE, fleet_shape, 2, 0.5)
    curve = simulate_fleet_curve(FIT, fleet_shape, 2, 1.0, highest)
    assert list(curve.log_latencies) == sorted(curve.log_latencies)
    assert curve.max_rate_per_s == highest == curve.rates_per_s[-1]
    assert curve.interpolate_ms(highest) == pytest.approx(8000, rel=0.05)
    assert curve.interpolate_ms(1.01 * highest) is None


def test_fleet_latency_curve_is_of_the_first_objective_or_p95() -> None:
    curve = simulate_fleet_curve(FIT, build_shape("latency_ms.mean < 9000", "latency_ms.p99 < 90000"), 1, 1.0, 0.5)
    assert curve.interpolate_ms(0.5) == pytest.approx(2000, rel=0.05)  # Pollaczek-Khinchine, one server
    without_slo = simulate_fleet_curve(FIT, build_shape(), 1, 1.0, 0.5)
    p95_curve = simulate_fleet_curve(FIT, build_shape("latency_ms.p95 < 8000"), 1, 1.0, 0.5)
    assert without_slo == p95_curve


def test_latency_curve_of_a_faster_replica_is_scaled() -> None:
    fleet_shape = build_shape("latency_ms.p95 < 8000")
    slow, fast = (
        simulate_fleet_curve(FIT, fleet_shape, 1, 1.0, 0.4),
        simulate_fleet_curve(FIT, fleet_shape, 1, 2.0, 0.8),
    )
    assert fast.rates_per_s == pytest.approx([2 * rate for rate in slow.rates_per_s])
    assert fast.log_latencies == pytest.approx([log - math.log(2) for log in slow.log_latencies], abs=1e-6)
    assert speed_up(SERVICE, 2.0) == RequestService(1, 0.5, 1.0)


def test_replica_with_max_rate_0_has_no_latency_curve() -> None:
    assert simulate_fleet_curve(FIT, build_shape(), 1, 1.0, 0.0).interpolate_ms(0.0) is None


MEASURED = target(fit=fit_of(fitted_service(SERVICE)))
ONE_REPLICA_PER_S, TWO_REPLICAS_PER_S = 0.2586, 0.5463
"""Rate in req/s by formula for p95 < 4 s: of one replica, and of each of two replicas that share a queue."""


def build_demand(peak_per_s: float) -> Demand:
    return Demand(peak_per_s, peak_per_s, z=0.0, spares=0)


def build_p95_shape(router: Router = "least-outstanding") -> FleetShape:
    return build_fleet_shape(
        Traffic(1.0, "flat", (1.0,) * 24), build_slo_objectives([parse_objective("latency_ms.p95 < 4000")]), router
    )


def build_capacity(per_s: float = ONE_REPLICA_PER_S, replicas: int = 1, speed: float = 1.0) -> Capacity:
    return Capacity(per_s, 0.05, replicas, "measured", speed=speed)


def size_fleet(peak_per_s: float, start: Capacity) -> tuple[int, Capacity]:
    fleet_demand = build_demand(peak_per_s)
    estimated = FleetSizer(build_p95_shape(), fleet_demand).estimate_capacity(MEASURED, start)
    return count_instances(fleet_demand, estimated, fleet_demand.z), estimated


# one replica is enough up to 0.26 req/s; each of two sustains 0.55 req/s
@pytest.mark.parametrize(("peak_per_s", "instances"), [(0.25, 1), (0.27, 2), (0.5, 2), (1.05, 2), (1.12, 3), (2.0, 3)])
@pytest.mark.parametrize("start_per_s", [0.05, ONE_REPLICA_PER_S, 0.9])
def test_estimated_instances_use_the_rate_of_their_own_fleet_size(
    peak_per_s: float, instances: int, start_per_s: float
) -> None:
    count, estimated = size_fleet(peak_per_s, build_capacity(start_per_s))
    assert count == instances
    assert estimated.sizing_method == "formula"
    if peak_per_s == 0.5:
        assert estimated.rate_per_s == pytest.approx(ONE_REPLICA_PER_S, rel=1e-3)
    if peak_per_s == 1.05:
        assert estimated.rate_per_s == pytest.approx(TWO_REPLICAS_PER_S, rel=1e-3)


@pytest.mark.parametrize("replicas", [1, 3, 4])
def test_higher_peak_never_needs_fewer_instances(replicas: int) -> None:
    dice = random.Random(replicas)
    peaks = sorted(math.exp(dice.uniform(math.log(0.1), math.log(70.0))) for _ in range(200))
    counts = [size_fleet(peak_per_s, build_capacity(ONE_REPLICA_PER_S * replicas, replicas))[0] for peak_per_s in peaks]
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert counts[-1] == pytest.approx(70 / replicas, rel=0.1)


@short_fleet_simulations()
def test_fleet_that_meets_the_slo_only_by_pooling_is_sized() -> None:
    """On one replica 2 % of requests wait even at low load, so its p99 exceeds the limit; 32 replicas share a queue."""
    service = RequestService(1, 0.1, 0.2)
    pooled_shape = build_fleet_shape(
        Traffic(1.0, "flat", (1.0,) * 24),
        build_slo_objectives([parse_objective("latency_ms.p99 < 165")]),
        "least-outstanding",
    )
    fleet_demand = build_demand(200.0)
    sizer, measured = FleetSizer(pooled_shape, fleet_demand), target(fit=fit_of(fitted_service(service, mean_s=0.01)))
    estimated = sizer.estimate_capacity(measured, build_capacity(0.0))
    assert 20 < count_instances(fleet_demand, estimated, fleet_demand.z) < 40
    simulated = sizer.simulate_capacity(measured, build_capacity(0.0))
    assert simulated is not None
    # 6.8 req/s each, by a simulation of 32
    assert 28 <= count_instances(fleet_demand, simulated[0], fleet_demand.z) <= 33
    unpooled_sizer = FleetSizer(msgspec.structs.replace(pooled_shape, router="random"), fleet_demand)
    assert unpooled_sizer.estimate_capacity(measured, build_capacity(0.0)).rate_per_s == 0


def test_capacity_without_a_service_model_is_unchanged() -> None:
    sizer, measured = FleetSizer(build_p95_shape(), build_demand(2.0)), target()
    assert sizer.estimate_capacity(measured, build_capacity()) == build_capacity()
    assert sizer.simulate_capacity(measured, build_capacity()) is None


def test_simulated_capacity_has_its_sizing_method_and_latency_curve() -> None:
    sizer = FleetSizer(build_p95_shape(), build_demand(3.0))
    estimated = sizer.estimate_capacity(MEASURED, build_capacity(replicas=2))
    simulation = sizer.simulate_capacity(MEASURED, estimated)
    assert simulation is not None
    simulated, latencies = simulation
    assert (simulated.sizing_method, simulated.replicas) == ("simulated", 2)
    assert simulated.rate_per_s == pytest.approx(estimated.rate_per_s, rel=0.1)
    assert latencies.max_rate_per_s == pytest.approx(simulated.rate_per_s / 2)
    slowest = latencies.interpolate_ms(latencies.max_rate_per_s)
    assert slowest == pytest.approx(4000, rel=0.05)


def test_simulation_is_cached_per_speed() -> None:
    sizer = FleetSizer(build_p95_shape("random"), build_demand(0.5))
    first = sizer.simulate_capacity(MEASURED, build_capacity())
    second = sizer.simulate_capacity(MEASURED, build_capacity())
    assert first is not None
    assert second is not None
    assert second[1] is first[1]
    faster = sizer.simulate_capacity(MEASURED, build_capacity(speed=2.0))
    assert faster is not None
    assert faster[0].rate_per_s > 1.8 * first[0].rate_per_s


@pytest.mark.parametrize("bursts", first_in_unit_tier([(1.0, 4.0, 15.0), (5.0, 2.2, 10.0)]))
def test_instances_needed_cover_short_bursts_of_a_trace(bursts: tuple[float, float, float]) -> None:
    """The expected replicas are those of an independent simulator of the trace. A burst has a duration, a rate factor
    and a period."""
    burst_s, rate_factor, period_s = bursts
    requests = bursty_requests(burst_s, rate_factor, period_s, 120.0)
    at_s = np.array([request.at_s for request in requests])
    mean_s = 0.4
    expected_replicas = needed_replicas([(at_s.tolist(), [mean_s] * at_s.size)], 2.5 * mean_s, 0.99)
    rows = select_busiest_rows(at_s)
    traffic = Traffic(compute_rate_per_s(rows), "flat", (1.0,) * 24, rows=rows)
    service = RequestService(2, mean_s, 0.0)
    slo = f"latency_ms.p99 < {2500 * mean_s}"
    limits = PlanLimits(router="least-outstanding", confidence=0.5)
    inputs = planning_inputs(
        service, slo=slo, traffic=traffic, catalog=catalog_of(offer("c1", vcpus=1.0)), limits=limits
    )
    target = inputs.measured[0]
    assert target.fit is not None
    fit = msgspec.structs.replace(target.fit, highest_per_s=service.max_throughput_per_s)
    inputs = msgspec.structs.replace(inputs, measured=(msgspec.structs.replace(target, fit=fit),))
    fleet = cached_plan(inputs).offers[0]
    assert fleet.instances_needed is not None
    assert abs(fleet.instances_needed.p50 - expected_replicas) <= max(1, 0.05 * expected_replicas)
    assert expected_replicas >= 8  # Poisson arrivals at 20 req/s need 6
