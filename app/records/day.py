"""One day of a fleet, as it was played.

One day of a planned fleet, played: what `sizewise simulate` tells.
"""

from __future__ import annotations

import msgspec

from app.records.plan import Hour
from app.records.scaling import Autoscaler, Operations


class DayMinute(msgspec.Struct, frozen=True):
    """What finished in this minute, or hour, and how the fleet stood at its end. Latencies are None where nothing
    finished."""

    at_s: float
    arrivals_per_s: float
    wanted: int
    ready: int
    coming: int
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
    """arrivals = good + late + dropped + timed_out + failed + in_flight."""

    arrivals: int
    good: int
    late: int
    dropped: int
    timed_out: int
    failed: int
    in_flight: int

    @property
    def attainment(self) -> float | None:
        """The good of all that ended."""
        ended = self.arrivals - self.in_flight
        return self.good / ended if ended else None


class DayOutcome(msgspec.Struct, frozen=True):
    """`hours` are counted from the first minute on; the last may be cut short. `cell_of` is by how much rates and
    replicas were divided to play it; every number here is of the whole fleet.

    `billed_s` is by phase of a replica's life; `pooled` are warm nodes without one.
    """

    minutes: tuple[DayMinute, ...]
    hours: tuple[DayMinute, ...]
    totals: DayTotals
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    billed_s: dict[str, float]
    usd: float
    cell_of: int
    notes: tuple[str, ...]


class Span(msgspec.Struct, frozen=True):
    """Of the minutes of the day."""

    least: float
    mean: float
    most: float


class SimulatedHour(Hour, frozen=True):
    """`ready` and `billed` replicas are means over the hour; `instances` are those paid for. Latencies are of what was
    answered."""

    ready: float
    billed: float


class SimulatedDay(msgspec.Struct, frozen=True):
    """`attainment` is the good share of all that ended, of which the SLO asks `asked_share`; None where it asks none.

    An instance holds `replicas_per_instance`; those billed are taken to fill as few instances as they can, and each is
    paid for by started minutes. `usd_static` is what all the planned instances cost on that day.
    """

    date: str
    offer: str
    instances: int
    replicas_per_instance: int
    autoscaler: Autoscaler
    operations: Operations
    slo: tuple[str, ...]
    asked_share: float | None
    attainment: float | None
    totals: DayTotals
    conservation: str
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    ready: Span
    billed: Span
    billed_instances: Span
    usd: float
    usd_static: float
    seed: int
    cell_of: int
    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    hours: tuple[SimulatedHour, ...]
    minutes: tuple[DayMinute, ...] = ()
