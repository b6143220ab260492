"""Measurements of an interrupted run, for a session that resumes it."""

from __future__ import annotations

import msgspec

from app.records.result import Stage
from app.records.stage import StageData


class CompletedStage(msgspec.Struct, frozen=True):
    data: StageData
    stage: Stage


class InterruptedRun(msgspec.Struct, frozen=True):
    """A run to resume. `stages` are the completed stages in the order run; there is at least one."""

    run_id: str
    started_ns: int
    """Start of the run, on the monotonic clock of the current boot."""
    stages: tuple[CompletedStage, ...]

    @property
    def ended_ns(self) -> int:
        """End of the last complete stage, in ns."""
        return self.stages[-1].data.end_ns
