from __future__ import annotations

import msgspec
import numpy as np
import pytest

from app.errors import UsageError
from app.planning.days.day import simulate_fleet_day
from app.planning.scaling import cell
from app.planning.scaling.arrivals import iterate_arrivals
from app.planning.simulation.design import FleetDesign, SimulatedClass
from app.planning.simulation.serving import advance_to, get_totals, serve
from app.planning.simulation.state import create_fleet
from app.records.day import DayOutcome
from app.records.scaling import (
    Autoscaler,
    ColdStartModel,
    FailureModel,
    Fixed,
    Hpa,
    Keda,
    Knative,
    Operations,
    Predictive,
    RollingUpdate,
    Scheduled,
    ScheduledReplicas,
)
from app.records.service import BatchService, RequestService

SERVICE = RequestService(slots=2, mean_s=0.2, cv=0.5)  # 10 req/s each
DESIGN = FleetDesign(
    (SERVICE,), router="least-outstanding", classes=(SimulatedClass(limit_s=1.0),), queue_limit=50, timeout_s=20.0
)
SPIKE = np.array([8.0] * 5 + [40.0] * 10 + [8.0] * 15)
RAMP = np.linspace(8.0, 60.0, 30)
HPA = Hpa(target=0.6, max=12)


def simulate_day(
    rates: np.ndarray, autoscaler: Autoscaler, operations: Operations | None = None, design: FleetDesign = DESIGN
) -> DayOutcome:
    return simulate_fleet_day(design, rates, 60.0, autoscaler, operations or Operations(), seed=5, usd_per_hour=2.0)


def assert_requests_and_cost_add_up(outcome: DayOutcome) -> None:
    totals = outcome.totals
    ended = totals.good + totals.late + totals.dropped + totals.timed_out + totals.failed
    assert totals.arrivals == ended + totals.in_flight
    for outcome_kind in ("good", "late", "dropped", "timed_out", "failed"):
        assert sum(getattr(minute, outcome_kind) for minute in outcome.minutes) == getattr(totals, outcome_kind)
    assert sum(minute.arrivals_per_s * 60 for minute in outcome.minutes) == pytest.approx(totals.arrivals)
    assert sum(minute.usd for minute in outcome.minutes) == pytest.approx(outcome.usd)


@pytest.mark.parametrize(
    "autoscaler",
    [
        Fixed(3),
        HPA,
        Keda(target=3.0, max=12),
        Keda(target=9.0, max=12, metric="rate", buffers_requests=False),
        Knative(capacity=4.0),
        Predictive(9.0, 60.0, max=12),
        Scheduled((ScheduledReplicas(0.0, 2), ScheduledReplicas(300.0, 4))),
    ],
    ids=lambda autoscaler: type(autoscaler).__name__,
)
def test_every_request_has_one_outcome_despite_failures_and_updates(autoscaler: Autoscaler) -> None:
    operations = Operations(
        ColdStartModel(node_s=40.0, engine_s=20.0, cv=0.5, refusal_probability=0.3, retry_s=15.0, warm_nodes=1),
        FailureModel(mtbf_hours=0.2),
        (RollingUpdate(600.0),),
        drain_s=1.0,
    )
    design = msgspec.structs.replace(DESIGN, queue_limit=8, timeout_s=0.5)
    outcome = simulate_day(np.concatenate([np.zeros(6), SPIKE]), autoscaler, operations, design)
    assert_requests_and_cost_add_up(outcome)
    totals = outcome.totals
    assert totals.arrivals > 25_000
    assert min(totals.good, totals.dropped + totals.timed_out, totals.failed) > 0


def test_day_without_autoscaler_equals_a_simulated_static_fleet() -> None:
    outcome = simulate_day(SPIKE, Fixed(3))
    fleet = create_fleet(msgspec.structs.replace(DESIGN, services=(SERVICE,) * 3), np.random.SeedSequence((5, 1)))
    for minute in iterate_arrivals(SPIKE, 60.0, 0.0, 5):
        serve(fleet, minute.times_s, minute.normals)
    advance_to(fleet, 1800.0)
    counts = get_totals(fleet)
    assert counts.late > 0
    assert outcome.totals.arrivals == counts.arrivals
    assert (outcome.totals.good, outcome.totals.late) == (counts.good, counts.late)
    assert (outcome.totals.timed_out, outcome.totals.dropped) == (counts.timed_out, counts.dropped)
    assert outcome.billed_s["ready"] == 3 * 1800.0
    assert outcome.usd == pytest.approx(3.0)


