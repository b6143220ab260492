"""What is told of a scenario while it runs: at most four snapshots a second, as the rows come."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.inference.job import Measure
from app.records import events
from app.records.estimate import Variant
from app.session.telling import Telling


class CallProgress:
    def __init__(
        self, index: int, plan: Measure, variant: Variant, telling: Telling, now_ns: Callable[[], int]
    ) -> None:
        self._index, self._plan, self._variant = index, plan, variant
        self._telling, self._now_ns = telling, now_ns
        self._done = 0
        self._is_measuring = False
        self.last_end_ns = 0
        """Of the calls that were told."""

    def show(self, rows: pa.RecordBatch, start_ns: int | None) -> None:
        """`start_ns` is None while it warms up."""
        if start_ns is None or rows.num_rows == 0:
            return
        if not self._is_measuring:
            self._is_measuring = True
            self._tell_of_the_start(start_ns)
        ends_ns = pc.max(rows["end_ns"]).as_py()
        self.last_end_ns = max(self.last_end_ns, ends_ns or 0)
        times_ms = (_times(rows, "executed_ns") - _times(rows, "prepared_ns")) / 1e6
        times_ms = times_ms[~np.isnan(times_ms)]
        self._done += times_ms.size
        if not times_ms.size:
            return
        p50, p95, p99 = np.quantile(times_ms, (0.5, 0.95, 0.99))
        self._telling.emit(
            events.Snapshot(
                at_ns=self._now_ns(),
                stage=self._index,
                offered=self._done,
                sent=self._done,
                completed=self._done,
                failed=0,
                in_flight=None,
                latency_p50_ms=float(p50),
                latency_p95_ms=float(p95),
                latency_p99_ms=float(p99),
            )
        )

    def _tell_of_the_start(self, start_ns: int) -> None:
        plan = self._plan
        self._telling.emit(
            events.StageStarted(
                at_ns=self._now_ns(),
                index=self._index,
                name=f"{plan.scenario}: {self._variant.label}",
                kind="steady" if plan.scenario == "server" else "closed",
                repeat=1,
                offered_per_s=plan.rate_per_s,
                duration_s=plan.most_s,
                start_ns=start_ns,
                concurrency=None,
            )
        )


def _times(rows: pa.RecordBatch, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values: np.ndarray[tuple[int], np.dtype[np.float64]] = rows[name].to_numpy(zero_copy_only=False).astype(np.float64)
    return values
