"""The rates of a stage: what is known of them before it runs, and what an earlier stage decides."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from app.records.result import Stage
from app.session.spec import ShareOf
from loadgen.records import Arrivals, ClosedArrivals, OpenArrivals, TraceArrivals

MOST_ARRIVALS = 50_000_000
"""A schedule is laid out before its stage: 400 MB of times."""

Rates = tuple[tuple[float, float], ...]


def constant_rate(arrivals: Arrivals) -> float | None:
    """The one rate of open arrivals; None where it varies, and where answers or a trace decide."""
    return one_rate(arrivals.rates) if isinstance(arrivals, OpenArrivals) else None


def one_rate(rates: Rates) -> float | None:
    """The rate of a curve that never changes; None of one that does, and of none."""
    first = rates[0][1] if rates else None
    return first if all(rate == first for _, rate in rates) else None


def scaled(arrivals: OpenArrivals, factor: float) -> OpenArrivals:
    return msgspec.structs.replace(arrivals, rates=tuple((at_s, rate * factor) for at_s, rate in arrivals.rates))


def highest_rate(arrivals: OpenArrivals) -> float:
    return max(rate for _, rate in arrivals.rates)


def warmup_arrivals(arrivals: Arrivals, duration_s: float) -> Arrivals:
    """What to warm up with for a stage: the rate it begins with, or its mean where it begins with none; its clients in
    a closed loop."""
    match arrivals:
        case ClosedArrivals():
            return arrivals
        case TraceArrivals(offsets_ns=offsets):
            return OpenArrivals("poisson", ((0.0, max(1.0, len(offsets) / 8 / duration_s)),))
        case OpenArrivals(rates=rates):
            first = rates[0][1] or _mean_rate(rates, duration_s)
            return msgspec.structs.replace(arrivals, rates=((0.0, first),))


def share_of(wanted: ShareOf, stages: Sequence[Stage]) -> float | None:
    """The rate: this share of what the stage, its repeats together, completed a second. None when that is not known."""
    completed = [
        estimate.value
        for stage in stages
        if stage.name == wanted.stage and (estimate := stage.metrics.get("completed_per_s", {}).get("value"))
    ]
    known = [value for value in completed if value]
    return wanted.share * float(np.mean(known)) if known else None


def _mean_rate(rates: Rates, duration_s: float) -> float:
    at_s = np.linspace(0.0, duration_s, 101)
    return float(np.mean(np.interp(at_s, [time for time, _ in rates], [rate for _, rate in rates])))
