from __future__ import annotations

import pyarrow as pa
import pytest
from msgspec.structs import replace

from app.analysis.objectives import parse_objective
from app.records.abort import AbortRule
from app.records.events import Event, Snapshot
from app.records.result import StageKind
from app.session.first_errors import FirstErrors
from app.session.limits import LimitWatch
from app.session.orders import StageOrder
from app.session.spec import LimitSpec
from app.session.stage_watch import StageWatch
from loadgen.records import REQUEST_SCHEMA, ClosedArrivals, OpenArrivals, Progress, StageStarted

OVERLOAD = OpenArrivals("poisson", ((0.0, 100.0),))
MS = 1_000_000


def progress(second: float, due: int, completed: int) -> Progress:
    return Progress(0, round(second * 1e9), due, due, completed, 0, due - completed, 0.1)


class Watched:
    def __init__(self, order: StageOrder, *, requests: int | None = None, abort_when: AbortRule | None = None) -> None:
        self.events: list[Event] = []
        self.drained = 0
        self.is_gone = False
        self.limits = LimitWatch(LimitSpec(requests=requests, abort_when=abort_when), 0)
        emit = self.events.append
        first_errors = FirstErrors(emit)
        self.watch = StageWatch(order, 0, (), emit, self.limits, self._drain, lambda: self.is_gone, first_errors)

    def _drain(self) -> None:
        self.drained += 1


def order(arrivals: OpenArrivals | ClosedArrivals = OVERLOAD, *, ends_when_saturated: bool = False) -> StageOrder:
    return StageOrder(
        name="s",
        kind="probe",
        arrivals=arrivals,
        duration_s=10.0,
        drain_s=1.0,
        ends_when_saturated=ends_when_saturated,
    )


def test_recent_latency_counts_from_the_send_where_no_intended_time_is_known() -> None:
    watched = Watched(order())
    rows = [
        {"intended_ns": 0, "sent_ns": 5 * MS, "end_ns": 10 * MS},
        {"intended_ns": None, "sent_ns": 5 * MS, "end_ns": 25 * MS},
        {"intended_ns": 0, "sent_ns": 5 * MS, "end_ns": 900 * MS, "error": "timeout"},
    ]
    watched.watch.take(pa.RecordBatch.from_pylist(rows, schema=REQUEST_SCHEMA))
    watched.watch.goes_on(progress(1, 3, 2))
    (snapshot,) = watched.events
    assert isinstance(snapshot, Snapshot)
    assert snapshot.latency_p50_ms == 15
    assert snapshot.latency_p99_ms == pytest.approx(19.9)
    assert (snapshot.good, snapshot.errors) == (2, {"timeout": 1})
    watched.watch.take(pa.RecordBatch.from_pylist([{"intended_ns": 0}], schema=REQUEST_SCHEMA))
    assert watched.watch.sent == 3, "what was never started was not sent"


def test_a_probe_with_a_growing_backlog_ends_and_no_other_stage_does() -> None:
    for ends, expected in ((True, False), (False, True)):
        watched = Watched(order(ends_when_saturated=ends))
        quick = [{"intended_ns": 0, "sent_ns": 0, "end_ns": 20 * MS}] * 10
        watched.watch.take(pa.RecordBatch.from_pylist(quick, schema=REQUEST_SCHEMA))
        told = [watched.watch.goes_on(progress(n / 4, 200 * n, 10 * n)) for n in range(40)]
        assert told[-1] is expected
        assert watched.watch.is_over_saturated is ends


def test_a_limit_or_a_target_that_left_drains_once() -> None:
    watched = Watched(order(ClosedArrivals(2)), requests=10)
    assert watched.watch.goes_on(progress(1, 9, 9))
    assert watched.drained == 0
    for second in (2, 3):
        assert watched.watch.goes_on(progress(second, 10, 10))
    assert watched.drained == 1

    left = Watched(order())
    left.is_gone = True
    left.watch.goes_on(progress(1, 1, 0))
    assert left.drained == 1


@pytest.mark.parametrize(
    ("kind", "second", "failed", "drained"),
    [("steady", 5, 3, 1), ("probe", 5, 3, 1), ("steady", 4, 3, 0), ("steady", 5, 2, 0), ("warmup", 5, 3, 0)],
)
def test_a_stage_that_comes_to_what_the_profile_gives_up_at_drains(
    kind: StageKind, second: float, failed: int, drained: int
) -> None:
    rule = AbortRule("error_rate > 20% after 5s", parse_objective("error_rate > 20%"), 5.0)
    watched = Watched(replace(order(), kind=kind), abort_when=rule)
    began_ns = round(100e9)
    watched.watch.started(StageStarted(0, began_ns, 10))
    for at_s in (second, second + 0.1):
        watched.watch.goes_on(Progress(0, began_ns + round(at_s * 1e9), 10, 10, 10 - failed, failed, 0, 0.1))
    assert watched.drained == drained
    assert (watched.limits.reached is not None) is bool(drained)


def test_a_backlog_that_was_not_even_sent_is_the_generators() -> None:
    watched = Watched(order(ends_when_saturated=True))
    quick = [{"intended_ns": 0, "sent_ns": 0, "end_ns": 20 * MS}] * 10
    watched.watch.take(pa.RecordBatch.from_pylist(quick, schema=REQUEST_SCHEMA))
    late = [Progress(0, n * 250 * MS, 200 * n, 10 * n, 10 * n, 0, 0, 900.0) for n in range(40)]
    told = [watched.watch.goes_on(progress) for progress in late]
    assert told[-1] is False, "it would only go on being late"
    assert not watched.watch.is_over_saturated
