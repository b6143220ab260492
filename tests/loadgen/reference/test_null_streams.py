from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from time import perf_counter_ns

import numpy as np
import pytest

from loadgen.child import start_module
from loadgen.reference.null_streams import CHUNK_COUNT, GAP_NS, TICK_NS, decode_due_ns, encode_tick

pytestmark = pytest.mark.process


def test_when_the_first_chunk_was_due_is_reported_by_its_usage() -> None:
    for tick in (0, 4_999_999, 5_000_000, 123_456_789):
        reported = encode_tick(tick)
        assert len(str(reported)) == 7
        for after_ns in (0, 1, 9_000_000_000):
            assert decode_due_ns(reported, tick * TICK_NS + after_ns) == tick * TICK_NS


@pytest.fixture
def connection() -> Iterator[http.client.HTTPConnection]:
    with start_module("loadgen.reference.null_streams", stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(child.stdout.readline()), timeout=10)
        yield connection
        connection.close()
        child.stdin.close()
        assert child.wait(30) == 0


def test_every_request_is_answered_by_a_stream_that_keeps_its_schedule(connection: http.client.HTTPConnection) -> None:
    for _ in range(2):
        asked_ns = perf_counter_ns()
        connection.request("POST", "/v1/chat/completions", b"x" * 100_000)
        answer = connection.getresponse()
        events = []
        while line := answer.readline():
            if line != b"\n":
                events.append((perf_counter_ns(), line.removeprefix(b"data: ").strip()))
        assert events[-1][1] == b"[DONE]"
        read = [(at_ns, json.loads(event)) for at_ns, event in events[:-1]]
        tokens_ns = [at_ns for at_ns, event in read if event["choices"] and event["choices"][0]["delta"]]
        assert len(tokens_ns) == CHUNK_COUNT
        first_due_ns = decode_due_ns(read[-1][1]["usage"]["prompt_tokens"], tokens_ns[0])
        assert asked_ns < first_due_ns <= tokens_ns[0]
        late_ns = np.array(tokens_ns) - first_due_ns - np.arange(CHUNK_COUNT) * GAP_NS
        assert late_ns.min() >= 0, "no chunk comes before its time"


def test_who_leaves_in_the_middle_holds_up_nobody(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/")
    connection.getresponse().readline()
    connection.close()
    connection.request("GET", "/")
    assert connection.getresponse().read().endswith(b"data: [DONE]\n\n")
