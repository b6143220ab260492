"""Stages against a faulty server, ended in every way: no row is lost or duplicated."""

import asyncio
import random
from collections.abc import Callable
from time import perf_counter_ns

import numpy as np
import pytest
import uvloop

from loadgen.protocols.expectation import check_http_status
from loadgen.protocols.prepared import PreparedWorkload, Sessions
from loadgen.records import ClosedArrivals, Endpoint, OpenArrivals, StagePlan, Timeouts, WorkerShare
from loadgen.reference.script import ReplyMode
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from loadgen.transport.exchange import Transport
from loadgen.transport.http_transport import create_http_transport
from loadgen.worker.stage import SendingStage
from loadgen.worker.traffic import Schedule
from tests.fakes.http_client import LOOPS
from tests.tiers import first_in_unit_tier

MODES: dict[ReplyMode, int] = {
    "whole": 30, "chunked": 5, "close-after": 3, "close-unsaid": 3, "http-1.0": 2, "slow-body": 2, "cut-body": 1,
    "drop": 1, "reset": 1, "garbage": 1, "hang": 1,
}  # fmt: skip
REQUESTS = [f"GET /{mode} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for mode in MODES]
SCRIPT = Script(paths={f"/{mode}": Reply(mode=mode) for mode in MODES}, delay_s=0.005)


@pytest.mark.parametrize("seed", first_in_unit_tier(range(16), 8))
def test_each_due_arrival_is_exactly_one_row(seed: int) -> None:
    rng = random.Random(seed)
    loop = rng.choice([asyncio.new_event_loop, *LOOPS.values(), uvloop.new_event_loop])
    with ScriptedServer(SCRIPT, stores_requests=False) as server, asyncio.Runner(loop_factory=loop) as runner:
        # the second of two replicas is unreachable
        urls = rng.choice([(server.url,), (server.url,), (server.url, "http://127.0.0.1:1")])
        runner.run(run_two_stages(urls, rng))


async def run_two_stages(urls: tuple[str, ...], rng: random.Random) -> None:
    endpoint = Endpoint(
        urls,
        timeouts=Timeouts(connect_s=0.1, idle_s=rng.choice([0.1, 1]), total_s=rng.choice([0.1, 2])),
        max_connections=rng.choice([1, 3, 64]),
        balance=rng.choice(["round-robin", "least-outstanding", "power-of-two"]),
        reuses_connections=rng.random() < 0.8,
    )
    transport = create_http_transport(asyncio.get_running_loop(), endpoint)
    try:
        await transport.resolve()
        for _ in range(2):
            await run_and_check(transport, rng)
    finally:
        transport.close()
        await asyncio.sleep(0)


async def run_and_check(transport: Transport, rng: random.Random) -> None:
    loop, plan = asyncio.get_running_loop(), draw_plan(rng)
    share = rng.choice([WorkerShare(), WorkerShare(), WorkerShare(0, 2), WorkerShare(2, 3)])
    offsets = Schedule(plan, share).own_offsets if isinstance(plan.arrivals, OpenArrivals) else None
    start_ns = perf_counter_ns() + round(plan.lead_in_s * 1e9)
    stage = SendingStage(plan, share, offsets, start_ns, transport, draw_workload(rng), loop)
    for _ in range(rng.choice([0, 1, 2])):
        loop.call_later(rng.uniform(0, plan.lead_in_s + plan.duration_s + 0.1), draw_command(rng, stage))
    await asyncio.wait_for(stage.run(), 5)
    check(stage, plan, share)


def check(stage: SendingStage, plan: StagePlan, share: WorkerShare) -> None:
    rows = list(stage.finished_exchanges)
    assert sorted(row.index for row in rows) == [share.index + n * share.worker_count for n in range(stage.due_count)]
    assert all(row.end_ns is not None for row in rows)
    assert sum(row.sent_ns is None for row in rows) == stage.never_started_count == stage.due_count - stage.sent_count
    assert stage.completed_count + stage.failed_count == stage.due_count <= (plan.max_requests or stage.due_count)
    if stage.scheduled_count is not None and not stage.was_stopped:
        assert stage.scheduled_count == stage.due_count


def draw_plan(rng: random.Random) -> StagePlan:
    arrivals: OpenArrivals | ClosedArrivals
    if rng.random() < 0.4:
        arrivals = ClosedArrivals(rng.choice([1, 5, 40]), rng.choice([0.0, 0.01]))
    else:
        arrivals = OpenArrivals(rng.choice(["constant", "poisson"]), ((0.0, rng.choice([50.0, 300.0, 2_000.0])),))
    return StagePlan(
        index=0,
        name="s",
        arrivals=arrivals,
        duration_s=rng.choice([0.05, 0.2]),
        seed=rng.randrange(100),
        lead_in_s=rng.choice([0.0, 0.05]),
        drain_s=rng.choice([0.0, 0.05, 0.5]),
        max_requests=rng.choice([None, None, 1, 17]),
    )


def draw_workload(rng: random.Random) -> PreparedWorkload:
    count = len(REQUESTS)
    sessions = Sessions([None, *[0] * (count - 1)], [1_000_000] * count) if rng.random() < 0.3 else None
    indices = rng.choices(range(count), list(MODES.values()), k=500)
    return PreparedWorkload(
        requests=REQUESTS, check=check_http_status, label="GET /", request_indices=indices, sessions=sessions
    )


def draw_command(rng: random.Random, stage: SendingStage) -> Callable[[], None]:
    drains, rate, is_stop = rng.random() < 0.5, rng.choice([10.0, 5_000.0]), rng.random() < 0.4
    ahead_ns = rng.choice([-20_000_000, 0, 50_000_000])
    offsets = np.arange(1, 2 * rate).astype(np.int64) * round(1e9 / rate)
    if is_stop:
        return lambda: stage.stop(drains, perf_counter_ns())
    return lambda: stage.change_rate(rate, offsets, perf_counter_ns() + ahead_ns, perf_counter_ns())
