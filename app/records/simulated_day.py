"""One day of a planned fleet, played: what `sizewise simulate` tells."""

from __future__ import annotations

import msgspec

from app.records.day import DayMinute, DayTotals
from app.records.plan import Hour
from app.records.scaling import Autoscaler, Operations


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
