from __future__ import annotations

from typing import get_args

import msgspec
import numpy as np
import pytest

from app.planning.scaling.lifecycle import ReplicaPool
from app.planning.scaling.meters import PeriodMeter, SlotMeter
from app.planning.scaling.operated_fleet import OperatedFleet
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.serving import advance_to, get_totals, serve
from app.planning.simulation.state import Fleet, create_fleet
from app.records.scaling import ColdStartModel, Operations, ScalingMetric
from app.records.service import RequestService

SERVICE = RequestService(slots=2, mean_s=4.0, cv=0.0)


def build_operated_fleet(
    service: RequestService, replicas: int, timeout_s: float = np.inf
) -> tuple[Fleet, OperatedFleet]:
    operations = Operations(ColdStartModel(node_s=30.0, engine_s=30.0))
    design = FleetDesign((service,) * 4, "round-robin", timeout_s=timeout_s)
    simulated_fleet = create_fleet(design, np.random.SeedSequence(1))
    return simulated_fleet, OperatedFleet(
        simulated_fleet, ReplicaPool(operations.cold_start, None, 1, replicas=replicas), operations, 4, None, 0.0
    )


def build_meters(simulated_fleet: Fleet) -> dict[ScalingMetric, SlotMeter]:
    return {metric: SlotMeter(simulated_fleet, metric, 0.0, np.inf, 0.0) for metric in get_args(ScalingMetric)}


def test_slot_meter_reads_means_over_the_slot() -> None:
    simulated_fleet, fleet = build_operated_fleet(SERVICE, 2)
    all_meters = build_meters(simulated_fleet)
    serve(simulated_fleet, np.array([0.5, 1.5, 1.75]), np.zeros(3))
    advance_to(simulated_fleet, 2.0)
    first = {metric: meter.read(fleet, 2.0, 2) for metric, meter in all_meters.items()}
    assert (first["rate"].ready_replicas, first["rate"].rate_per_s) == (2, 1.5)
    assert first["in_flight"].in_flight == pytest.approx((1.5 + 0.5 + 0.25) / 2)
    assert first["busy"].utilization == pytest.approx((1.5 + 0.5 + 0.25) / 2 / 2)
    advance_to(simulated_fleet, 6.0)
    second = {metric: meter.read(fleet, 6.0, 2) for metric, meter in all_meters.items()}
    assert second["rate"].rate_per_s == 0.0
    assert second["in_flight"].in_flight == pytest.approx((2.5 + 3.5 + 3.75) / 4)
    assert second["busy"].utilization == pytest.approx((2.5 + 3.5 + 3.75) / 4 / 2)


def test_time_outside_the_replica_is_not_in_flight() -> None:
    service = msgspec.structs.replace(SERVICE, outside_s=3.0)
    simulated_fleet, fleet = build_operated_fleet(service, 1)
    meter = SlotMeter(simulated_fleet, "in_flight", service.outside_s, np.inf, 0.0)
    serve(simulated_fleet, np.array([1.0]), np.zeros(1))
    advance_to(simulated_fleet, 10.0)
    assert meter.read(fleet, 10.0, 1).in_flight == pytest.approx(0.4)


def test_timed_out_request_is_in_flight_until_its_timeout() -> None:
    simulated_fleet, fleet = build_operated_fleet(RequestService(slots=1, mean_s=9.0, cv=0.0), 1, timeout_s=2.0)
    meter = SlotMeter(simulated_fleet, "in_flight", 0.0, 2.0, 0.0)
    serve(simulated_fleet, np.array([0.0, 1.0]), np.zeros(2))
    advance_to(simulated_fleet, 10.0)
    assert get_totals(simulated_fleet).timed_out == 1
    assert meter.read(fleet, 10.0, 1).in_flight == pytest.approx((9.0 + 2.0) / 10)


def test_requests_of_draining_replicas_are_not_in_flight() -> None:
    simulated_fleet, fleet = build_operated_fleet(SERVICE, 2)
    all_meters = build_meters(simulated_fleet)
    serve(simulated_fleet, np.array([0.0, 0.5]), np.zeros(2))
    advance_to(simulated_fleet, 1.0)
    for meter in all_meters.values():
        meter.read(fleet, 1.0, 2)
    fleet.step(1.0, 1)
    for meter in all_meters.values():
        meter.restart()
    advance_to(simulated_fleet, 2.0)
    views = {metric: meter.read(fleet, 2.0, 1) for metric, meter in all_meters.items()}
    assert views["busy"].ready_replicas == 1
    assert (views["in_flight"].in_flight, views["busy"].utilization) == pytest.approx((1.0, 0.5))


def test_new_replicas_are_pending_without_a_node_and_then_starting() -> None:
    simulated_fleet, fleet = build_operated_fleet(SERVICE, 1)
    meter = SlotMeter(simulated_fleet, None, 0.0, np.inf, 0.0)
    views = []
    for now_s in (1.0, 30.0, 31.0, 61.0):
        advance_to(simulated_fleet, now_s)
        fleet.step(now_s, 3)
        view = meter.read(fleet, now_s, 3)
        views.append((view.ready_replicas, view.pending_replicas, view.starting_replicas))
    assert views == [(1, 2, 0), (1, 2, 0), (1, 0, 2), (3, 0, 0)]


def test_period_meter_reports_requests_latency_and_cost_of_the_minute() -> None:
    simulated_fleet, fleet = build_operated_fleet(SERVICE, 2)
    meter = PeriodMeter(simulated_fleet, 3.6, 0.0, 10)
    serve(simulated_fleet, np.array([1.0, 58.0]), np.zeros(2))
    advance_to(simulated_fleet, 60.0)
    first = meter.read(fleet, 60.0, 2)
    assert (first.good, first.in_flight, first.ready, first.billed) == (10, 10, 20, 20)
    assert first.arrivals_per_s == pytest.approx(10 * 2 / 60)
    assert first.p99_s == pytest.approx(4.0, rel=0.004)
    assert first.usd == pytest.approx(10 * 2 * 60 * 0.001)
    advance_to(simulated_fleet, 120.0)
    advance_to(simulated_fleet, 180.0)
    second = meter.read(fleet, 120.0, 2)
    assert (second.at_s, second.good, second.in_flight) == (60.0, 10, 0)
    assert meter.read(fleet, 180.0, 2).p50_s is None
