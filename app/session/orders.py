"""What a stage runner is told to run."""

from __future__ import annotations

import msgspec

from app.records.result import StageKind
from loadgen.records import Arrivals


class StageOrder(msgspec.Struct, frozen=True, kw_only=True):
    """`drain_s`: how long answers are waited for after the last arrival."""

    name: str
    kind: StageKind
    repeat: int = 1
    arrivals: Arrivals
    duration_s: float
    lead_in_s: float = 0.0
    drain_s: float
    ends_when_saturated: bool = False
    tags: dict[str, str] = {}
