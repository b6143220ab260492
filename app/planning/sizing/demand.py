"""Traffic as expected rates over time: requests per time bin that reach the replicas after the
cache.

In the middle of each hour, the rate is peak × hourly share × weekday share. Between these times,
the rate is interpolated linearly, also across midnight. A week therefore contains exactly the
requests that its 168 shares specify, but the rate is below the peak at the start and end of a peak
hour. Growth compounds from midnight of today. Spikes and campaigns multiply the rate. If a spike or
campaign covers only a part of a bin, the rate of the bin changes in proportion.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from app.records.traffic import RecurringSpike, Traffic

DAY_S = 86_400.0
HOURS_PER_YEAR = 8_760
_HOUR_S = 3_600.0
_YEAR_S = 365 * DAY_S
_MONDAY = datetime.date(2024, 1, 1)

Floats = npt.NDArray[np.float64]


def compute_rates_per_s(
    traffic: Traffic, start: datetime.datetime, hours: float, bin_s: float = 60.0, *, today: datetime.date | None = None
) -> Floats:
    """Return the mean rate in req/s of each bin of `bin_s` seconds from `start`, a datetime without
    time zone.

    Growth is counted from `today`, or from the day of `start` if `today` is `None`.
    """
    bin_count = round(hours * _HOUR_S / bin_s)
    start_offset_s = (start - _get_midnight(start.date())).total_seconds()
    bin_starts_s: Floats = start_offset_s + np.arange(bin_count, dtype=np.float64) * bin_s
    rates_per_s = _compute_weekly_shares(traffic, start.date(), bin_starts_s + bin_s / 2)
    rates_per_s *= traffic.peak_per_s * (1.0 - traffic.cache_share)
    if traffic.growth_per_year:
        growth_duration_s = (start.date() - (today or start.date())).days * DAY_S
        rates_per_s *= np.power(
            1.0 + traffic.growth_per_year, (bin_starts_s + (bin_s / 2 + growth_duration_s)) / _YEAR_S
        )
    for start_s, end_s, factor in _iterate_surges(traffic, start.date(), start_offset_s + bin_count * bin_s):
        _scale_bins(rates_per_s, (start_s - start_offset_s) / bin_s, (end_s - start_offset_s) / bin_s, factor)
    return rates_per_s


@lru_cache(maxsize=2)
def compute_year_rates_per_s(traffic: Traffic, today: datetime.date) -> Floats:
    """Return the rate in req/s of each minute of the next 365 days, from today's midnight.

    The array is read-only, because all parts of a plan share it.
    """
    rates_per_s = compute_rates_per_s(traffic, _get_midnight(today), HOURS_PER_YEAR)
    rates_per_s.flags.writeable = False
    return rates_per_s


def compute_peak_per_s(traffic: Traffic, today: datetime.date | None = None) -> float:
    """Return the highest rate in req/s that reaches the replicas in the next 12 months.

    For growing traffic, the recurring peak includes the growth of 12 months, and a campaign
    includes the growth until its days. Without `today`, campaigns are ignored.
    """
    recurring_peak_per_s = max(
        traffic.peak_per_s * (1.0 - traffic.cache_share), float(_compute_typical_week(traffic).max())
    )
    peak_per_s = recurring_peak_per_s * max(1.0, 1.0 + traffic.growth_per_year)
    if today is None or not any(campaign.times > 1 and campaign.last >= today for campaign in traffic.campaigns):
        return peak_per_s
    return max(peak_per_s, float(compute_year_rates_per_s(traffic, today).max()))


def compute_mean_per_s(traffic: Traffic) -> float:
    """Return the mean rate in req/s that reaches the replicas over a typical week at today's
    traffic level.

    Spikes are included; campaigns and growth are not.
    """
    return float(_compute_typical_week(traffic).mean())


def compute_peak_sigma(traffic: Traffic) -> float:
    """Return the standard deviation of the log peak rate, given `Traffic.uncertainty`, the relative
    standard deviation of the lognormal peak.
    """
    return math.sqrt(math.log1p(traffic.uncertainty**2))


def _compute_typical_week(traffic: Traffic) -> Floats:
    current_traffic = Traffic(
        traffic.peak_per_s,
        traffic.shape,
        traffic.hourly_share,
        weekly_share=traffic.weekly_share,
        spikes=traffic.spikes,
        cache_share=traffic.cache_share,
    )
    return compute_rates_per_s(current_traffic, _get_midnight(_MONDAY), 7 * 24)


def _get_midnight(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time())


def _compute_weekly_shares(traffic: Traffic, first_day: datetime.date, times_s: Floats) -> Floats:
    """Return the rates relative to the peak, hourly share × weekday share, at times in seconds
    after midnight of the first day."""
    if not len(times_s):
        return np.zeros(0)
    hours = np.arange(-1, math.ceil(times_s[-1] / _HOUR_S) + 2)
    days = (first_day.weekday() + hours // 24) % 7
    hourly_shares = np.asarray(traffic.hourly_share)[hours % 24] * np.asarray(traffic.weekly_share)[days]
    shares: Floats = np.interp(times_s, (hours + 0.5) * _HOUR_S, hourly_shares)
    return shares


def _iterate_surges(
    traffic: Traffic, first_day: datetime.date, horizon_s: float
) -> Iterator[tuple[float, float, float]]:
    """Yield start, end and rate factor of each campaign and spike. Start and end are in seconds
    after midnight of the first day.
    """
    for campaign in traffic.campaigns:
        start_day = (campaign.first - first_day).days
        yield start_day * DAY_S, ((campaign.last - first_day).days + 1) * DAY_S, campaign.times
    for spike in traffic.spikes:
        yield from _iterate_spike_surges(spike, first_day, horizon_s)


def _iterate_spike_surges(
    spike: RecurringSpike, first_day: datetime.date, horizon_s: float
) -> Iterator[tuple[float, float, float]]:
    for day in range(-1, math.ceil(horizon_s / DAY_S)):  # yesterday's spike may last past midnight
        if (first_day.weekday() + day) % 7 in spike.days:
            start_s = day * DAY_S + spike.at_s
            yield start_s, start_s + spike.duration_s, spike.times


def _scale_bins(rates_per_s: Floats, first_position: float, end_position: float, factor: float) -> None:
    """Multiply the rates between two bin positions, which may be fractional, by a factor."""
    first_position, end_position = max(0.0, first_position), min(float(len(rates_per_s)), end_position)
    if end_position <= first_position:
        return
    first_bin, last_bin = math.floor(first_position), math.ceil(end_position)
    coverage = np.ones(last_bin - first_bin)
    coverage[0] -= first_position - first_bin
    coverage[-1] -= last_bin - end_position
    rates_per_s[first_bin:last_bin] *= 1.0 + (factor - 1.0) * coverage
