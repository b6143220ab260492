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
from tests.fakes.piped_worker import PipedWorker
from tests.fakes.stage_run import plan

pytestmark = pytest.mark.process


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(Script()) as server:
        yield server


@pytest.fixture(scope="module")
def piped() -> Iterator[PipedWorker]:
    with PipedWorker() as piped:
        yield piped


@pytest.fixture
def worker(piped: PipedWorker, server: ScriptedServer) -> PipedWorker:
    piped.batches.clear()
    piped.send_commands(Configure(Endpoint((server.url,), max_connections=3), HttpWorkload()))
    return piped


def start_stage(
    worker: PipedWorker, stage_plan: StagePlan, share: WorkerShare, after_ns: int = 50_000_000
) -> StageStarted:
    worker.send_commands(RunStage(stage_plan, share))
    worker.receive(StagePrepared)
    worker.send_commands(StartStage(stage_plan.index, perf_counter_ns() + after_ns))
    return worker.receive(StageStarted)


def test_stage_starts_at_commanded_time_and_not_before(worker: PipedWorker, server: ScriptedServer) -> None:
    stage_plan = plan(rate=100, duration=0.2, lead_in_s=0.1)
    worker.send_commands(RunStage(stage_plan))
    assert worker.receive(StagePrepared).index == stage_plan.index
    assert not server.requests
    start_ns = perf_counter_ns() + 400_000_000
    worker.send_commands(StartStage(stage_plan.index + 1, 0), StartStage(stage_plan.index, start_ns))
    assert worker.receive(StageStarted).start_ns == start_ns
    assert worker.receive(StageEnded).start_ns == start_ns
    assert sorted(worker.rows["scheduled_ns"] - start_ns) == [ms * 1_000_000 for ms in range(-100, 200, 10)]
    assert set(worker.rows["worker"]) == {0}


def test_late_start_of_stage_causes_only_lag(worker: PipedWorker) -> None:
    start_stage(worker, plan(rate=100, duration=0.5), WorkerShare(), after_ns=-300_000_000)
    ended = worker.receive(StageEnded)
    lag_ms = ((worker.rows["sent_ns"] - worker.rows["scheduled_ns"]) / 1e6)[worker.rows["index"].argsort()]
    assert ended.scheduled == len(lag_ms) == 50
    assert lag_ms.iloc[0] >= 300
    assert lag_ms.iloc[-1] < 150


@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize("is_prepared", [True, False])
def test_stage_stopped_before_its_start_ends(
    worker: PipedWorker, server: ScriptedServer, drain: bool, is_prepared: bool
) -> None:
    worker.send_commands(RunStage(plan(duration=60)))
    if is_prepared:
        worker.receive(StagePrepared)
    worker.send_commands(StopStage(drain))
    ended = worker.receive(StageEnded)
    assert (ended.stopped_early, ended.rates) == (True, ())
    assert not server.requests
    worker.send_commands(StartStage(ended.index, perf_counter_ns()))  # sent before its sender received the end
    start_stage(worker, plan(rate=50, duration=0.2), WorkerShare())
    assert worker.receive(StageEnded).scheduled == len(worker.rows) == 10


def test_share_of_worker_has_its_own_rows_and_part_of_connections(worker: PipedWorker, server: ScriptedServer) -> None:
    started = start_stage(worker, plan(arrivals=ClosedArrivals(8), duration=0.3), WorkerShare(1, 2))
    assert started.scheduled is None
    ended = worker.receive(StageEnded)
    assert ended.connections_opened == server.connection_count == 2
    assert worker.rows["connection_wait_ms"].min() > 0, "four clients share two connections"
    if sys.platform == "linux":
        assert ended.round_trips is not None
        assert ended.round_trips.connections == 2
        assert 0 < ended.round_trips.min_ms < 100
    assert set(worker.rows["worker"]) == {1}
    assert sorted(worker.rows["index"]) == list(range(1, 2 * len(worker.rows) + 1, 2))
    start_stage(worker, plan(arrivals=ClosedArrivals(8), duration=0.3), WorkerShare())
    assert worker.receive(StageEnded).connections_opened == 3


def test_rate_changed_before_start_applies_from_start(worker: PipedWorker) -> None:
    stage_plan = plan(rate=20, duration=0.5)
    worker.send_commands(RunStage(stage_plan))
    worker.receive(StagePrepared)
    start_ns = perf_counter_ns() + 50_000_000
    worker.send_commands(ChangeRate(100.0, perf_counter_ns()), StartStage(stage_plan.index, start_ns))
    ended = worker.receive(StageEnded)
    assert ended.rates == ((0.0, 100.0), (0.5, 100.0))
    assert sorted(worker.rows["scheduled_ns"] - start_ns) == [ms * 1_000_000 for ms in range(10, 500, 10)]


def test_rate_changes_at_commanded_time(worker: PipedWorker) -> None:
    started = start_stage(worker, plan(rate=100, duration=0.5), WorkerShare(0, 2))
    worker.send_commands(ChangeRate(200.0, started.start_ns + 300_000_000))
    ended = worker.receive(StageEnded)
    assert ended.rates == ((0.0, 100.0), (0.3, 100.0), (0.3, 200.0), (0.5, 200.0))
    expected_ms = [*range(0, 300, 10), *range(305, 500, 5)]
    rows = worker.rows.sort_values("index")
    assert ((rows["scheduled_ns"] - started.start_ns) // 1_000_000).tolist() == expected_ms[::2]
    assert rows["index"].tolist() == list(range(0, len(expected_ms), 2))
