from __future__ import annotations

import functools

import msgspec
import numpy as np
import pytest

from app.analysis.traces import compute_rate_per_s, select_busiest_rows
from app.planning.days.day import simulate_fleet_day
from app.planning.days.planned_day import DayOptions, simulate_day, summarize_day
from app.planning.days.planned_fleet import BIN_S, PlannedFleet, compute_day_rates_per_s, prepare_fleet, prepare_replica
from app.planning.sizing.fleet_rate import build_design, simulate_traffic
from app.records.day import SimulatedDay, SimulatedHour
from app.records.planning_inputs import PlanningInputs
from app.records.scaling import Autoscaler, ColdStartModel, FailureModel, Fixed, Hpa, Operations, RollingUpdate
from app.records.service import TokenService
from app.records.traffic import Dispersion, TokenLengths, Traffic
from tests.fakes.offers import TODAY
from tests.fakes.small_plan import DAYTIME, SERVICE, cached_plan, planning_inputs, slow_planning_inputs
from tests.studies.trace_truths import bursty_requests
from tests.tiers import first_in_unit_tier

QUESTION = planning_inputs()
SLOWER = 10.0
SLOW_QUESTION = slow_planning_inputs(SLOWER)
HPA = Hpa(0.67, 12)
COLD_STARTS = Operations(ColdStartModel(node_s=60.0))


@functools.cache
def planned_fleet() -> PlannedFleet:
    return prepare_fleet(cached_plan(QUESTION), QUESTION, None, None)


@functools.cache
def slow_fleet() -> PlannedFleet:
    """Return a fleet with 10 times slower requests and a tenth of the traffic, so that whole days are quick."""
    return prepare_fleet(cached_plan(SLOW_QUESTION), SLOW_QUESTION, None, None)


def simulate_morning(
    autoscaler: Autoscaler = HPA, operations: Operations = COLD_STARTS, hours: slice = slice(5, 7)
) -> SimulatedDay:
    """Simulate two hours in which the traffic grows from a tenth to half of its peak."""
    day = DayOptions(TODAY, autoscaler, operations, timeout_s=20.0)
    rates = compute_day_rates_per_s(QUESTION, TODAY)[hours.start * 60 : hours.stop * 60]
    design = msgspec.structs.replace(
        build_design(SERVICE, planned_fleet().shape, planned_fleet().replicas), timeout_s=20.0
    )
    start_s = hours.start * 3600.0
    outcome = simulate_fleet_day(
        design, rates, BIN_S, autoscaler, operations, seed=1, usd_per_hour=0.5, start_s=start_s
    )
    return summarize_day(planned_fleet(), QUESTION, day, outcome, rates)


@pytest.fixture(scope="module")
def static_day() -> tuple[SimulatedDay, list[float]]:
    """A day without an autoscaler, and the progress that was reported."""
    progress: list[float] = []
    options = DayOptions(TODAY, Fixed(slow_fleet().replicas), Operations())
    return simulate_day(slow_fleet(), SLOW_QUESTION, options, progress.append), progress


def test_day_without_autoscaler_has_the_planned_cost_and_meets_the_slo(
    static_day: tuple[SimulatedDay, list[float]],
) -> None:
    day, progress = static_day
    assert slow_fleet().instances == planned_fleet().instances
    assert progress == sorted(progress)
    assert progress[-1] == pytest.approx(1.0)
    assert day.usd == pytest.approx(24 * planned_fleet().instances)
    assert day.usd_static == day.usd
    assert len(day.hours) == 24
    assert [hour.hour for hour in day.hours] == list(range(24))
    assert sum(hour.usd for hour in day.hours) == pytest.approx(day.usd)
    assert day.totals.arrivals == pytest.approx(compute_day_rates_per_s(SLOW_QUESTION, TODAY).sum() * 60, rel=0.01)
    assert day.attainment is not None
    assert day.attainment > 0.95
    assert day.target_share == 0.95
    assert day.sentences[0] == "The SLO is met over the day."
    assert "reached in 24 of 24 hours" in day.sentences[1]
    assert not any("less than" in text for text in day.sentences)
    assert not any("cold start" in note for note in day.notes)


