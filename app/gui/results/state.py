"""What the result page shows: one plain record, swapped whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from reports.model import Report

if TYPE_CHECKING:
    from app.records.bundle import Labels
    from app.records.result import Result
    from app.reporting.opened import OpenedRun


class Asked(msgspec.Struct, frozen=True):
    """Another SLO than the run's own, or a part of its time in seconds from its start; None is as measured."""

    slo: tuple[str, ...] | None = None
    window_s: tuple[float, float] | None = None

    @property
    def is_own(self) -> bool:
        return self.slo is None and self.window_s is None


class Shown(msgspec.Struct, frozen=True):
    """`own` is the report of the run as it ended, `report` that of what was asked: the same where nothing was."""

    opened: OpenedRun
    own: Report
    report: Report
    result: Result
    labels: Labels
    asked: Asked = Asked()

    @property
    def directory(self) -> Path:
        return self.opened.directory

    @property
    def own_slo(self) -> tuple[str, ...]:
        return tuple(one.text for one in self.opened.facts.slo)
