"""Runs that a plan can be based on, newest first."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.errors import UsageError
from app.gui.formatting import format_clock_time

_MAX_RUNS = 15
_MAX_RUNS_READ = 60


class PlannableRun(msgspec.Struct, frozen=True):
    directory: Path
    name: str
    started_text: str
    capacity_text: str

    @property
    def label(self) -> str:
        return f"{self.name} – {self.started_text} – {self.capacity_text}"


def find_plannable_runs() -> tuple[PlannableRun, ...]:
    """Return the newest runs that a plan can be based on. Corrupted runs, runs without
    a max rate, and runs that a plan would refuse are skipped."""
    from app.storage.run_directory import list_stored_runs

    plannable_runs: list[PlannableRun] = []
    for run in list_stored_runs()[-_MAX_RUNS_READ:]:
        try:
            plannable_run = _read_plannable_run(run.directory)
        except UsageError:
            continue
        plannable_runs += [plannable_run] if plannable_run is not None else []
    return tuple(sorted(plannable_runs, key=lambda run: run.started_text, reverse=True)[:_MAX_RUNS])


def _read_plannable_run(directory: Path) -> PlannableRun | None:
    from app.reporting.run_rows import format_max_rate
    from app.storage.run_directory import StoredRun
    from app.wiring.planning import find_plan_obstacle

    run = StoredRun(directory)
    result = run.result
    capacity_text = None if result is None else format_max_rate(result)
    if result is None or capacity_text is None:
        return None
    if find_plan_obstacle(run, result, result.target.hardware) is not None:
        return None
    return PlannableRun(directory, result.name, format_clock_time(result.clock.wall_start), capacity_text)
