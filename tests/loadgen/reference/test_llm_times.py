"""The reference LLM server sends its tokens when their steps end."""

import http.client
from statistics import median
from time import perf_counter_ns

import pytest

from loadgen.reference.llm_scheduler import EventKind, LlmConfig
from tests.fakes.llm_server import llm_server

pytestmark = pytest.mark.timing


def test_tokens_are_sent_at_the_end_of_their_steps() -> None:
    received_ns = []
    with llm_server(LlmConfig(step_ms=10, num_gpu_blocks=None)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        for number in range(30):
            connection.request("POST", "/v1/completions", f'{{"prompt": "{number}", "max_tokens": 1}}')
            connection.getresponse().read()
            received_ns.append(perf_counter_ns())
        connection.close()
    sent = [event for event in server.events if event.kind == EventKind.TOKEN]
    late_ms = [((event.sent_ns or 0) - event.at_ns) / 1e6 for event in sent]
    read_ms = [(time_ns - (event.sent_ns or 0)) / 1e6 for time_ns, event in zip(received_ns, sent, strict=True)]
    assert min(late_ms) > 0
    assert min(read_ms) > 0
    assert median(late_ms) < 0.5
    assert median(read_ms) < 2
