from __future__ import annotations

from msgspec.structs import replace

from app.analysis.worker_totals import worker_totals
from app.records.result import WorkerFacts

FIRST = WorkerFacts(0, "a", 11, cpu_s=0.5, sent=100, max_lag_ms=2.0)
OTHER = WorkerFacts(1, "b", 12, cpu_s=0.25, sent=99, max_lag_ms=1.0, clock_residual_ms=0.2)


def test_workers_are_added_up_by_their_number() -> None:
    later = replace(OTHER, cpu_s=0.5, sent=1, max_lag_ms=0.5, clock_residual_ms=0.1, lost_ns=7)
    assert worker_totals([(OTHER, FIRST), (FIRST, later)]) == (
        replace(FIRST, cpu_s=1.0, sent=200),
        replace(OTHER, cpu_s=0.75, sent=100, lost_ns=7),
    )


def test_what_workers_waited_is_added_up_where_it_is_known() -> None:
    (one,) = worker_totals([(replace(FIRST, waited_s=0.25),), (FIRST,), (replace(FIRST, waited_s=0.5),)])
    assert one.waited_s == 0.75


def test_no_stage_had_workers() -> None:
    assert worker_totals([(), ()]) == ()
