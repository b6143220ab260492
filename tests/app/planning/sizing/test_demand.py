from __future__ import annotations

import datetime
import math
import random

import numpy as np
import pytest

from app.planning.sizing.demand import (
    compute_mean_per_s,
    compute_peak_per_s,
    compute_peak_sigma,
    compute_rates_per_s,
    compute_year_rates_per_s,
)
from app.records.traffic import Campaign, RecurringSpike, Traffic

FLAT = (1.0,) * 24
DAY = tuple(0.1 + 0.9 * math.sin(hour / 24 * math.pi) ** 2 for hour in range(24))
BUSINESS = (1.0, 1.0, 1.0, 1.0, 1.0, 0.4, 0.3)
MONDAY = datetime.datetime(2026, 6, 1)  # noqa: DTZ001 - local hours are nominal
TODAY = MONDAY.date()
NOON_S = 43_200.0


def test_flat_traffic_has_the_peak_rate_all_day() -> None:
    assert compute_rates_per_s(Traffic(900.0, "flat", FLAT), MONDAY, 24).tolist() == [900.0] * 1440


@pytest.mark.parametrize("bin_s", [60.0, 300.0, 1800.0, 3600.0])
def test_weekly_arrivals_follow_hourly_and_daily_shares(bin_s: float) -> None:
    """Linear interpolation between the middles of hours keeps the mean over a cycle."""
    traffic = Traffic(100.0, "custom", DAY, weekly_share=BUSINESS)
    rates = compute_rates_per_s(traffic, MONDAY, 168, bin_s)
    assert rates.sum() * bin_s == pytest.approx(100.0 * sum(DAY) * sum(BUSINESS) * 3600)
    assert compute_mean_per_s(traffic) == pytest.approx(100.0 * sum(DAY) * sum(BUSINESS) / 168)


def test_rates_are_interpolated_linearly_between_middles_of_hours() -> None:
    rates = compute_rates_per_s(Traffic(100.0, "custom", DAY), MONDAY, 24, 60.0)
    assert rates[10 * 60 + 29 : 10 * 60 + 31].mean() == pytest.approx(100 * DAY[10], rel=1e-3)
    assert rates[11 * 60 - 1 : 11 * 60 + 1].mean() == pytest.approx(50 * (DAY[10] + DAY[11]))
    assert np.abs(np.diff(rates, 2)).max() > 0.01  # knots only at the middles of hours
    assert np.flatnonzero(np.abs(np.diff(rates, 2)) > 1e-9).size <= 48


def test_rates_of_a_span_can_start_at_any_hour() -> None:
    traffic = Traffic(
        100.0, "custom", DAY, 0.3, weekly_share=BUSINESS, spikes=(RecurringSpike(85_000.0, 3_000.0, 3.0),)
    )
    ten_days = compute_rates_per_s(traffic, MONDAY, 10 * 24)
    later = compute_rates_per_s(traffic, MONDAY + datetime.timedelta(days=3, hours=7), 48, today=TODAY)
    assert later == pytest.approx(ten_days[(3 * 24 + 7) * 60 :][: 48 * 60])


def test_rates_follow_the_weekly_shares() -> None:
    rates = compute_rates_per_s(Traffic(100.0, "flat", FLAT, weekly_share=BUSINESS), MONDAY, 168)
    noons = rates[720::1440]
    assert noons.tolist() == pytest.approx([100, 100, 100, 100, 100, 40, 30])


