"""State of the Results page, as an immutable record that is always replaced as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from reports.model import Report

if TYPE_CHECKING:
    from app.records.bundle import Labels
    from app.records.result import Result
    from app.reporting.opened import OpenedRun


class EvaluationRequest(msgspec.Struct, frozen=True):
    """Requested re-evaluation of a run. `slo` replaces the SLO of the run; None keeps the SLO of
    the run. `window_s` is a time range in seconds from the start of the run; None selects the whole
    run."""

    slo: tuple[str, ...] | None = None
    window_s: tuple[float, float] | None = None

    @property
    def is_as_measured(self) -> bool:
        return self.slo is None and self.window_s is None


class DisplayedRun(msgspec.Struct, frozen=True):
    """Run that the Results page displays. `own_report` is the report as measured, and `report` is
    the report of the requested re-evaluation. Both are the same object if no re-evaluation was
    requested."""

    opened_run: OpenedRun
    own_report: Report
    report: Report
    result: Result
    labels: Labels
    request: EvaluationRequest = EvaluationRequest()
    failure: str | None = None
    """Failure that the process of an interrupted run reported, if any."""

    @property
    def directory(self) -> Path:
        return self.opened_run.directory

    @property
    def own_slo(self) -> tuple[str, ...]:
        return tuple(objective.text for objective in self.opened_run.data.slo)
