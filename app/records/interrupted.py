"""What a run had measured when it was cut short, for a session that resumes it."""

from __future__ import annotations

import msgspec

from app.records.result import Stage
from app.records.stage import StageFacts


class MeasuredStage(msgspec.Struct, frozen=True):
    facts: StageFacts
    stage: Stage


class InterruptedRun(msgspec.Struct, frozen=True):
    """`stages` came to their end, in the order run; there is at least one."""

    run_id: str
    started_ns: int
    """Start of the run, on the monotonic clock of the boot that goes on."""
    stages: tuple[MeasuredStage, ...]

    @property
    def ended_ns(self) -> int:
        """End of the last complete stage."""
        return self.stages[-1].facts.end_ns
