"""Detect a target that has died: no new connection can be established, and no response arrives."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

LOST_AFTER_S = 10.0
"""Time in s without a response, in which every connection failed, after which the run is stopped. A
server that is restarted within this time is still measured."""
_MIN_LOST_S = 1.0
"""Minimum time in s for which connections must have failed at the end of the load. A shorter time is
an error of a few requests."""
_MIN_FAILURES = 5


class ReachabilityMonitor:
    """Monitor of the rows of a run, over all of its stages. `start_ns` is the start of the run in
    monotonic ns."""

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._last_response_ns = 0
        self._first_failure_ns: int | None = None
        self._last_failure_ns = 0
        self._failure_count = 0
        """Number of failed connections since the last response."""

    def add_rows(self, batch: pa.RecordBatch) -> None:
        has_response = pc.or_(pc.is_null(batch["error"]), pc.is_valid(batch["status"]))
        response_ns = pc.max(batch["end_ns"].filter(has_response)).as_py() or 0
        self._last_response_ns = max(self._last_response_ns, response_ns)
        if self._first_failure_ns is not None and self._last_response_ns >= self._first_failure_ns:
            self._first_failure_ns, self._failure_count = None, 0
        failed_ns = batch["end_ns"].filter(pc.fill_null(pc.equal(batch["error"], "connect"), False)).drop_null()
        failed_ns = failed_ns.filter(pc.greater(failed_ns, self._last_response_ns))
        if len(failed_ns):
            bounds = pc.min_max(failed_ns).as_py()
            self._first_failure_ns = min(self._first_failure_ns or bounds["min"], bounds["min"])
            self._last_failure_ns = max(self._last_failure_ns, bounds["max"])
            self._failure_count += len(failed_ns)

    @property
    def lost_s(self) -> float:
        """Time in s for which every connection has failed since the last response; 0 as long as the
        target responds."""
        if self._first_failure_ns is None or self._failure_count < _MIN_FAILURES:
            return 0.0
        return (self._last_failure_ns - self._first_failure_ns) / 1e9

    @property
    def must_stop(self) -> bool:
        return self.lost_s >= LOST_AFTER_S

    def format_loss(self) -> str | None:
        """Describe the loss of a target that did not respond any more; `None` if it responded to the
        end."""
        if self._first_failure_ns is None or self.lost_s < _MIN_LOST_S:
            return None
        return (
            f"the target was lost {(self._first_failure_ns - self._start_ns) / 1e9:.1f} s after the start of the run: "
            f"for {self.lost_s:.1f} s no response arrived, and all {self._failure_count:,} attempts to connect failed"
        )
