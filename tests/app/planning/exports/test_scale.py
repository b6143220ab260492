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
    build_gpu_plan,
    build_plan,
    count_pods,
    get_fleet,
    with_fleet,
    without_recommendation,
)


def test_pod_bounds_match_the_quietest_hour_and_the_peak() -> None:
    plan = build_plan()  # 5 instances of 16 pods and one spare
    scale = compute_scale(plan)
    assert (scale.max_pods, scale.spare_pods, scale.pods_per_instance) == (96, 16, 16)
    assert scale.min_pods == math.ceil(0.1 * 80) + 16
    assert scale.max_unavailable == 16
    assert scale.target_per_s == get_fleet(plan).planned_rate_per_replica_per_s
    assert 5000 / 80 <= scale.target_per_s < 5000 / 64


def test_quiet_weekend_lowers_min_pods() -> None:
    weekly = (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5)
    assert compute_scale(build_plan(weekly_share=weekly)).min_pods == math.ceil(0.05 * 80) + 16


def test_flat_traffic_has_equal_pods_in_all_hours() -> None:
    plan = build_plan(hourly_share=(0.7,) * 24, peak_per_s=5000.0)
    flat = build_plan(hourly_share=(1.0,) * 24)
    assert compute_scale(flat).min_pods == compute_scale(flat).max_pods == count_pods(flat)
    assert set(compute_hourly_pods(flat)) == {count_pods(flat)}
    assert set(compute_hourly_pods(plan)) == {math.ceil(0.7 * 80) + 16}


def test_flat_traffic_with_growth_and_a_one_hour_peak_need_all_pods() -> None:
    flat = build_plan(hourly_share=(1.0,) * 24, growth_per_year=1.0)
    assert compute_scale(flat).min_pods == compute_scale(flat).max_pods
    assert set(compute_hourly_pods(flat)) == {count_pods(flat)}
    short = build_plan(hourly_share=(0.1,) * 12 + (1.0,) + (0.1,) * 11, peak_per_s=200_000.0)
    assert compute_hourly_pods(short)[12] == count_pods(short)


def test_min_pods_is_at_least_1() -> None:
    plan = build_plan(peak_per_s=1.0, redundancy=0, hourly_share=(0.0,) * 12 + (1.0,) * 12)
    assert min(compute_hourly_pods(plan)) == compute_scale(plan).min_pods == 1


def test_growth_scales_min_pods_in_proportion() -> None:
    grown = build_plan(growth_per_year=1.0)
    scale = compute_scale(grown)
    assert scale.max_pods > 96
    assert scale.min_pods == math.ceil(0.1 * (scale.max_pods - 16) - 1e-9) + 16
    assert scale.target_per_s == compute_scale(build_plan()).target_per_s


def test_cache_share_reduces_every_hour() -> None:
    cached = build_plan(cache_share=0.5, peak_per_s=10_000.0)
    assert compute_scale(cached) == compute_scale(build_plan())
    assert compute_hourly_pods(cached) == compute_hourly_pods(build_plan())


def test_campaigns_do_not_change_the_scale() -> None:
    always = Campaign(datetime.date(2020, 1, 2), datetime.date(2024, 1, 2), 3.0)
    assert compute_scale(build_plan(campaigns=(always,))) == compute_scale(build_plan())
    assert compute_hourly_pods(build_plan(campaigns=(always,))) == compute_hourly_pods(build_plan())


def test_hourly_pods_cover_the_interpolation_to_adjacent_hours() -> None:
    plan = build_plan()
    pods = compute_hourly_pods(plan)
    for hour, needed in enumerate(pods):
        edges = [(WORKDAY[hour] + WORKDAY[(hour + step) % 24]) / 2 for step in (-1, 1)]
        share = max(WORKDAY[hour], *edges)
        assert math.ceil((share - 0.01) * 80) <= needed - 16 <= math.ceil(share * 80 - 1e-9), hour
    assert max(pods) == count_pods(plan)


def test_recurring_spike_has_all_pods_in_its_hour() -> None:
    usual, spiky = build_plan(), build_plan(spikes=(RecurringSpike(3 * 3600.0, 600.0, 20.0, days=(2,)),))
    pods_at_3, hourly_pods = compute_hourly_pods(spiky)[3], compute_hourly_pods(spiky)
    assert pods_at_3 == max(hourly_pods)
    assert compute_hourly_pods(usual)[3] == min(compute_hourly_pods(usual))


def test_plan_file_of_0_1_0_has_the_peak_per_needed_pod_as_target() -> None:
    plan = with_fleet(build_plan(growth_per_year=0.2), planned_rate_per_replica_per_s=None)
    scale = compute_scale(plan)
    assert scale.target_per_s * (scale.max_pods - scale.spare_pods) == pytest.approx(6000)


def test_spare_pods_leave_at_least_one_pod() -> None:
    plan = with_fleet(build_gpu_plan(), instances=1, spare_instances=1)
    scale = compute_scale(plan)
    assert (scale.max_pods, scale.spare_pods, scale.min_pods) == (1, 0, 1)


def test_scale_without_fleet_or_requests_is_refused() -> None:
    for plan in (without_recommendation(build_plan()), with_fleet(build_plan(), instances=None)):
        with pytest.raises(UsageError, match="recommends no fleet"):
            compute_scale(plan)
    without_rate = with_fleet(build_plan(), planned_rate_per_replica_per_s=None, utilization_at_peak=UNKNOWN)
    with pytest.raises(UsageError, match="no requests"):
        compute_scale(without_rate)
    assert get_fleet(without_rate).instances


@pytest.mark.parametrize(
    ("number", "text"),
    [(52.0833, "52.08"), (0.99999, "0.9999"), (1234567.8, "1234567"), (100.0, "100"), (2.5e-7, "0.00000025"), (3, "3")],
)
def test_exported_number_is_rounded_down_without_exponent(number: float, text: str) -> None:
    assert format_rounded_down(number) == text


def test_rounding_down_loses_at_most_0_1_percent() -> None:
    dice = random.Random(2)
    for _ in range(500):
        number = 10 ** dice.uniform(-6, 8)
        assert number * 0.999 <= float(format_rounded_down(number)) <= number
