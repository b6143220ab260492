"""Check whether two readings of a metrics page are from the same process of a server.

Behind a load balancer, two requests for the same page may reach different replicas. Counters of
different processes must not be subtracted from each other."""

from __future__ import annotations

from app.records.server_counters import CountersRefusal
from app.records.telemetry import Samples

_MAX_START_DIFFERENCE_S = 1e-3


def find_reading_break(before: Samples, after: Samples) -> CountersRefusal | None:
    """Return why the counters of two readings are not comparable; None if nothing speaks against
    it.

    A process has one start time, and its counters are created once, never disappear and never
    decrease."""
    for series, start_s in before.start_times_s.items():
        if series in after.start_times_s and abs(after.start_times_s[series] - start_s) > _MAX_START_DIFFERENCE_S:
            return "other_process"
    if not before.counters.keys() <= after.counters.keys():
        return "other_process"
    if any(after.counters[series] < value for series, value in before.counters.items()):
        return "counter_decreased"
    return None