def test_slot_length_does_not_change_a_static_fleet() -> None:
    slots_of_1_s, slots_of_2_s = (
        simulate_fleet_day(DESIGN, SPIKE, 60.0, Fixed(4), Operations(), seed=5, slot_s=slot_s) for slot_s in (1.0, 2.0)
    )
    assert slots_of_1_s.totals == slots_of_2_s.totals


def test_day_is_reproducible_by_seed() -> None:
    operations = Operations(ColdStartModel(node_s=60.0, cv=0.5), FailureModel(1.0))
    first, repeated = (msgspec.json.encode(simulate_day(SPIKE, HPA, operations)) for _ in range(2))
    assert first == repeated
    other_seed = simulate_fleet_day(DESIGN, SPIKE, 60.0, HPA, operations, seed=6, usd_per_hour=2.0)
    assert msgspec.json.encode(other_seed) != first


def test_attainment_on_a_spike_falls_with_the_cold_start() -> None:
    outcomes = [
        simulate_day(SPIKE, HPA, Operations(ColdStartModel(engine_s=start_s, cv=0.3))) for start_s in (0, 30, 120, 400)
    ]
    attainments = [outcome.totals.attainment or 0.0 for outcome in outcomes]
    assert attainments == sorted(attainments, reverse=True)
    assert attainments[0] > attainments[-1] + 0.1


def test_starting_replicas_are_billed_before_they_are_ready() -> None:
    outcome = simulate_day(SPIKE, HPA, Operations(ColdStartModel(node_s=200.0, engine_s=60.0)))
    first = next(minute for minute in outcome.minutes if minute.starting)
    ready = next(minute for minute in outcome.minutes if minute.ready > outcome.minutes[0].ready)
    assert first.billed > first.ready
    assert 240.0 <= ready.at_s - first.at_s <= 300.0
    assert outcome.billed_s["provisioning"] >= 200.0 * (ready.ready - outcome.minutes[0].ready)
    assert outcome.usd == pytest.approx(sum(outcome.billed_s.values()) / 3600 * 2.0)


def test_predictive_autoscaler_has_higher_attainment_on_a_ramp_than_hpa() -> None:
    operations = Operations(ColdStartModel(node_s=100.0, engine_s=80.0))
    reactive = simulate_day(RAMP, HPA, operations)
    predictive = simulate_day(RAMP, Predictive(6.0, lead_s=240.0, max=12), operations)
    without_lead = simulate_day(RAMP, Predictive(6.0, lead_s=0.0, max=12), operations)
    attainments = [outcome.totals.attainment or 0.0 for outcome in (predictive, without_lead, reactive)]
    assert attainments[0] > attainments[1] > attainments[2]


def test_scheduled_replicas_are_ready_at_their_times() -> None:
    schedule = Scheduled(
        (ScheduledReplicas(36_000.0, 2), ScheduledReplicas(36_600.0, 5), ScheduledReplicas(37_200.0, 3))
    )
    outcome = simulate_fleet_day(DESIGN, np.full(30, 5.0), 60.0, schedule, Operations(), seed=5, start_s=36_000.0)
    assert [outcome.minutes[minute].ready for minute in (0, 8, 10, 18, 20, 29)] == [2, 2, 5, 5, 3, 3]
    assert outcome.minutes[0].at_s == 36_000.0


def test_at_zero_replicas_knative_buffers_requests_and_unbuffered_keda_drops_them() -> None:
    rates = np.array([0.0] * 3 + [2.0] * 5 + [0.0] * 4)
    operations = Operations(ColdStartModel(engine_s=15.0))
    buffered = simulate_day(rates, Knative(capacity=4.0), operations)
    assert buffered.minutes[2].ready == 0
    assert buffered.minutes[-1].ready == 0
    assert (buffered.totals.dropped, buffered.totals.timed_out) == (0, 0)
    assert buffered.minutes[3].p99_s is not None
    assert 10.0 < buffered.minutes[3].p99_s < 18.0
    refused = simulate_day(
        rates, Keda(target=9.0, max=9, metric="rate", buffers_requests=False, polling_s=30.0), operations
    )
    assert refused.totals.dropped >= 15
    assert refused.totals.good > 0


def test_rolling_update_with_surge_drops_no_requests() -> None:
    operations = Operations(ColdStartModel(engine_s=60.0), updates=(RollingUpdate(300.0),))
    outcome = simulate_day(np.full(30, 24.0), Fixed(8), operations)
    assert outcome.totals.dropped == outcome.totals.failed == 0
    assert max(minute.billed for minute in outcome.minutes) > 8
    assert min(minute.ready for minute in outcome.minutes) >= 6
    assert outcome.billed_s["loading"] == 8 * 60.0
    assert outcome.minutes[-1].ready == 8


