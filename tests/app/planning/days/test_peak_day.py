from __future__ import annotations

import datetime

import pytest
from msgspec.structs import replace

from app.planning.days.peak_day import compute_busiest_day_rates_per_s, simulate_peak_day
from app.planning.offers.options import get_candidate
from app.planning.sizing.demand import compute_rates_per_s
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.planning_inputs import PlanningInputs
from app.records.traffic import RecurringSpike, Traffic
from tests.fakes.offers import TODAY
from tests.fakes.small_plan import DAYTIME, planning_inputs, sized_by_formula

WEEK = (0.5, 0.6, 0.7, 1.0, 0.7, 0.4, 0.3)
INPUTS = planning_inputs(traffic=Traffic(60.0, "custom", DAYTIME, weekly_share=WEEK))


def test_busiest_day_has_the_highest_hour_of_the_week() -> None:
    hours = compute_busiest_day_rates_per_s(INPUTS)
    assert hours.max() == 60.0
    assert int(hours.argmax()) == 12


def test_hourly_rates_of_the_busiest_day_have_the_arrivals_of_its_minutes() -> None:
    inputs = (
        planning_inputs()
    )  # all days are equal: between different days, interpolation across midnight moves some arrivals
    minutes = compute_rates_per_s(inputs.traffic, datetime.datetime.combine(TODAY, datetime.time()), 24.0)
    assert compute_busiest_day_rates_per_s(inputs).sum() * 60 == pytest.approx(minutes.sum())


def test_recurring_spike_can_make_another_day_the_busiest() -> None:
    sunday = RecurringSpike(at_s=20 * 3600, duration_s=3600, times=9.0, days=(6,))
    spiky = replace(INPUTS, traffic=replace(INPUTS.traffic, spikes=(sunday,)))
    assert int(compute_busiest_day_rates_per_s(spiky).argmax()) == 20
    assert compute_busiest_day_rates_per_s(spiky)[20] > 60.0


def simulate_day(inputs: PlanningInputs) -> tuple[float, list[tuple[float, float, float]]]:
    (option, *_), _ = sized_by_formula(inputs)
    day = simulate_peak_day(option, inputs, build_slo_objectives(inputs.slo))
    assert [hour.hour for hour in day] == list(range(24))
    assert [hour.arrivals_per_s for hour in day] == pytest.approx(compute_busiest_day_rates_per_s(inputs))
    assert {hour.instances for hour in day} == {get_candidate(option).instances}
    latencies_ms = [(hour.p50_ms or 0.0, hour.p95_ms or 0.0, hour.p99_ms or 0.0) for hour in day]
    return sum(hour.usd for hour in day), latencies_ms


def test_peak_day_has_latencies_and_cost_per_hour() -> None:
    usd, latencies_ms = simulate_day(INPUTS)
    (option, *_), _ = sized_by_formula(INPUTS)
    assert usd == pytest.approx(24 * get_candidate(option).instances)
    assert all(p50 < p95 < p99 for p50, p95, p99 in latencies_ms)
    night, noon = latencies_ms[3], latencies_ms[12]
    assert night[2] < noon[2] < 1500


def test_capacity_with_speed_2_halves_the_latency_of_the_day() -> None:
    (option, *_), _ = sized_by_formula(INPUTS)
    assert option.capacity is not None
    doubled_capacity = replace(get_candidate(option).capacity, speed=2.0)
    faster = replace(option, evaluation=replace(get_candidate(option), capacity=doubled_capacity))
    objectives = build_slo_objectives(INPUTS.slo)
    night, faster_night = (
        simulate_peak_day(candidate_option, INPUTS, objectives)[3].p50_ms for candidate_option in (option, faster)
    )
    assert night is not None
    assert faster_night == pytest.approx(night / 2, rel=0.02)


def test_peak_day_without_a_service_model_is_empty() -> None:
    (option, *_), _ = sized_by_formula(INPUTS)
    without_fit = replace(option, target=replace(option.target, fit=None))
    assert simulate_peak_day(without_fit, INPUTS, build_slo_objectives(INPUTS.slo)) == ()
