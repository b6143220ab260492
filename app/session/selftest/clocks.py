"""The clock that everything is timed by: it does not go back, is fine enough, goes as others do, and is the workers'
too."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.records.selftest import Finding, finding
from app.telemetry.clock import ClockReading

_READINGS = 20_000
_COARSEST_NS = 10_000
_APART_LIMIT = 0.001
_ASLEEP_LIMIT_S = 1.0


def check_clock(
    now_ns: Callable[[], int], started: ClockReading, ended: ClockReading, rows: pa.Table
) -> Iterator[Finding]:
    """`rows` are of requests that the workers timed between the two readings."""
    steps_ns = np.diff(np.array([now_ns() for _ in range(_READINGS)], np.int64))
    forward_ns = steps_ns[steps_ns > 0]
    yield finding("clock", "steps back", float(np.count_nonzero(steps_ns < 0)), high=0, unit=None)
    yield finding(
        "clock", "smallest step", float(forward_ns.min()) if forward_ns.size else None, high=_COARSEST_NS, unit="ns"
    )
    ratio = ended.wall_to_monotonic_ratio(started)
    yield finding(
        "clock",
        "apart from the wall clock",
        None if ratio is None else 1e6 * abs(ratio - 1),
        high=1e6 * _APART_LIMIT,
        unit="ppm",
    )
    asleep_s = ended.suspended_since(started)
    if asleep_s is not None:
        yield finding("clock", "asleep meanwhile", asleep_s, high=_ASLEEP_LIMIT_S, unit="s")
    yield finding("clock", "requests timed outside of the test", _outside(rows, started, ended), high=0, unit=None)


def _outside(rows: pa.Table, started: ClockReading, ended: ClockReading) -> float | None:
    if not rows.num_rows:
        return None
    early = pc.less(rows["sent_ns"], started.monotonic_ns)
    late = pc.greater(rows["end_ns"], ended.monotonic_ns)
    return float(pc.sum(pc.or_(early, late)).as_py() or 0)
