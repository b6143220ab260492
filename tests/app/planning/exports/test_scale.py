from __future__ import annotations

import datetime
import math
import random

import pytest

from app.errors import UsageError
from app.planning.exports.scale import compute_hourly_pods, compute_scale, format_rounded_down
from app.records.traffic import Campaign, RecurringSpike
from tests.app.planning.exports.planned import (
    UNKNOWN,
    WORKDAY,
    fleet_of,
    planned,
    planned_on_cards,
    pods_of,
    with_fleet,
    without_recommendation,
)


def test_the_bounds_are_the_plans_peak_and_its_quietest_hour() -> None:
    plan = planned()  # 5 instances of 16 pods and one spare
    scale = compute_scale(plan)
    assert (scale.max_pods, scale.spare_pods, scale.pods_per_instance) == (96, 16, 16)
    assert scale.min_pods == math.ceil(0.1 * 80) + 16
    assert scale.max_unavailable == 16
    assert scale.target_per_s == fleet_of(plan).planned_rate_per_replica_per_s
    assert 5000 / 80 <= scale.target_per_s < 5000 / 64


def test_a_quiet_weekend_lowers_the_least() -> None:
    weekly = (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5)
    assert compute_scale(planned(weekly_share=weekly)).min_pods == math.ceil(0.05 * 80) + 16


def test_a_flat_day_needs_the_peak_all_day() -> None:
    plan = planned(hourly_share=(0.7,) * 24, peak_per_s=5000.0)
    flat = planned(hourly_share=(1.0,) * 24)
    assert compute_scale(flat).min_pods == compute_scale(flat).max_pods == pods_of(flat)
    assert set(compute_hourly_pods(flat)) == {pods_of(flat)}
    assert set(compute_hourly_pods(plan)) == {math.ceil(0.7 * 80) + 16}


def test_a_day_that_grows_is_still_flat_and_a_short_peak_is_carried_whole() -> None:
    flat = planned(hourly_share=(1.0,) * 24, growth_per_year=1.0)
    assert compute_scale(flat).min_pods == compute_scale(flat).max_pods
    assert set(compute_hourly_pods(flat)) == {pods_of(flat)}
    short = planned(hourly_share=(0.1,) * 12 + (1.0,) + (0.1,) * 11, peak_per_s=200_000.0)
    assert compute_hourly_pods(short)[12] == pods_of(short)


def test_the_smallest_fleet_never_goes_to_none() -> None:
    plan = planned(peak_per_s=1.0, redundancy=0, hourly_share=(0.0,) * 12 + (1.0,) * 12)
    assert min(compute_hourly_pods(plan)) == compute_scale(plan).min_pods == 1


def test_growth_does_not_lift_the_quiet_hours_share() -> None:
    grown = planned(growth_per_year=1.0)
    scale = compute_scale(grown)
    assert scale.max_pods > 96
    assert scale.min_pods == math.ceil(0.1 * (scale.max_pods - 16) - 1e-9) + 16
    assert scale.target_per_s == compute_scale(planned()).target_per_s


def test_the_cache_answers_its_share_of_every_hour() -> None:
    cached = planned(cache_share=0.5, peak_per_s=10_000.0)
    assert compute_scale(cached) == compute_scale(planned())
    assert compute_hourly_pods(cached) == compute_hourly_pods(planned())


def test_a_campaign_is_no_usual_day() -> None:
    always = Campaign(datetime.date(2020, 1, 2), datetime.date(2024, 1, 2), 3.0)
    assert compute_scale(planned(campaigns=(always,))) == compute_scale(planned())
    assert compute_hourly_pods(planned(campaigns=(always,))) == compute_hourly_pods(planned())


def test_an_hour_of_the_table_carries_the_lines_to_its_neighbours() -> None:
    plan = planned()
    pods = compute_hourly_pods(plan)
    for hour, needed in enumerate(pods):
        edges = [(WORKDAY[hour] + WORKDAY[(hour + step) % 24]) / 2 for step in (-1, 1)]
        share = max(WORKDAY[hour], *edges)
        assert math.ceil((share - 0.01) * 80) <= needed - 16 <= math.ceil(share * 80 - 1e-9), hour
    assert max(pods) == pods_of(plan)


def test_a_spike_is_in_its_hour_on_the_table() -> None:
    usual, spiky = planned(), planned(spikes=(RecurringSpike(3 * 3600.0, 600.0, 20.0, days=(2,)),))
    at_3, peak = compute_hourly_pods(spiky)[3], compute_hourly_pods(spiky)
    assert at_3 == max(peak)
    assert compute_hourly_pods(usual)[3] == min(compute_hourly_pods(usual))


def test_a_plan_file_of_0_1_0_is_scaled_by_the_share_of_the_peak_of_each_pod_needed() -> None:
    plan = with_fleet(planned(growth_per_year=0.2), planned_rate_per_replica_per_s=None)
    scale = compute_scale(plan)
    assert scale.target_per_s * (scale.max_pods - scale.spare_pods) == pytest.approx(6000)


def test_the_spares_stay_within_the_fleet() -> None:
    plan = with_fleet(planned_on_cards(), instances=1, spare_instances=1)
    scale = compute_scale(plan)
    assert (scale.max_pods, scale.spare_pods, scale.min_pods) == (1, 0, 1)


def test_nothing_to_scale_is_refused() -> None:
    for plan in (without_recommendation(planned()), with_fleet(planned(), instances=None)):
        with pytest.raises(UsageError, match="recommends no fleet"):
            compute_scale(plan)
    silent = with_fleet(planned(), planned_rate_per_replica_per_s=None, utilization_at_peak=UNKNOWN)
    with pytest.raises(UsageError, match="no requests"):
        compute_scale(silent)
    assert fleet_of(silent).instances


@pytest.mark.parametrize(
    ("number", "text"),
    [(52.0833, "52.08"), (0.99999, "0.9999"), (1234567.8, "1234567"), (100.0, "100"), (2.5e-7, "0.00000025"), (3, "3")],
)
def test_a_rounded_number_is_never_more_and_has_no_exponent(number: float, text: str) -> None:
    assert format_rounded_down(number) == text


def test_rounding_loses_little() -> None:
    dice = random.Random(2)
    for _ in range(500):
        number = 10 ** dice.uniform(-6, 8)
        assert number * 0.999 <= float(format_rounded_down(number)) <= number
