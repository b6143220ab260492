"""One simulated day of a planned fleet, as reported by `sizewise simulate`."""

from __future__ import annotations

import msgspec

from app.records.plan import Hour
from app.records.scaling import Autoscaler, Operations


class DayMinute(msgspec.Struct, frozen=True):
    """Requests that finished in one minute or hour, and the state of the fleet at its end. Latencies are None if
    nothing finished."""

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
    """Request counts of the day: arrivals = good + late + dropped + timed_out + failed + in_flight."""

    arrivals: int
    good: int
    late: int
    dropped: int
    timed_out: int
    failed: int
    in_flight: int

    @property
    def attainment(self) -> float | None:
        """Share of good requests among all requests that ended; None if none ended."""
        ended = self.arrivals - self.in_flight
        return self.good / ended if ended else None


class DayOutcome(msgspec.Struct, frozen=True):
    """Outcome of one simulated day.

    `hours` are counted from the first minute; the last one may be incomplete. `scale_divisor` is the factor by which
    rates and replicas were divided for the simulation; every number here is scaled back to the whole fleet. `billed_s`
    is keyed by phase of a replica's life; `pooled` counts warm nodes without a replica.
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
    """One hour of a simulated day. `ready` and `billed` replicas are means over the hour; `instances` are those billed.
    Latencies are of completed requests."""

    ready: float
    billed: float


class SimulatedDay(msgspec.Struct, frozen=True):
    """A simulated day with its SLO attainment and cost.

    `attainment` is the good share of all requests that ended; the SLO requires `target_share`, None if it requires
    none. An instance holds `replicas_per_instance` replicas; billed replicas are assumed to be packed on as few
    instances as possible, and each instance is billed per started minute. `usd_static` is the cost of all planned
    instances on that day without autoscaling.
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
