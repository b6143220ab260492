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


def test_due_time_of_first_chunk_is_encoded_in_usage() -> None:
    for tick in (0, 4_999_999, 5_000_000, 123_456_789):
        encoded = encode_tick(tick)
        assert len(str(encoded)) == 7
        for after_ns in (0, 1, 9_000_000_000):
            assert decode_due_ns(encoded, tick * TICK_NS + after_ns) == tick * TICK_NS


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


def test_every_response_is_token_stream_on_schedule(connection: http.client.HTTPConnection) -> None:
    for _ in range(2):
        request_ns = perf_counter_ns()
        connection.request("POST", "/v1/chat/completions", b"x" * 100_000)
        response = connection.getresponse()
        events = []
        while line := response.readline():
            if line != b"\n":
                events.append((perf_counter_ns(), line.removeprefix(b"data: ").strip()))
        assert events[-1][1] == b"[DONE]"
        decoded_events = [(at_ns, json.loads(event)) for at_ns, event in events[:-1]]
        tokens_ns = [at_ns for at_ns, event in decoded_events if event["choices"] and event["choices"][0]["delta"]]
        assert len(tokens_ns) == CHUNK_COUNT
        first_due_ns = decode_due_ns(decoded_events[-1][1]["usage"]["prompt_tokens"], tokens_ns[0])
        assert request_ns < first_due_ns <= tokens_ns[0]
        late_ns = np.array(tokens_ns) - first_due_ns - np.arange(CHUNK_COUNT) * GAP_NS
        assert late_ns.min() >= 0, "no chunk is early"


def test_client_that_disconnects_does_not_block_next_client(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/")
    connection.getresponse().readline()
    connection.close()
    connection.request("GET", "/")
    assert connection.getresponse().read().endswith(b"data: [DONE]\n\n")
