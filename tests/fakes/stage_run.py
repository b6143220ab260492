"""A stage on a load worker, with everything it reported."""

from collections.abc import Callable
from typing import Literal

import pandas as pd
import pyarrow as pa

from loadgen.process import LoadProcess
from loadgen.records import (
    REQUEST_SCHEMA,
    Arrivals,
    OpenArrivals,
    Progress,
    StageEnded,
    StageLoad,
    StagePlan,
    StageStarted,
)


class StageRun:
    """`on_started` is called when the stage has started."""

    def __init__(
        self,
        load: LoadProcess,
        plan: StagePlan,
        continues: bool = True,
        on_started: Callable[[], object] = lambda: None,
    ) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.started: list[StageStarted] = []
        self.progress: list[Progress] = []
        self.continues = continues
        self._on_started = on_started
        self.ended: StageEnded = load.run_stage(plan, self.batches.append, self._begin, self._listen)
        self.rows: pd.DataFrame = pa.Table.from_batches(self.batches, REQUEST_SCHEMA).to_pandas()

    def _begin(self, started: StageStarted) -> None:
        self.started.append(started)
        self._on_started()

    def _listen(self, progress: Progress) -> bool:
        self.progress.append(progress)
        return self.continues

    def latency_ms(self, since: str) -> pd.Series:
        return (self.rows["end_ns"] - self.rows[since]) / 1e6


def plan(
    rate: float = 200,
    duration: float = 1,
    process: Literal["constant", "poisson"] = "constant",
    arrivals: Arrivals | None = None,
    *,
    lead_in_s: float = 0.0,
    drain_s: float = 2.0,
    max_requests: int | None = None,
) -> StagePlan:
    arrivals = arrivals or OpenArrivals(process, ((0.0, float(rate)),))
    return StagePlan(
        3, "s", StageLoad(arrivals, duration, lead_in_s=lead_in_s, max_requests=max_requests), 5, drain_s=drain_s
    )
