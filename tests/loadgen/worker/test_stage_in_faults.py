"""Stages against a server that does everything wrong, ended in every way: no row is lost, and none comes twice."""

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
from tests.fakes.asker import LOOPS
from tests.tiers import first_in_unit_tier

MANNERS: dict[ReplyMode, int] = {
    "whole": 30, "chunked": 5, "close-after": 3, "close-unsaid": 3, "http-1.0": 2, "slow-body": 2, "cut-body": 1,
    "drop": 1, "reset": 1, "garbage": 1, "hang": 1,
}  # fmt: skip
REQUESTS = [f"GET /{manner} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for manner in MANNERS]
SCRIPT = Script(paths={f"/{manner}": Reply(mode=manner) for manner in MANNERS}, delay_s=0.005)


@pytest.mark.parametrize("seed", first_in_unit_tier(range(16), 8))
def test_every_arrival_that_came_due_is_one_row(seed: int) -> None:
    draw = random.Random(seed)
    loop = draw.choice([asyncio.new_event_loop, *LOOPS.values(), uvloop.new_event_loop])
    with ScriptedServer(SCRIPT, stores_requests=False) as server, asyncio.Runner(loop_factory=loop) as runner:
        # of two replicas one is not there
        urls = draw.choice([(server.url,), (server.url,), (server.url, "http://127.0.0.1:1")])
        runner.run(play_two_stages(urls, draw))


async def play_two_stages(urls: tuple[str, ...], draw: random.Random) -> None:
    endpoint = Endpoint(
        urls,
        timeouts=Timeouts(connect_s=0.1, idle_s=draw.choice([0.1, 1]), total_s=draw.choice([0.1, 2])),
        max_connections=draw.choice([1, 3, 64]),
        balance=draw.choice(["round-robin", "least-outstanding", "power-of-two"]),
        reuses_connections=draw.random() < 0.8,
    )
    transport = create_http_transport(asyncio.get_running_loop(), endpoint)
    try:
        await transport.resolve()
        for _ in range(2):
            await play_and_check(transport, draw)
    finally:
        transport.close()
        await asyncio.sleep(0)


async def play_and_check(transport: Transport, draw: random.Random) -> None:
    loop, plan = asyncio.get_running_loop(), drawn_plan(draw)
    share = draw.choice([WorkerShare(), WorkerShare(), WorkerShare(0, 2), WorkerShare(2, 3)])
    offsets = Schedule(plan, share).own_offsets if isinstance(plan.arrivals, OpenArrivals) else None
    start_ns = perf_counter_ns() + round(plan.lead_in_s * 1e9)
    stage = SendingStage(plan, share, offsets, start_ns, transport, drawn_workload(draw), loop)
    for _ in range(draw.choice([0, 1, 2])):
        loop.call_later(draw.uniform(0, plan.lead_in_s + plan.duration_s + 0.1), drawn_order(draw, stage))
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


def drawn_plan(draw: random.Random) -> StagePlan:
    arrivals: OpenArrivals | ClosedArrivals
    if draw.random() < 0.4:
        arrivals = ClosedArrivals(draw.choice([1, 5, 40]), draw.choice([0.0, 0.01]))
    else:
        arrivals = OpenArrivals(draw.choice(["constant", "poisson"]), ((0.0, draw.choice([50.0, 300.0, 2_000.0])),))
    return StagePlan(
        index=0,
        name="s",
        arrivals=arrivals,
        duration_s=draw.choice([0.05, 0.2]),
        seed=draw.randrange(100),
        lead_in_s=draw.choice([0.0, 0.05]),
        drain_s=draw.choice([0.0, 0.05, 0.5]),
        max_requests=draw.choice([None, None, 1, 17]),
    )


def drawn_workload(draw: random.Random) -> PreparedWorkload:
    count = len(REQUESTS)
    sessions = Sessions([None, *[0] * (count - 1)], [1_000_000] * count) if draw.random() < 0.3 else None
    picks = draw.choices(range(count), list(MANNERS.values()), k=500)
    return PreparedWorkload(
        requests=REQUESTS, check=check_http_status, label="GET /", request_indices=picks, sessions=sessions
    )


def drawn_order(draw: random.Random, stage: SendingStage) -> Callable[[], None]:
    drains, rate, is_stop = draw.random() < 0.5, draw.choice([10.0, 5_000.0]), draw.random() < 0.4
    ahead_ns = draw.choice([-20_000_000, 0, 50_000_000])
    offsets = np.arange(1, 2 * rate).astype(np.int64) * round(1e9 / rate)
    if is_stop:
        return lambda: stage.stop(drains, perf_counter_ns())
    return lambda: stage.change_rate(rate, offsets, perf_counter_ns() + ahead_ns, perf_counter_ns())
