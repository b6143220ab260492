"""Stored measurements of an interrupted run, used to resume the run."""

from __future__ import annotations

import msgspec

from app.records.result import Stage
from app.records.stage import StageData


class CompletedStage(msgspec.Struct, frozen=True):
    data: StageData
    stage: Stage


class InterruptedRun(msgspec.Struct, frozen=True):
    """An interrupted run to resume. `stages` lists the completed stages, at least one, in the order
    in which they were measured."""

    run_id: str
    started_ns: int
    """Start of the run, in ns on the monotonic clock of the current boot."""
    stages: tuple[CompletedStage, ...]

    @property
    def ended_ns(self) -> int:
        """End of the last completed stage, in ns."""
        return self.stages[-1].data.end_ns
