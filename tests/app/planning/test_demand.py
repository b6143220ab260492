from __future__ import annotations

import datetime
import math
import random

import numpy as np
import pytest

from app.planning.demand import (
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


def test_a_flat_day_is_the_peak_all_day() -> None:
    assert compute_rates_per_s(Traffic(900.0, "flat", FLAT), MONDAY, 24).tolist() == [900.0] * 1440


@pytest.mark.parametrize("bin_s", [60.0, 300.0, 1800.0, 3600.0])
def test_a_week_holds_what_its_168_shares_say(bin_s: float) -> None:
    """The line between the middles of hours has the mean of its points over a cycle."""
    traffic = Traffic(100.0, "custom", DAY, weekly_share=BUSINESS)
    rates = compute_rates_per_s(traffic, MONDAY, 168, bin_s)
    assert rates.sum() * bin_s == pytest.approx(100.0 * sum(DAY) * sum(BUSINESS) * 3600)
    assert compute_mean_per_s(traffic) == pytest.approx(100.0 * sum(DAY) * sum(BUSINESS) / 168)


def test_the_middle_of_an_hour_has_its_share_and_between_two_is_a_line() -> None:
    rates = compute_rates_per_s(Traffic(100.0, "custom", DAY), MONDAY, 24, 60.0)
    assert rates[10 * 60 + 29 : 10 * 60 + 31].mean() == pytest.approx(100 * DAY[10], rel=1e-3)
    assert rates[11 * 60 - 1 : 11 * 60 + 1].mean() == pytest.approx(50 * (DAY[10] + DAY[11]))
    assert np.abs(np.diff(rates, 2)).max() > 0.01  # knots at the middles only
    assert np.flatnonzero(np.abs(np.diff(rates, 2)) > 1e-9).size <= 48


def test_a_span_begins_anywhere_in_a_day() -> None:
    traffic = Traffic(
        100.0, "custom", DAY, 0.3, weekly_share=BUSINESS, spikes=(RecurringSpike(85_000.0, 3_000.0, 3.0),)
    )
    whole = compute_rates_per_s(traffic, MONDAY, 10 * 24)
    later = compute_rates_per_s(traffic, MONDAY + datetime.timedelta(days=3, hours=7), 48, today=TODAY)
    assert later == pytest.approx(whole[(3 * 24 + 7) * 60 :][: 48 * 60])


def test_weekend_days_have_their_level() -> None:
    rates = compute_rates_per_s(Traffic(100.0, "flat", FLAT, weekly_share=BUSINESS), MONDAY, 168)
    noons = rates[720::1440]
    assert noons.tolist() == pytest.approx([100, 100, 100, 100, 100, 40, 30])


def test_growth_is_compound_from_today() -> None:
    traffic = Traffic(100.0, "flat", FLAT, growth_per_year=0.21)
    year = compute_year_rates_per_s(traffic, TODAY)
    assert year.size == 525_600
    assert year[0] == pytest.approx(100.0, rel=1e-5)
    assert year[-1] == pytest.approx(121.0, rel=1e-5)
    assert year[525_600 // 2] == pytest.approx(110.0, rel=1e-5)
    next_year = compute_rates_per_s(traffic, MONDAY + datetime.timedelta(days=365), 1, today=TODAY)
    assert next_year[0] == pytest.approx(121.0, rel=1e-5)


def test_a_spike_is_in_its_minutes_of_its_days() -> None:
    traffic = Traffic(100.0, "flat", FLAT, spikes=(RecurringSpike(NOON_S, 600.0, 3.0, (4,)),))
    rates = compute_rates_per_s(traffic, MONDAY, 168)
    first = 4 * 1440 + 720
    assert np.flatnonzero(rates > 150).tolist() == list(range(first, first + 10))
    assert sorted(set(rates.tolist())) == pytest.approx([100.0, 300.0])


def test_a_spike_over_midnight_goes_on_in_the_next_day() -> None:
    spike = RecurringSpike(86_400.0 - 300.0, 600.0, 2.0, (6,))  # of Sunday, and the span begins on Monday
    rates = compute_rates_per_s(Traffic(100.0, "flat", FLAT, spikes=(spike,)), MONDAY, 24)
    assert np.flatnonzero(rates > 150).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("bin_s", [60.0, 700.0, 3600.0])
def test_a_bin_that_a_spike_covers_in_part_is_raised_in_part(bin_s: float) -> None:
    spike = RecurringSpike(NOON_S + 17.0, 613.0, 4.0)
    rates = compute_rates_per_s(Traffic(100.0, "flat", FLAT, spikes=(spike,)), MONDAY, 168, bin_s)
    assert rates.sum() * bin_s == pytest.approx(100 * 7 * (86_400 + 3 * 613))


def test_a_campaign_lasts_from_its_first_midnight_to_its_last() -> None:
    friday, sunday = datetime.date(2026, 6, 5), datetime.date(2026, 6, 7)
    traffic = Traffic(100.0, "flat", FLAT, campaigns=(Campaign(friday, sunday, 2.5),))
    rates = compute_rates_per_s(traffic, MONDAY, 14 * 24)
    assert np.flatnonzero(rates > 100).tolist() == list(range(4 * 1440, 7 * 1440))
    assert rates.max() == 250.0
    assert compute_rates_per_s(traffic, MONDAY + datetime.timedelta(days=8), 24).max() == 100.0


def test_spikes_and_campaigns_multiply() -> None:
    campaign = Campaign(TODAY, TODAY, 2.0)
    traffic = Traffic(100.0, "flat", FLAT, spikes=(RecurringSpike(NOON_S, 60.0, 3.0),), campaigns=(campaign,))
    assert compute_rates_per_s(traffic, MONDAY, 48).max() == pytest.approx(600.0)


def test_a_cache_takes_its_share_of_all() -> None:
    spikes = (RecurringSpike(NOON_S, 600.0, 3.0),)
    without = Traffic(100.0, "custom", DAY, 0.2, spikes=spikes)
    cached = Traffic(100.0, "custom", DAY, 0.2, spikes=spikes, cache_share=0.3)
    assert compute_rates_per_s(cached, MONDAY, 48) == pytest.approx(0.7 * compute_rates_per_s(without, MONDAY, 48))
    assert compute_peak_per_s(cached) == pytest.approx(0.7 * compute_peak_per_s(without))
    assert compute_mean_per_s(cached) == pytest.approx(0.7 * compute_mean_per_s(without))


def test_the_peak_is_that_in_12_months_with_what_recurs() -> None:
    assert compute_peak_per_s(Traffic(100.0, "custom", DAY, 0.2)) == pytest.approx(120.0)
    assert compute_peak_per_s(Traffic(100.0, "custom", DAY, -0.2)) == 100.0
    spiky = Traffic(100.0, "flat", FLAT, 0.2, spikes=(RecurringSpike(NOON_S, 600.0, 3.0, (4,)),))
    assert compute_peak_per_s(spiky) == pytest.approx(360.0)
    at_night = Traffic(100.0, "custom", DAY, spikes=(RecurringSpike(0.0, 600.0, 3.0),))
    assert compute_peak_per_s(at_night) == 100.0


def test_a_campaign_counts_when_it_comes_with_the_growth_of_its_day() -> None:
    def with_campaign(days: int) -> Traffic:
        day = TODAY + datetime.timedelta(days=days)
        return Traffic(100.0, "flat", FLAT, 1.0, campaigns=(Campaign(day, day, 1.9),))

    assert compute_peak_per_s(with_campaign(3), TODAY) == pytest.approx(200.0)
    assert compute_peak_per_s(with_campaign(300), TODAY) == pytest.approx(190.0 * 2 ** (301 / 365), rel=1e-4)
    assert compute_peak_per_s(with_campaign(400), TODAY) == pytest.approx(200.0)
    assert compute_peak_per_s(with_campaign(-5), TODAY) == pytest.approx(200.0)
    assert compute_peak_per_s(with_campaign(300)) == pytest.approx(200.0)


def test_no_minute_of_the_year_is_over_the_peak_and_one_is_near() -> None:
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


def test_the_peaks_sigma_is_that_of_a_log_normal() -> None:
    assert compute_peak_sigma(Traffic(1.0, "flat", FLAT)) == 0.0
    sigma = compute_peak_sigma(Traffic(1.0, "flat", FLAT, uncertainty=0.3))
    draws = np.random.default_rng(1).lognormal(0.0, sigma, 200_000)
    assert draws.std() / draws.mean() == pytest.approx(0.3, rel=0.02)


def test_an_empty_span_has_no_bins() -> None:
    assert compute_rates_per_s(Traffic(1.0, "flat", FLAT), MONDAY, 0).size == 0
