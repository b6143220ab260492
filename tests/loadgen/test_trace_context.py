from __future__ import annotations

import asyncio
import re
from time import perf_counter_ns

import pytest

from loadgen.protocols.expectation import check_http_status
from loadgen.protocols.prepared import PreparedWorkload
from loadgen.records import ClosedArrivals, StageLoad, StagePlan, WorkerShare
from loadgen.trace_context import add_traceparent, build_traced_submit, compute_trace_id
from loadgen.transport.exchange import Exchange
from loadgen.worker.stage import SendingStage
from tests.fakes.transport import FakeTransport

REQUEST = b"POST /v1/chat HTTP/1.1\r\nHost: here\r\nContent-Length: 8\r\n\r\n\r\n\r\nbody"
HEADER = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01")


def extract_ids(request: bytes) -> tuple[str, str]:
    start, host, header, rest = request.split(b"\r\n", 3)
    assert (start, host) == (b"POST /v1/chat HTTP/1.1", b"Host: here"), "a proxy rewrites the first lines"
    assert rest == REQUEST.split(b"\r\n", 2)[2]
    name, value = header.decode().split(": ")
    assert name == "traceparent"
    match = HEADER.fullmatch(value)
    assert match is not None
    return match[1], match[2]


def test_traceparent_header_has_request_ids_and_other_bytes_are_unchanged() -> None:
    trace_id, parent_id = extract_ids(add_traceparent(REQUEST, "run-1", 2, 7))
    assert trace_id == compute_trace_id("run-1", 2, 7)
    assert int(trace_id, 16) > 0 < int(parent_id, 16)


def test_every_request_of_every_stage_and_run_has_unique_ids() -> None:
    keys = [(run, stage, number) for run in ("a", "b") for stage in (1, 11) for number in range(20)]
    ids = [extract_ids(add_traceparent(REQUEST, *key)) for key in keys]
    assert len({trace_id for trace_id, _ in ids}) == len({parent_id for _, parent_id in ids}) == len(keys)


def test_request_that_is_sent_twice_has_two_trace_ids() -> None:
    sent: list[bytes] = []
    submit = build_traced_submit(lambda exchange: sent.append(exchange.request), "run-1", 2)
    for number in (0, 1):
        submit(Exchange(number, 0, 0, REQUEST, lambda _: None))
    assert [extract_ids(request)[0] for request in sent] == [compute_trace_id("run-1", 2, number) for number in (0, 1)]


@pytest.mark.parametrize("trace_key", [None, "run-1"])
def test_stage_sends_traceparent_header_only_with_trace_key(trace_key: str | None) -> None:
    plan, transport = (
        StagePlan(4, "s", StageLoad(ClosedArrivals(2), 5.0, lead_in_s=0.0, max_requests=6), 3, drain_s=1.0),
        FakeTransport(after_s=0),
    )
    workload = PreparedWorkload(requests=[REQUEST], check=check_http_status, label="POST /")

    async def run() -> None:
        loop = asyncio.get_running_loop()
        share = WorkerShare(1, 2)
        stage = SendingStage(plan, share, None, perf_counter_ns(), transport, workload, loop, trace_key=trace_key)
        await asyncio.wait_for(stage.run(), 10)

    asyncio.run(run())
    requests = [exchange.request for exchange in transport.submitted]
    assert len(requests) == 3
    if trace_key is None:
        assert set(requests) == {REQUEST}
    else:
        numbers = [exchange.index for exchange in transport.submitted]
        assert [extract_ids(request)[0] for request in requests] == [compute_trace_id("run-1", 4, n) for n in numbers]
        assert numbers == [1, 3, 5]