def test_traffic_growth_is_compound() -> None:
    traffic = Traffic(100.0, "flat", FLAT, growth_per_year=0.21)
    year = compute_year_rates_per_s(traffic, TODAY)
    assert year.size == 525_600
    assert year[0] == pytest.approx(100.0, rel=1e-5)
    assert year[-1] == pytest.approx(121.0, rel=1e-5)
    assert year[525_600 // 2] == pytest.approx(110.0, rel=1e-5)
    next_year = compute_rates_per_s(traffic, MONDAY + datetime.timedelta(days=365), 1, today=TODAY)
    assert next_year[0] == pytest.approx(121.0, rel=1e-5)


def test_recurring_spike_raises_its_minutes_on_its_days() -> None:
    traffic = Traffic(100.0, "flat", FLAT, spikes=(RecurringSpike(NOON_S, 600.0, 3.0, (4,)),))
    rates = compute_rates_per_s(traffic, MONDAY, 168)
    first = 4 * 1440 + 720
    assert np.flatnonzero(rates > 150).tolist() == list(range(first, first + 10))
    assert sorted(set(rates.tolist())) == pytest.approx([100.0, 300.0])


def test_recurring_spike_over_midnight_continues_on_the_next_day() -> None:
    spike = RecurringSpike(86_400.0 - 300.0, 600.0, 2.0, (6,))  # the spike is on Sunday and the span starts on Monday
    rates = compute_rates_per_s(Traffic(100.0, "flat", FLAT, spikes=(spike,)), MONDAY, 24)
    assert np.flatnonzero(rates > 150).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("bin_s", [60.0, 700.0, 3600.0])
def test_rate_of_a_bin_partly_covered_by_a_spike_is_raised_in_proportion(bin_s: float) -> None:
    spike = RecurringSpike(NOON_S + 17.0, 613.0, 4.0)
    rates = compute_rates_per_s(Traffic(100.0, "flat", FLAT, spikes=(spike,)), MONDAY, 168, bin_s)
    assert rates.sum() * bin_s == pytest.approx(100 * 7 * (86_400 + 3 * 613))


def test_campaign_covers_its_days_from_midnight_to_midnight() -> None:
    friday, sunday = datetime.date(2026, 6, 5), datetime.date(2026, 6, 7)
    traffic = Traffic(100.0, "flat", FLAT, campaigns=(Campaign(friday, sunday, 2.5),))
    rates = compute_rates_per_s(traffic, MONDAY, 14 * 24)
    assert np.flatnonzero(rates > 100).tolist() == list(range(4 * 1440, 7 * 1440))
    assert rates.max() == 250.0
    assert compute_rates_per_s(traffic, MONDAY + datetime.timedelta(days=8), 24).max() == 100.0


def test_spike_and_campaign_factors_multiply() -> None:
    campaign = Campaign(TODAY, TODAY, 2.0)
    traffic = Traffic(100.0, "flat", FLAT, spikes=(RecurringSpike(NOON_S, 60.0, 3.0),), campaigns=(campaign,))
    assert compute_rates_per_s(traffic, MONDAY, 48).max() == pytest.approx(600.0)


def test_cache_share_scales_rates_peak_and_mean() -> None:
    spikes = (RecurringSpike(NOON_S, 600.0, 3.0),)
    uncached = Traffic(100.0, "custom", DAY, 0.2, spikes=spikes)
    cached = Traffic(100.0, "custom", DAY, 0.2, spikes=spikes, cache_share=0.3)
    assert compute_rates_per_s(cached, MONDAY, 48) == pytest.approx(0.7 * compute_rates_per_s(uncached, MONDAY, 48))
    assert compute_peak_per_s(cached) == pytest.approx(0.7 * compute_peak_per_s(uncached))
    assert compute_mean_per_s(cached) == pytest.approx(0.7 * compute_mean_per_s(uncached))


def test_peak_includes_12_months_of_growth_and_recurring_spikes() -> None:
    assert compute_peak_per_s(Traffic(100.0, "custom", DAY, 0.2)) == pytest.approx(120.0)
    assert compute_peak_per_s(Traffic(100.0, "custom", DAY, -0.2)) == 100.0
    spiky = Traffic(100.0, "flat", FLAT, 0.2, spikes=(RecurringSpike(NOON_S, 600.0, 3.0, (4,)),))
    assert compute_peak_per_s(spiky) == pytest.approx(360.0)
    at_night = Traffic(100.0, "custom", DAY, spikes=(RecurringSpike(0.0, 600.0, 3.0),))
    assert compute_peak_per_s(at_night) == 100.0


def test_peak_includes_future_campaigns_with_growth_to_their_day() -> None:
    def with_campaign(days: int) -> Traffic:
        day = TODAY + datetime.timedelta(days=days)
        return Traffic(100.0, "flat", FLAT, 1.0, campaigns=(Campaign(day, day, 1.9),))

    assert compute_peak_per_s(with_campaign(3), TODAY) == pytest.approx(200.0)
    assert compute_peak_per_s(with_campaign(300), TODAY) == pytest.approx(190.0 * 2 ** (301 / 365), rel=1e-4)
    assert compute_peak_per_s(with_campaign(400), TODAY) == pytest.approx(200.0)
    assert compute_peak_per_s(with_campaign(-5), TODAY) == pytest.approx(200.0)
    assert compute_peak_per_s(with_campaign(300)) == pytest.approx(200.0)


def test_peak_is_an_upper_bound_within_3_percent_of_the_highest_minute() -> None:
    dice = random.Random(5)
    for _ in range(12):
        day = [dice.uniform(0.05, 1) for _ in range(24)]
        traffic = Traffic(
            50.0,
            "custom",
            tuple(share / max(day) for share in day),
            dice.uniform(0, 0.5),
            weekly_share=BUSINESS,
            spikes=(RecurringSpike(dice.randrange(86_400), dice.uniform(60, 7200), dice.uniform(0.2, 4), (1, 3, 6)),),
            campaigns=(Campaign(TODAY, TODAY + datetime.timedelta(days=dice.randrange(400)), dice.uniform(1, 3)),),
            cache_share=dice.uniform(0, 0.6),
        )
        highest, peak = float(compute_year_rates_per_s(traffic, TODAY).max()), compute_peak_per_s(traffic, TODAY)
        assert 0.97 * peak <= highest <= peak * (1 + 1e-9)


def test_peak_sigma_gives_a_lognormal_with_the_requested_cv() -> None:
    assert compute_peak_sigma(Traffic(1.0, "flat", FLAT)) == 0.0
    sigma = compute_peak_sigma(Traffic(1.0, "flat", FLAT, uncertainty=0.3))
    draws = np.random.default_rng(1).lognormal(0.0, sigma, 200_000)
    assert draws.std() / draws.mean() == pytest.approx(0.3, rel=0.02)


def test_rates_of_an_empty_span_are_empty() -> None:
    assert compute_rates_per_s(Traffic(1.0, "flat", FLAT), MONDAY, 0).size == 0
