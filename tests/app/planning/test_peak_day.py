from __future__ import annotations

import datetime

import pytest
from msgspec.structs import replace

from app.planning.demand import compute_rates_per_s
from app.planning.options import get_candidate
from app.planning.peak_day import compute_busiest_day_rates_per_s, simulate_peak_day
from app.planning.slo_objectives import build_slo_objectives
from app.records.planning_inputs import PlanningInputs
from app.records.traffic import RecurringSpike, Traffic
from tests.fakes.offers import TODAY
from tests.fakes.planned import DAYTIME, question, sized

WEEK = (0.5, 0.6, 0.7, 1.0, 0.7, 0.4, 0.3)
ASKED = question(traffic=Traffic(60.0, "custom", DAYTIME, weekly_share=WEEK))


def test_the_day_is_that_of_the_weeks_highest_hour() -> None:
    hours = compute_busiest_day_rates_per_s(ASKED)
    assert hours.max() == 60.0
    assert int(hours.argmax()) == 12


def test_its_hours_hold_all_the_arrivals_of_its_minutes() -> None:
    asked = question()  # all days alike: between unlike days the line over midnight moves some
    minutes = compute_rates_per_s(asked.traffic, datetime.datetime.combine(TODAY, datetime.time()), 24.0)
    assert compute_busiest_day_rates_per_s(asked).sum() * 60 == pytest.approx(minutes.sum())


def test_a_spike_may_make_another_day_the_busiest() -> None:
    sunday = RecurringSpike(at_s=20 * 3600, duration_s=3600, times=9.0, days=(6,))
    spiky = replace(ASKED, traffic=replace(ASKED.traffic, spikes=(sunday,)))
    assert int(compute_busiest_day_rates_per_s(spiky).argmax()) == 20
    assert compute_busiest_day_rates_per_s(spiky)[20] > 60.0


def played(asked: PlanningInputs) -> tuple[float, list[tuple[float, float, float]]]:
    (best, *_), _ = sized(asked)
    day = simulate_peak_day(best, asked, build_slo_objectives(asked.slo))
    assert [hour.hour for hour in day] == list(range(24))
    assert [hour.arrivals_per_s for hour in day] == pytest.approx(compute_busiest_day_rates_per_s(asked))
    assert {hour.instances for hour in day} == {get_candidate(best).instances}
    reported = [(hour.p50_ms or 0.0, hour.p95_ms or 0.0, hour.p99_ms or 0.0) for hour in day]
    return sum(hour.usd for hour in day), reported


def test_each_hour_is_played_at_its_rate_and_paid_for() -> None:
    usd, times = played(ASKED)
    (best, *_), _ = sized(ASKED)
    assert usd == pytest.approx(24 * get_candidate(best).instances)
    assert all(p50 < p95 < p99 for p50, p95, p99 in times)
    night, noon = times[3], times[12]
    assert night[2] < noon[2] < 1500


def test_cards_twice_as_fast_answer_in_half_the_time() -> None:
    (best, *_), _ = sized(ASKED)
    assert best.capacity is not None
    twice = replace(get_candidate(best).capacity, speed=2.0)
    faster = replace(best, evaluation=replace(get_candidate(best), capacity=twice))
    objectives = build_slo_objectives(ASKED.slo)
    night, sooner = (simulate_peak_day(option, ASKED, objectives)[3].p50_ms for option in (best, faster))
    assert night is not None
    assert sooner == pytest.approx(night / 2, rel=0.02)


def test_without_a_service_model_nothing_is_played() -> None:
    (best, *_), _ = sized(ASKED)
    alone = replace(best, target=replace(best.target, fit=None))
    assert simulate_peak_day(alone, ASKED, build_slo_objectives(ASKED.slo)) == ()
