"""Traffic as intended rates over time: what is to reach the replicas, bin by bin, after the cache.

The middle of each hour has its share of the peak times the share of its weekday, and between two middles the rate
is a straight line, over midnight too. So a week holds exactly what its 168 shares say, and the line through a peak
hour is under the peak at its edges. Growth is compound from today's midnight; spikes and campaigns multiply, and a bin
that one covers in part is raised in part.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from app.records.traffic import RecurringSpike, Traffic

DAY_S = 86_400.0
HOURS_A_YEAR = 8_760
_HOUR_S = 3_600.0
_YEAR_S = 365 * DAY_S
_MONDAY = datetime.date(2024, 1, 1)

Floats = npt.NDArray[np.float64]


def rates_per_s(
    traffic: Traffic, start: datetime.datetime, hours: float, bin_s: float = 60.0, *, today: datetime.date | None = None
) -> Floats:
    """The rate of each bin from `start`, which has no zone. Growth counts from `today`, else from `start`'s day."""
    bins = round(hours * _HOUR_S / bin_s)
    since_s = (start - _midnight(start.date())).total_seconds()
    from_s: Floats = since_s + np.arange(bins, dtype=np.float64) * bin_s
    rates = _weekly(traffic, start.date(), from_s + bin_s / 2)
    rates *= traffic.peak_per_s * (1.0 - traffic.cache_share)
    if traffic.growth_per_year:
        aged_s = (start.date() - (today or start.date())).days * DAY_S
        rates *= np.power(1.0 + traffic.growth_per_year, (from_s + (bin_s / 2 + aged_s)) / _YEAR_S)
    for begin_s, end_s, times in _disturbances(traffic, start.date(), since_s + bins * bin_s):
        _raise(rates, (begin_s - since_s) / bin_s, (end_s - since_s) / bin_s, times)
    return rates


def year_rates_per_s(traffic: Traffic, today: datetime.date) -> Floats:
    """Each of the coming year's minutes, from today's midnight."""
    return rates_per_s(traffic, _midnight(today), HOURS_A_YEAR)


def peak_per_s(traffic: Traffic, today: datetime.date | None = None) -> float:
    """The highest rate of the next 12 months that reaches replicas.

    What recurs is taken as it will be in 12 months, where traffic grows; a campaign as it will be in its days, which
    takes a date: without one campaigns are left out.
    """
    recurring = max(traffic.peak_per_s * (1.0 - traffic.cache_share), float(_typical_week(traffic).max()))
    peak = recurring * max(1.0, 1.0 + traffic.growth_per_year)
    if today is None or not any(one.times > 1 and one.last >= today for one in traffic.campaigns):
        return peak
    return max(peak, float(year_rates_per_s(traffic, today).max()))


def mean_per_s(traffic: Traffic) -> float:
    """What reaches replicas over a week of today's level: spikes are in it, campaigns and growth are not."""
    return float(_typical_week(traffic).mean())


def peak_sigma(traffic: Traffic) -> float:
    """One sigma of the peak's logarithm, from `uncertainty`; of a log-normal whose deviation is that share."""
    return math.sqrt(math.log1p(traffic.uncertainty**2))


def _typical_week(traffic: Traffic) -> Floats:
    still = Traffic(
        traffic.peak_per_s,
        traffic.shape,
        traffic.hourly_share,
        weekly_share=traffic.weekly_share,
        spikes=traffic.spikes,
        cache_share=traffic.cache_share,
    )
    return rates_per_s(still, _midnight(_MONDAY), 7 * 24)


def _midnight(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time())


def _weekly(traffic: Traffic, first_day: datetime.date, at_s: Floats) -> Floats:
    """The share of the peak at seconds after the first day's midnight."""
    if not len(at_s):
        return np.zeros(0)
    hours = np.arange(-1, math.ceil(at_s[-1] / _HOUR_S) + 2)
    days = (first_day.weekday() + hours // 24) % 7
    values = np.asarray(traffic.hourly_share)[hours % 24] * np.asarray(traffic.weekly_share)[days]
    shares: Floats = np.interp(at_s, (hours + 0.5) * _HOUR_S, values)
    return shares


def _disturbances(traffic: Traffic, first_day: datetime.date, until_s: float) -> Iterator[tuple[float, float, float]]:
    """Begin and end in seconds after the first day's midnight, and times the usual."""
    for campaign in traffic.campaigns:
        begin = (campaign.first - first_day).days
        yield begin * DAY_S, ((campaign.last - first_day).days + 1) * DAY_S, campaign.times
    for spike in traffic.spikes:
        yield from _occurrences(spike, first_day, until_s)


def _occurrences(
    spike: RecurringSpike, first_day: datetime.date, until_s: float
) -> Iterator[tuple[float, float, float]]:
    for day in range(-1, math.ceil(until_s / DAY_S)):  # yesterday's may go past midnight
        if (first_day.weekday() + day) % 7 in spike.days:
            begin_s = day * DAY_S + spike.at_s
            yield begin_s, begin_s + spike.duration_s, spike.times


def _raise(rates: Floats, begin: float, end: float, times: float) -> None:
    """Multiply from one place among the bins to another, both with fractions."""
    begin, end = max(0.0, begin), min(float(len(rates)), end)
    if end <= begin:
        return
    first, last = math.floor(begin), math.ceil(end)
    covered = np.ones(last - first)
    covered[0] -= begin - first
    covered[-1] -= last - end
    rates[first:last] *= 1.0 + (times - 1.0) * covered
