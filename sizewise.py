"""Access stored runs from a notebook: `sizewise.open_run(path)` provides results and rows as pandas
data frames."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import msgspec
import pandas as pd

from app.records.result import Estimate, Result
from app.storage.integrity import build_damaged_error
from app.storage.run_directory import StoredRun, find_run

__all__ = ["Run", "open_run"]


class Run:
    """A stored run. An interrupted run has rows, but its `result` is `None`."""

    def __init__(self, stored_run: StoredRun) -> None:
        self._stored_run = stored_run

    @property
    def directory(self) -> Path:
        """Directory of the run."""
        return self._stored_run.directory

    @property
    def is_complete(self) -> bool:
        """True if the run has ended; False if the run is still in progress or was killed."""
        return self._stored_run.is_complete

    @cached_property
    def result(self) -> Result | None:
        """Result of the run as typed records; `None` if the run has no result, for example because
        it was killed."""
        return self._stored_run.result

    @cached_property
    def requests(self) -> pd.DataFrame:
        """Requests of an endpoint run, one row per arrival.

        Times are in ns on the monotonic clock; missing times are null. For streamed responses,
        `chunk_ns` and `chunk_tokens` contain an array per row with one entry per non-empty chunk.
        """
        frame: pd.DataFrame = self._stored_run.requests().to_pandas()
        return frame

    @cached_property
    def calls(self) -> pd.DataFrame:
        """Calls of a local run, one row per call.

        `scheduled_ns` is the scheduled start and `begin_ns` the actual start of the call; each later
        time is the end of a phase of the call. Times are in ns on the monotonic clock; missing
        times are null. `stage` is the number of the scenario in execution order.
        """
        frame: pd.DataFrame = self._stored_run.calls().to_pandas()
        return frame

    @cached_property
    def telemetry(self) -> pd.DataFrame:
        """Telemetry of the run, one row per reading, with the columns at_ns, source, metric and
        value."""
        frame: pd.DataFrame = self._stored_run.telemetry().to_pandas()
        return frame

    @cached_property
    def stages(self) -> pd.DataFrame:
        """Stages of the run, one row per stage.

        Metrics are columns named `metric.aggregate`, or `metric` for metrics without an aggregate.
        """
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
                "held": stage.meets_slo,
                "verdict": stage.verdict.status,
            }
            | _flatten_metrics(stage.metrics)
            for stage in stages
        ]
        return pd.DataFrame(rows)

    @cached_property
    def offers(self) -> pd.DataFrame:
        """Offers of the capacity plan, one row per offer, including excluded offers; empty without
        a plan."""
        offers = self.result.plan.offers if self.result and self.result.plan else ()
        rows = [msgspec.structs.asdict(offer) for offer in offers]
        return pd.DataFrame(
            [{key: cell.value if isinstance(cell, Estimate) else cell for key, cell in row.items()} for row in rows]
        )


def open_run(path: str | Path, *, recover: bool = False) -> Run:
    """Open a run by its directory, run ID, unique prefix of its run ID, or "last".

    Raises app.errors.UsageError if there is no such run, and app.errors.CorruptedFileError if its
    files have changed since the run ended, unless `recover` is true.
    """
    stored_run = find_run(str(path))
    if not recover and (damage := stored_run.damage):
        raise build_damaged_error(stored_run.directory, damage)
    return Run(stored_run)


def _flatten_metrics(metrics: dict[str, dict[str, Estimate]]) -> dict[str, float | None]:
    return {
        name if aggregate == "value" else f"{name}.{aggregate}": estimate.value
        for name, estimates in metrics.items()
        for aggregate, estimate in estimates.items()
    }
