"""Traffic as intended rates over time: the requests per bin that reach the replicas, after the cache.

The middle of each hour has its share of the peak times the share of its weekday, and the rate is linear between two
middles, also across midnight. So a week holds exactly what its 168 shares state, and the line through a peak hour is
below the peak at the hour's edges. Growth is compound from today's midnight. Spikes and campaigns multiply the rate; a
bin that one covers in part is raised in part.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator

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
    """Return the mean rate of each bin from `start`, which has no time zone.

    Growth is counted from `today`, or from the day of `start` without it.
    """
    bins = round(hours * _HOUR_S / bin_s)
    since_s = (start - _midnight(start.date())).total_seconds()
    from_s: Floats = since_s + np.arange(bins, dtype=np.float64) * bin_s
    rates = _weekly_shares(traffic, start.date(), from_s + bin_s / 2)
    rates *= traffic.peak_per_s * (1.0 - traffic.cache_share)
    if traffic.growth_per_year:
        aged_s = (start.date() - (today or start.date())).days * DAY_S
        rates *= np.power(1.0 + traffic.growth_per_year, (from_s + (bin_s / 2 + aged_s)) / _YEAR_S)
    for begin_s, end_s, times in _disturbances(traffic, start.date(), since_s + bins * bin_s):
        _scale_bins(rates, (begin_s - since_s) / bin_s, (end_s - since_s) / bin_s, times)
    return rates


def compute_year_rates_per_s(traffic: Traffic, today: datetime.date) -> Floats:
    """Return the rate of each minute of the coming year, from today's midnight."""
    return compute_rates_per_s(traffic, _midnight(today), HOURS_PER_YEAR)


def peak_per_s(traffic: Traffic, today: datetime.date | None = None) -> float:
    """Return the highest rate of the next 12 months that reaches replicas.

    Recurring traffic is taken at its level in 12 months, where it grows; a campaign at its level on its days, which
    needs a date: without one campaigns are left out.
    """
    recurring = max(traffic.peak_per_s * (1.0 - traffic.cache_share), float(_typical_week(traffic).max()))
    peak = recurring * max(1.0, 1.0 + traffic.growth_per_year)
    if today is None or not any(campaign.times > 1 and campaign.last >= today for campaign in traffic.campaigns):
        return peak
    return max(peak, float(compute_year_rates_per_s(traffic, today).max()))


def compute_mean_per_s(traffic: Traffic) -> float:
    """Return the mean rate that reaches replicas over a week at today's level.

    It includes spikes, but neither campaigns nor growth.
    """
    return float(_typical_week(traffic).mean())


def compute_peak_sigma(traffic: Traffic) -> float:
    """Return one sigma of the peak's logarithm.

    It is that of a log-normal whose relative standard deviation is `uncertainty`.
    """
    return math.sqrt(math.log1p(traffic.uncertainty**2))


def _typical_week(traffic: Traffic) -> Floats:
    current = Traffic(
        traffic.peak_per_s,
        traffic.shape,
        traffic.hourly_share,
        weekly_share=traffic.weekly_share,
        spikes=traffic.spikes,
        cache_share=traffic.cache_share,
    )
    return compute_rates_per_s(current, _midnight(_MONDAY), 7 * 24)


def _midnight(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time())


def _weekly_shares(traffic: Traffic, first_day: datetime.date, at_s: Floats) -> Floats:
    """Return the share of the peak at the given seconds after the first day's midnight."""
    if not len(at_s):
        return np.zeros(0)
    hours = np.arange(-1, math.ceil(at_s[-1] / _HOUR_S) + 2)
    days = (first_day.weekday() + hours // 24) % 7
    values = np.asarray(traffic.hourly_share)[hours % 24] * np.asarray(traffic.weekly_share)[days]
    shares: Floats = np.interp(at_s, (hours + 0.5) * _HOUR_S, values)
    return shares


def _disturbances(traffic: Traffic, first_day: datetime.date, until_s: float) -> Iterator[tuple[float, float, float]]:
    """Yield begin and end in seconds after the first day's midnight, and the multiple of the usual rate."""
    for campaign in traffic.campaigns:
        begin = (campaign.first - first_day).days
        yield begin * DAY_S, ((campaign.last - first_day).days + 1) * DAY_S, campaign.times
    for spike in traffic.spikes:
        yield from _occurrences(spike, first_day, until_s)


def _occurrences(
    spike: RecurringSpike, first_day: datetime.date, until_s: float
) -> Iterator[tuple[float, float, float]]:
    for day in range(-1, math.ceil(until_s / DAY_S)):  # yesterday's spike may last past midnight
        if (first_day.weekday() + day) % 7 in spike.days:
            begin_s = day * DAY_S + spike.at_s
            yield begin_s, begin_s + spike.duration_s, spike.times


def _scale_bins(rates: Floats, begin: float, end: float, times: float) -> None:
    """Multiply the rates between two positions among the bins, both of which may be fractions."""
    begin, end = max(0.0, begin), min(float(len(rates)), end)
    if end <= begin:
        return
    first, last = math.floor(begin), math.ceil(end)
    coverage = np.ones(last - first)
    coverage[0] -= begin - first
    coverage[-1] -= last - end
    rates[first:last] *= 1.0 + (times - 1.0) * coverage