def test_peak_hour_has_more_arrivals_and_higher_p99_than_the_night() -> None:
    small_fleet = msgspec.structs.replace(slow_fleet(), instances=3)
    day = simulate_day(small_fleet, SLOW_QUESTION, DayOptions(TODAY, Fixed(6), Operations()))
    night, noon = day.hours[3], day.hours[12]
    assert night.arrivals_per_s == pytest.approx(6 / SLOWER, rel=0.05)
    assert noon.arrivals_per_s == pytest.approx(56.3 / SLOWER, rel=0.05)
    assert night.p99_ms is not None
    assert noon.p99_ms is not None
    assert 1.5 * night.p99_ms < noon.p99_ms


def test_autoscaled_day_is_billed_by_whole_instances_and_compared_with_fixed_cost() -> None:
    day = simulate_morning()
    counts = [minute.billed for minute in day.minutes]
    assert min(counts) < max(counts)
    assert day.billed_instances.min == pytest.approx(np.ceil(min(counts) / 2))
    assert day.billed_instances.max == pytest.approx(np.ceil(max(counts) / 2))
    assert day.billed_instances.mean >= day.billed.mean / 2
    assert day.usd == pytest.approx(day.billed_instances.mean * 2)
    assert day.usd > sum(minute.usd for minute in day.minutes)
    assert "less than 6 instances without autoscaling" in day.sentences[4]
    assert any(note.startswith("An instance runs 2 replicas.") for note in day.notes)


def test_request_outcomes_of_a_day_add_up_to_arrivals() -> None:
    day = simulate_morning(
        Fixed(2), Operations(ColdStartModel(node_s=60.0), FailureModel(2.0), (RollingUpdate(6 * 3600.0),))
    )
    totals = day.totals
    outcomes = (totals.good, totals.late, totals.dropped, totals.timed_out, totals.failed, totals.in_flight)
    assert totals.arrivals == sum(outcomes)
    assert day.conservation.startswith(f"{totals.arrivals} requests = {totals.good} good + {totals.late} late")
    assert min(totals.late, totals.timed_out, totals.failed) > 0
    assert day.sentences[0] == "The SLO is missed over the day."
    assert f"{totals.timed_out:,} timed out" in day.sentences[2]


@pytest.mark.parametrize("hours", first_in_unit_tier([slice(6, 7), slice(5, 7)]))
def test_slower_node_start_lowers_attainment(hours: slice) -> None:
    attainments = [
        simulate_morning(operations=Operations(ColdStartModel(node_s=node_s)), hours=hours).attainment or 0.0
        for node_s in (0.0, 2400.0)
    ]
    assert attainments[0] > attainments[1] + 0.01


def test_day_has_the_dispersion_of_the_traffic(static_day: tuple[SimulatedDay, list[float]]) -> None:
    traffic = msgspec.structs.replace(SLOW_QUESTION.traffic, dispersion=Dispersion(300.0 / SLOWER, 60.0))
    bursty = msgspec.structs.replace(SLOW_QUESTION, traffic=traffic)
    poisson_day, bursty_day = (
        static_day[0],
        simulate_day(slow_fleet(), bursty, DayOptions(TODAY, Fixed(slow_fleet().replicas), Operations())),
    )
    noon = slice(750, 810)
    index = [
        np.var([60 * minute.arrivals_per_s for minute in simulated_day.minutes[noon]]) / (3600 / SLOWER)
        for simulated_day in (poisson_day, bursty_day)
    ]
    assert index[0] < 3
    assert 100 / SLOWER < index[1] < 700 / SLOWER


