"""A simulated day of a planned fleet, as reported by `sizewise simulate`."""

from __future__ import annotations

import msgspec

from app.records.plan import Hour
from app.records.scaling import Autoscaler, Operations


class DayMinute(msgspec.Struct, frozen=True):
    """Requests that finished in one minute or one hour, and the state of the fleet at the end of
    that period. Latencies are None if no request finished."""

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
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    usd: float


class DayTotals(msgspec.Struct, frozen=True):
    """Request counts of the day: arrivals = good + late + dropped + timed_out + failed + in_flight
    (at the end of the day)."""

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
        ended = self.arrivals - self.in_flight
        return self.good / ended if ended else None


class DayOutcome(msgspec.Struct, frozen=True):
    """Outcome of one simulated day.

    `hours` start at the first minute; the last hour may be incomplete. `scale_divisor` is the
    factor by which rates and replicas were divided for the simulation; all values of this record
    are scaled back to the whole fleet. `billed_s` is keyed by the lifecycle phase of a replica; the
    key `pooled` is for warm nodes without a replica.
    """

    minutes: tuple[DayMinute, ...]
    hours: tuple[DayMinute, ...]
    totals: DayTotals
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
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
    `instances` counts billed instances. Latencies are those of completed requests."""

    ready: float
    billed: float


class SimulatedDay(msgspec.Struct, frozen=True):
    """A simulated day with SLO attainment and cost.

    `attainment` is the fraction of good requests among all requests that ended; `target_share` is
    the fraction required by the SLO, or None. An instance holds `replicas_per_instance` replicas;
    billed replicas are assumed to be packed onto as few instances as possible, and each instance is
    billed per started minute. `usd_static` is the cost of the day with all planned instances
    running all the time, without autoscaling.
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