def test_draining_replica_finishes_requests_within_its_drain_period_only() -> None:
    design = msgspec.structs.replace(DESIGN, services=(RequestService(slots=1, mean_s=8.0, cv=0.0),), timeout_s=500.0)
    schedule = Scheduled((ScheduledReplicas(0.0, 6), ScheduledReplicas(90.0, 3)))
    finished = simulate_day(np.full(5, 0.3), schedule, Operations(drain_s=120.0), design)
    cut = simulate_day(np.full(5, 0.3), schedule, Operations(drain_s=2.0), design)
    assert finished.totals.failed == 0
    assert finished.billed_s["draining"] > cut.billed_s["draining"] > 0
    assert cut.totals.failed > 0


@pytest.mark.parametrize(
    ("max_requests", "per_s", "rel"),
    [(2e6, 17_000.0, 0.003), pytest.param(cell.MAX_REQUESTS, 170_000.0, 0.001, marks=pytest.mark.soak)],
)
def test_large_day_is_simulated_as_one_of_several_cells(
    monkeypatch: pytest.MonkeyPatch, max_requests: float, per_s: float, rel: float
) -> None:
    """The tolerance `rel` is three standard deviations of the number of arrivals."""
    monkeypatch.setattr(cell, "MAX_REQUESTS", max_requests)
    service = BatchService(fixed_s=0.02, per_item_s=0.0005, max_batch=32)
    design = FleetDesign((service,), router="power-of-two", classes=(SimulatedClass(limit_s=0.2),))
    rates = np.full(2, per_s)
    outcome = simulate_fleet_day(design, rates, 60.0, Fixed(256), Operations(), seed=5, usd_per_hour=1.0)
    assert outcome.scale_divisor == 2
    assert outcome.totals.arrivals == pytest.approx(per_s * 120, rel=rel)
    assert outcome.minutes[0].ready == 256
    assert outcome.billed_s["ready"] == 256 * 120.0
    assert "one of 2" in outcome.notes[0]
    assert "Smaller cells have higher percentiles" in outcome.notes[0]


@pytest.mark.parametrize(("rates", "slot_s"), [(np.array([]), 1.0), (np.array([-1.0]), 1.0), (np.ones(3), 7.0)])
def test_invalid_rates_or_slots_are_refused(rates: np.ndarray, slot_s: float) -> None:
    with pytest.raises(UsageError):
        simulate_fleet_day(DESIGN, rates, 60.0, Fixed(1), Operations(), seed=1, slot_s=slot_s)


def test_hours_summarize_their_minutes_and_progress_is_reported_per_minute() -> None:
    rates = np.concatenate([np.full(60, 8.0), np.full(45, 24.0)])
    progress: list[float] = []
    outcome = simulate_fleet_day(
        DESIGN, rates, 60.0, Fixed(4), Operations(), seed=5, usd_per_hour=2.0, on_progress=progress.append
    )
    assert [hour.at_s for hour in outcome.hours] == [0.0, 3600.0]
    for hour, minutes in zip(outcome.hours, (outcome.minutes[:60], outcome.minutes[60:]), strict=True):
        assert hour.good == sum(minute.good for minute in minutes)
        assert hour.usd == pytest.approx(sum(minute.usd for minute in minutes))
        assert hour.p95_s is not None
        assert min(bucket.p95_s or 0 for bucket in minutes) < hour.p95_s < max(bucket.p95_s or 0 for bucket in minutes)
    assert len(progress) == 105
    assert progress[59] == pytest.approx(8 / 26)
    assert progress[-1] == pytest.approx(1.0)


def test_rate_modulation_lasts_for_its_window() -> None:
    rates, shape = np.full(240, 30.0), 4.0
    by_minute = []
    for modulated_s in (60.0, 600.0):
        outcome = simulate_fleet_day(
            DESIGN,
            rates,
            60.0,
            Fixed(6),
            Operations(),
            seed=5,
            modulation_shape=shape,
            modulation_window_s=modulated_s,
            slot_s=60.0,
        )
        by_minute.append(np.array([minute.arrivals_per_s for minute in outcome.minutes]))
    assert np.corrcoef(by_minute[0][:-1], by_minute[0][1:])[0, 1] < 0.3
    assert np.corrcoef(by_minute[1][:-1], by_minute[1][1:])[0, 1] > 0.7
