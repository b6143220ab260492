"""A simulated day of a planned fleet, as reported by `sizewise simulate`."""

from __future__ import annotations

import msgspec

from app.records.plan import Hour
from app.records.scaling import Autoscaler, Operations


class LatencyPercentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles of the completed requests of a period: latency, and for a language model, TTFT and
    TPOT. None if no request was completed."""

    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    ttft_p99_s: float | None = None
    tpot_p50_s: float | None = None
    tpot_p95_s: float | None = None
    tpot_p99_s: float | None = None


class TokenPercentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles of TTFT and TPOT of the completed requests of a language model. None if no request
    was completed; those of TPOT also if no response had two tokens."""

    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    ttft_p99_ms: float | None
    tpot_p50_ms: float | None
    tpot_p95_ms: float | None
    tpot_p99_ms: float | None


class DayMinute(LatencyPercentiles, frozen=True):
    """Counts of the requests that ended in one minute or one hour of a simulated day, and the state
    of the fleet at the end of that period."""

    at_s: float
    arrivals_per_s: float
    desired: int
    ready: int
    starting: int
    billed: int
    in_flight: int
    good: int
    late: int
    dropped: int
    timed_out: int
    failed: int
    usd: float


class DayTotals(msgspec.Struct, frozen=True):
    """Request counts of a simulated day. `arrivals` is the sum of all other counts; `in_flight`
    counts the requests in flight at the end of the day."""

    arrivals: int
    good: int
    late: int
    dropped: int
    timed_out: int
    failed: int
    in_flight: int

    @property
    def attainment(self) -> float | None:
        """SLO attainment: good requests as a fraction of all requests that ended; None if no
        request ended."""
        ended_count = self.arrivals - self.in_flight
        return self.good / ended_count if ended_count else None


class DayOutcome(LatencyPercentiles, frozen=True):
    """Outcome of one simulated day.

    `hours` are counted from the first minute; the last hour may be incomplete. For the simulation,
    rates and replicas were divided by `scale_divisor`; all values of this record are scaled back to
    the whole fleet. `billed_s` holds the billed time in s by lifecycle phase of the replicas; its
    key `pooled` stands for warm nodes without a replica.
    """

    minutes: tuple[DayMinute, ...]
    hours: tuple[DayMinute, ...]
    totals: DayTotals
    billed_s: dict[str, float]
    usd: float
    scale_divisor: int
    notes: tuple[str, ...]


class Range(msgspec.Struct, frozen=True):
    """Minimum, mean and maximum of a count over the minutes of the day."""

    min: float
    mean: float
    max: float


class SimulatedHour(Hour, frozen=True):
    """One hour of a simulated day. `ready` and `billed` are mean numbers of replicas over the hour;
    `instances` counts billed instances. Latencies are those of completed requests; `tokens` is None
    without tokens."""

    ready: float
    billed: float
    tokens: TokenPercentiles | None = None


class SimulatedDay(msgspec.Struct, frozen=True):
    """A simulated day with SLO attainment and cost.

    `attainment` is the fraction of good requests among all requests that ended; `target_share` is
    the fraction that the SLO requires, or None if the SLO requires no fraction. An instance holds
    `replicas_per_instance` replicas; billed replicas are assumed to be packed onto as few instances
    as possible, and each instance is billed per started minute. `usd_static` is the cost of the day
    if all planned instances run all the time, without autoscaling. `tokens` is None if requests have
    no tokens.
    """

    date: str
    offer: str
    instances: int
    replicas_per_instance: int
    autoscaler: Autoscaler
    operations: Operations
    slo: tuple[str, ...]
    target_share: float | None
    attainment: float | None
    totals: DayTotals
    conservation: str
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    ready: Range
    billed: Range
    billed_instances: Range
    usd: float
    usd_static: float
    seed: int
    scale_divisor: int
    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    hours: tuple[SimulatedHour, ...]
    minutes: tuple[DayMinute, ...] = ()
    tokens: TokenPercentiles | None = None
