"""Runs that a plan can start from, newest first."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.errors import UsageError
from app.gui.formatting import clock_time

_MOST = 15
_LOOKED_AT = 60


class PlannableRun(msgspec.Struct, frozen=True):
    directory: Path
    name: str
    began: str
    carries: str

    @property
    def words(self) -> str:
        return f"{self.name} – {self.began} – {self.carries}"


def plannable_runs() -> tuple[PlannableRun, ...]:
    """Damaged runs, and those that found no rate, are left out."""
    from app.storage.run_directory import stored_runs

    found: list[PlannableRun] = []
    for run in stored_runs()[-_LOOKED_AT:]:
        try:
            one = _plannable(run.directory)
        except UsageError:
            continue
        found += [one] if one is not None else []
    return tuple(sorted(found, key=lambda one: one.began, reverse=True)[:_MOST])


def _plannable(directory: Path) -> PlannableRun | None:
    from app.reporting.run_rows import carried_words
    from app.storage.run_directory import StoredRun

    result = StoredRun(directory).result
    words = None if result is None else carried_words(result)
    if result is None or words is None:
        return None
    return PlannableRun(directory, result.name, clock_time(result.clock.wall_start), words)
