import sys
from collections.abc import Iterator
from time import perf_counter_ns

import pytest

from loadgen.records import (
    ChangeRate,
    ClosedArrivals,
    Configure,
    Endpoint,
    RunStage,
    StageEnded,
    StagePlan,
    StagePrepared,
    StageStarted,
    StartStage,
    StopStage,
    WorkerShare,
)
from loadgen.reference.scripted import Script, ScriptedServer
from loadgen.workloads import HttpWorkload
from tests.fakes.piped import Piped
from tests.fakes.played import plan

pytestmark = pytest.mark.process


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(Script()) as server:
        yield server


@pytest.fixture(scope="module")
def piped() -> Iterator[Piped]:
    with Piped() as piped:
        yield piped


@pytest.fixture
def worker(piped: Piped, server: ScriptedServer) -> Piped:
    piped.batches.clear()
    piped.tell(Configure(Endpoint((server.url,), max_connections=3), HttpWorkload()))
    return piped


def start_stage(worker: Piped, stage_plan: StagePlan, share: WorkerShare, after_ns: int = 50_000_000) -> StageStarted:
    worker.tell(RunStage(stage_plan, share))
    worker.received(StagePrepared)
    worker.tell(StartStage(stage_plan.index, perf_counter_ns() + after_ns))
    return worker.received(StageStarted)


def test_stage_starts_at_commanded_time_and_not_before(worker: Piped, server: ScriptedServer) -> None:
    stage_plan = plan(rate=100, duration=0.2, lead_in_s=0.1)
    worker.tell(RunStage(stage_plan))
    assert worker.received(StagePrepared).index == stage_plan.index
    assert not server.requests
    start_ns = perf_counter_ns() + 400_000_000
    worker.tell(StartStage(stage_plan.index + 1, 0), StartStage(stage_plan.index, start_ns))
    assert worker.received(StageStarted).start_ns == start_ns
    assert worker.received(StageEnded).start_ns == start_ns
    assert sorted(worker.rows["scheduled_ns"] - start_ns) == [ms * 1_000_000 for ms in range(-100, 200, 10)]
    assert set(worker.rows["worker"]) == {0}


def test_late_start_of_stage_causes_only_lag(worker: Piped) -> None:
    start_stage(worker, plan(rate=100, duration=0.5), WorkerShare(), after_ns=-300_000_000)
    ended = worker.received(StageEnded)
    lag_ms = ((worker.rows["sent_ns"] - worker.rows["scheduled_ns"]) / 1e6)[worker.rows["index"].argsort()]
    assert ended.scheduled == len(lag_ms) == 50
    assert lag_ms.iloc[0] >= 300
    assert lag_ms.iloc[-1] < 150


@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize("is_prepared", [True, False])
def test_stage_stopped_before_its_start_ends(
    worker: Piped, server: ScriptedServer, drain: bool, is_prepared: bool
) -> None:
    worker.tell(RunStage(plan(duration=60)))
    if is_prepared:
        worker.received(StagePrepared)
    worker.tell(StopStage(drain))
    ended = worker.received(StageEnded)
    assert (ended.stopped_early, ended.rates) == (True, ())
    assert not server.requests
    worker.tell(StartStage(ended.index, perf_counter_ns()))  # sent before its sender received the end
    start_stage(worker, plan(rate=50, duration=0.2), WorkerShare())
    assert worker.received(StageEnded).scheduled == len(worker.rows) == 10


def test_share_of_worker_has_its_own_rows_and_part_of_connections(worker: Piped, server: ScriptedServer) -> None:
    started = start_stage(worker, plan(arrivals=ClosedArrivals(8), duration=0.3), WorkerShare(1, 2))
    assert started.scheduled is None
    ended = worker.received(StageEnded)
    assert ended.connections_opened == server.connection_count == 2
    assert worker.rows["connection_wait_ms"].min() > 0, "four clients share two connections"
    if sys.platform == "linux":
        assert ended.round_trips is not None
        assert ended.round_trips.connections == 2
        assert 0 < ended.round_trips.min_ms < 100
    assert set(worker.rows["worker"]) == {1}
    assert sorted(worker.rows["index"]) == list(range(1, 2 * len(worker.rows) + 1, 2))
    start_stage(worker, plan(arrivals=ClosedArrivals(8), duration=0.3), WorkerShare())
    assert worker.received(StageEnded).connections_opened == 3


def test_rate_changed_before_start_applies_from_start(worker: Piped) -> None:
    stage_plan = plan(rate=20, duration=0.5)
    worker.tell(RunStage(stage_plan))
    worker.received(StagePrepared)
    start_ns = perf_counter_ns() + 50_000_000
    worker.tell(ChangeRate(100.0, perf_counter_ns()), StartStage(stage_plan.index, start_ns))
    ended = worker.received(StageEnded)
    assert ended.rates == ((0.0, 100.0), (0.5, 100.0))
    assert sorted(worker.rows["scheduled_ns"] - start_ns) == [ms * 1_000_000 for ms in range(10, 500, 10)]


def test_rate_changes_at_commanded_time(worker: Piped) -> None:
    started = start_stage(worker, plan(rate=100, duration=0.5), WorkerShare(0, 2))
    worker.tell(ChangeRate(200.0, started.start_ns + 300_000_000))
    ended = worker.received(StageEnded)
    assert ended.rates == ((0.0, 100.0), (0.3, 100.0), (0.3, 200.0), (0.5, 200.0))
    expected_ms = [*range(0, 300, 10), *range(305, 500, 5)]
    rows = worker.rows.sort_values("index")
    assert ((rows["scheduled_ns"] - started.start_ns) // 1_000_000).tolist() == expected_ms[::2]
    assert rows["index"].tolist() == list(range(0, len(expected_ms), 2))
