"""What a stage runner is told to run."""

from __future__ import annotations

import msgspec

from app.records.result import StageKind
from loadgen.records import Arrivals


class StageLoad(msgspec.Struct, frozen=True):
    """A stage and its load."""

    name: str
    kind: StageKind
    arrivals: Arrivals
    duration_s: float
    lead_in_s: float = 0.0
    repeat: int = 1


class StageOrder(StageLoad, frozen=True, kw_only=True):
    """`drain_s`: how long answers are waited for after the last arrival."""

    drain_s: float
    ends_when_saturated: bool = False
    tags: dict[str, str] = {}
