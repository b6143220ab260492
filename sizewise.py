"""Runs for a notebook: `sizewise.open_run(path)` gives the rows and the results as pandas frames."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import msgspec
import pandas as pd

from app.records.result import Estimate, Result
from app.storage.run_directory import StoredRun, find_run
from app.storage.seals import damaged_error

__all__ = ["Run", "open_run"]


class Run:
    """One stored run. A run that was cut short has its rows and no `result`."""

    def __init__(self, stored: StoredRun) -> None:
        self._stored = stored

    @property
    def directory(self) -> Path:
        return self._stored.directory

    @property
    def is_complete(self) -> bool:
        return self._stored.is_complete

    @cached_property
    def result(self) -> Result | None:
        """Everything the run shows, as typed records."""
        return self._stored.result

    @cached_property
    def requests(self) -> pd.DataFrame:
        """Of an endpoint, a row an arrival; times are monotonic nanoseconds, a missing one is null. Of streamed answers
        `chunk_ns` and `chunk_tokens` hold an array a row: one entry a delta that is not empty."""
        frame: pd.DataFrame = self._stored.requests().to_pandas()
        return frame

    @cached_property
    def calls(self) -> pd.DataFrame:
        """Of a local model, a row a call, as `requests`; `stage` counts the scenarios in the order they were run."""
        frame: pd.DataFrame = self._stored.calls().to_pandas()
        return frame

    @cached_property
    def telemetry(self) -> pd.DataFrame:
        """A row a reading: at_ns, source, metric, value."""
        frame: pd.DataFrame = self._stored.telemetry().to_pandas()
        return frame

    @cached_property
    def stages(self) -> pd.DataFrame:
        """A row a stage; its metrics are columns named metric.aggregate, or metric where there is no aggregate."""
        stages = self.result.stages if self.result else ()
        rows = [
            {
                "name": stage.name,
                "kind": stage.kind,
                "repeat": stage.repeat,
                "arrivals": stage.arrivals,
                "scheduled_per_s": stage.scheduled_per_s,
                "concurrency": stage.concurrency,
                "offered_per_s": stage.offered_per_s.value,
                "achieved_per_s": stage.achieved_per_s.value,
                "good_per_s": stage.good_per_s.value,
                "completed": stage.completed,
                "failed": sum(stage.errors.values()),
                "held": stage.held,
                "verdict": stage.verdict.status,
            }
            | _metrics(stage.metrics)
            for stage in stages
        ]
        return pd.DataFrame(rows)

    @cached_property
    def offers(self) -> pd.DataFrame:
        """A row an offer of the plan, fit or refused; empty without a plan."""
        fleets = self.result.plan.offers if self.result and self.result.plan else ()
        rows = [msgspec.structs.asdict(fleet) for fleet in fleets]
        return pd.DataFrame(
            [{key: cell.value if isinstance(cell, Estimate) else cell for key, cell in row.items()} for row in rows]
        )


def open_run(path: str | Path, *, recover: bool = False) -> Run:
    """Open a run by its directory, its id, the beginning of its id, or "last".

    Raises app.errors.UsageError when there is no such run, and app.errors.DamagedError when its files are not what
    they were when it ended, unless `recover` is true.
    """
    stored = find_run(str(path))
    if not recover and (damage := stored.damage):
        raise damaged_error(stored.directory, damage)
    return Run(stored)


def _metrics(metrics: dict[str, dict[str, Estimate]]) -> dict[str, float | None]:
    return {
        name if aggregate == "value" else f"{name}.{aggregate}": estimate.value
        for name, estimates in metrics.items()
        for aggregate, estimate in estimates.items()
    }