def test_router_timeout_and_queue_limit_of_the_day_options_are_applied() -> None:
    small_fleet = msgspec.structs.replace(slow_fleet(), instances=4)
    options = DayOptions(TODAY, Fixed(8), Operations())
    random_router, impatient = (
        simulate_day(small_fleet, SLOW_QUESTION, day)
        for day in (
            msgspec.structs.replace(options, router="random"),
            msgspec.structs.replace(options, timeout_s=0.05 * SLOWER, queue_limit=3),
        )
    )
    least_outstanding = simulate_day(small_fleet, SLOW_QUESTION, options)
    assert (random_router.attainment or 0) < (least_outstanding.attainment or 0) - 0.002
    assert least_outstanding.totals.timed_out == 0
    assert impatient.totals.timed_out > 0


def test_day_of_a_token_service_has_ttft_and_tpot() -> None:
    service = TokenService(0.02, 0.0005, 1e-5, max_sequences=32, kv_tokens=60_000)
    tokens = (TokenLengths(1.0, 500.0, 50.0),)
    inputs = planning_inputs(service, slo="ttft_ms.p95 < 500", traffic=Traffic(8.0, "custom", DAYTIME, tokens=tokens))
    fleet = prepare_fleet(cached_plan(inputs), inputs, None, None)
    replica = prepare_replica(fleet, compute_day_rates_per_s(inputs, TODAY))
    assert replica.in_flight > 1
    day = simulate_day(fleet, inputs, DayOptions(TODAY, Fixed(fleet.replicas), Operations()))
    assert day.p50_ms is not None
    assert day.p50_ms > 50 * 20
    assert "p95 TTFT < 500 ms" in day.sentences[1]
    assert day.attainment is not None
    assert day.tokens is not None
    assert day.tokens.ttft_p95_ms is not None
    assert (day.attainment >= 0.95) is (day.tokens.ttft_p95_ms < 500)
    periods: tuple[SimulatedDay | SimulatedHour, ...] = (day, *day.hours)
    for period in periods:
        assert period.tokens is not None
        assert period.tokens.ttft_p95_ms is not None
        assert period.tokens.tpot_p50_ms is not None
        assert period.p50_ms is not None
        assert 20 <= period.tokens.tpot_p50_ms < period.tokens.ttft_p95_ms < period.p50_ms


def test_day_of_a_request_service_has_no_token_latencies(static_day: tuple[SimulatedDay, list[float]]) -> None:
    day, _ = static_day
    assert {day.tokens, *(hour.tokens for hour in day.hours)} == {None}


def test_day_replays_the_trace_of_the_plan() -> None:
    """The attainment of the day equals that of the plan; with Poisson arrivals it is higher."""
    requests = bursty_requests(20.0, 4.0, 60.0, 300.0)[::20]  # about 1/s
    rows = select_busiest_rows(np.array([request.at_s for request in requests]))
    traffic = Traffic(compute_rate_per_s(rows), "flat", (1.0,) * 24, rows=rows)
    inputs = planning_inputs(
        msgspec.structs.replace(SERVICE, mean_s=4.0), slo="latency_ms.p95 < 12000", traffic=traffic
    )
    fleet = prepare_fleet(cached_plan(inputs), inputs, None, 3)
    poisson_inputs = msgspec.structs.replace(inputs, traffic=msgspec.structs.replace(traffic, rows=None))
    assert fleet.replicas == 6

    def attainment(planning_inputs: PlanningInputs) -> float:
        day = simulate_day(fleet, planning_inputs, DayOptions(TODAY, Fixed(fleet.replicas), Operations()))
        assert day.totals.arrivals == pytest.approx(86_400 * traffic.peak_per_s, rel=0.02)
        assert day.attainment is not None
        return day.attainment

    of_plan = simulate_traffic(fleet.service, fleet.shape, fleet.replicas, traffic.peak_per_s, 1).overall.good_share
    replayed = attainment(inputs)
    assert replayed == pytest.approx(of_plan, abs=0.02)
    assert replayed < attainment(poisson_inputs) - 0.03
