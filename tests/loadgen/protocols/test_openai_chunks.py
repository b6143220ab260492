from __future__ import annotations

import pytest

from loadgen.protocols.openai_bodies import decode_response
from loadgen.protocols.openai_chunks import parse_details
from loadgen.protocols.openai_stream import OpenAiReader
from loadgen.transport.exchange import ServerDetails


@pytest.mark.parametrize(
    ("usage", "timings", "details"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 3}}, None, ServerDetails(tokens_cached=3)),
        ({"input_tokens_details": {"cached_tokens": 0}}, None, ServerDetails(tokens_cached=0)),
        ({"prompt_cache_hit_tokens": 7, "prompt_tokens_details": None}, None, ServerDetails(tokens_cached=7)),
        (
            {"completion_tokens_details": {"reasoning_tokens": 5, "accepted_prediction_tokens": 2}},
            None,
            ServerDetails(tokens_reasoning=5, tokens_accepted=2),
        ),
        (
            {"queue_time": 0, "prompt_time": 0.25, "completion_time": 1},
            {"prompt_ms": 9},
            ServerDetails(server_queue_ms=0, server_prefill_ms=250, server_decode_ms=1_000),
        ),
        (
            None,
            {"cache_n": 4, "prompt_ms": 1.5, "predicted_ms": 20},
            ServerDetails(tokens_cached=4, server_prefill_ms=1.5, server_decode_ms=20),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 9}, None, None),
        ({"queue_time": -1, "prompt_time": "1", "completion_time": 1e300, "reasoning_tokens": True}, [], None),
        ([], 5, None),
    ],
)
def test_server_details_are_parsed_from_usage_and_timings(
    usage: object, timings: object, details: ServerDetails | None
) -> None:
    assert parse_details(usage, timings) == details


def test_server_details_are_read_from_stream_and_complete_response() -> None:
    reader = OpenAiReader("chat", None)
    for at_ns, event in enumerate(
        (
            b'{"choices": [{"delta": {"content": "a"}}], "usage": {"completion_tokens": 1, "queue_time": 3}}',
            b'{"choices": [{"delta": {}, "finish_reason": "stop"}], "timings": {"predicted_ms": 2}}',
            b'{"choices": [], "usage": {"completion_tokens": 1, "queue_time": 0.001}}',
        )
    ):
        assert reader.feed(b"data: " + event + b"\n\n", at_ns) is None
    expected = ServerDetails(server_queue_ms=1, server_decode_ms=2)
    assert reader.tokens.details == expected
    body = (
        b'{"choices": [{"message": {"content": "a"}}], "usage": {"queue_time": 0.001}, "timings": {"predicted_ms": 2}}'
    )
    assert decode_response("chat", body).tokens.details == expected
