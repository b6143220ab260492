"""Compute the rates of a stage, from the profile or from the results of an earlier stage."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from app.records.result import Stage
from app.records.search import RateShare, SearchSpec
from loadgen.records import Arrivals, ClosedArrivals, OpenArrivals, TraceArrivals

MAX_ARRIVALS = 50_000_000
"""Maximum number of arrivals per stage. The arrivals are computed before the stage, and take 400 MB
at this maximum."""

Rates = tuple[tuple[float, float], ...]


def get_constant_rate(arrivals: Arrivals) -> float | None:
    """Return the constant rate of open arrivals in requests/s; `None` if the rate varies, and for
    closed loops and traces."""
    return get_single_rate(arrivals.rates) if isinstance(arrivals, OpenArrivals) else None


def get_single_rate(rates: Rates) -> float | None:
    """Return the rate of a constant rate curve in requests/s; `None` if the rate changes or the
    curve is empty."""
    first_rate_per_s = rates[0][1] if rates else None
    return first_rate_per_s if all(rate == first_rate_per_s for _, rate in rates) else None


def build_search_arrivals(search_spec: SearchSpec, rate_per_s: float) -> OpenArrivals:
    """Return the arrivals of a search step at a constant rate."""
    return OpenArrivals(search_spec.arrivals, ((0.0, rate_per_s),), search_spec.cv or 1.0)


def scale_arrivals(arrivals: OpenArrivals, factor: float) -> OpenArrivals:
    return msgspec.structs.replace(arrivals, rates=tuple((time_s, rate * factor) for time_s, rate in arrivals.rates))


def compute_peak_rate(arrivals: OpenArrivals) -> float:
    return max(rate for _, rate in arrivals.rates)


def build_warmup_arrivals(arrivals: Arrivals, duration_s: float) -> Arrivals:
    """Return the arrivals of a warm-up that precedes a stage.

    For an open loop, the warm-up uses the initial rate of the stage, or its mean rate if the
    initial rate is 0. For a closed loop, it uses the same number of clients. For a trace, it uses
    Poisson arrivals at the mean rate of the part of the trace that the stage replays."""
    match arrivals:
        case ClosedArrivals():
            return arrivals
        case TraceArrivals(offsets_ns=packed_offsets):
            # The stage may end before the trace does.
            count = np.count_nonzero(np.frombuffer(packed_offsets, "<i8") < duration_s * 1e9)
            return OpenArrivals("poisson", ((0.0, max(1.0, count / duration_s)),))
        case OpenArrivals(rates=rates):
            initial_rate = rates[0][1] or _compute_mean_rate(rates, duration_s)
            return msgspec.structs.replace(arrivals, rates=((0.0, initial_rate),))


def resolve_rate_share(rate_share: RateShare, stages: Sequence[Stage]) -> float | None:
    """Return a rate in requests/s derived from an earlier stage: a fraction of the completed
    requests per second of that stage, averaged over repeats; `None` if the earlier stage completed
    no request."""
    completed_rates_per_s = [
        estimate.value
        for stage in stages
        if stage.name == rate_share.stage and (estimate := stage.metrics.get("completed_per_s", {}).get("value"))
    ]
    rates = [value for value in completed_rates_per_s if value]
    return rate_share.fraction * float(np.mean(rates)) if rates else None


def _compute_mean_rate(rates: Rates, duration_s: float) -> float:
    times_s = np.linspace(0.0, duration_s, 101)
    return float(np.mean(np.interp(times_s, [time_s for time_s, _ in rates], [rate for _, rate in rates])))
