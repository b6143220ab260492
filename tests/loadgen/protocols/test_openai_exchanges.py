"""OpenAI responses of the scripted server, read through the transport."""

from typing import Any

import pytest

from loadgen.protocols.openai import build_openai
from loadgen.protocols.prepared import PreparedWorkload, check_response, get_tokens
from loadgen.records import Endpoint, Timeouts
from loadgen.reference.openai_events import (
    Generation,
    Pieces,
    add_connection_close,
    build_chunked_stream,
    build_endless_stream,
    build_openai_stream,
    build_single_line_event,
    build_stream_until_close,
    slice_stream,
    truncate,
)
from loadgen.reference.script import OpenAiMock, Reply, Script, ServiceModel, Stream
from loadgen.reference.scripted import ScriptedServer
from loadgen.transport.address import parse_url
from loadgen.transport.exchange import Exchange, Tokens
from loadgen.workloads import FixedLength, OpenAiWorkload, SyntheticPrompts
from tests.fakes.http_client import HttpClient, run_http_client_on

MOCK = Script(protocols=(OpenAiMock(service_model=ServiceModel(delay_s=0.01, tokens_per_s=500.0)),))
TIMEOUTS = Timeouts(connect_s=5, idle_s=0.4, total_s=1.0)


def prepare(server: ScriptedServer, api: Any = "chat", **more: Any) -> tuple[PreparedWorkload, Endpoint]:
    endpoint = Endpoint((f"{server.url}/v1",), timeouts=TIMEOUTS)
    prompts = SyntheticPrompts(FixedLength(5), FixedLength(6), unique=2)
    return build_openai(
        OpenAiWorkload(api, "scripted", prompts, **more), endpoint, parse_url(endpoint.urls[0])
    ), endpoint


def send_requests(
    server: ScriptedServer, api: Any = "chat", times: int = 1, **more: Any
) -> tuple[str | None, Exchange]:
    """Send the same request `times` times; return error and exchange of the last one. The others must succeed."""
    prepared, endpoint = prepare(server, api, **more)
    exchanges: list[Exchange] = []

    async def send_all(client: HttpClient) -> None:
        for _ in range(times):
            reader = None if prepared.new_reader is None else prepared.new_reader()
            exchanges.append(await client.request(prepared.requests[0], reader=reader))

    run_http_client_on("uvloop", endpoint, send_all)
    errors = [check_response(prepared.check, exchange).error for exchange in exchanges]
    assert not any(errors[:-1])
    return errors[-1], exchanges[-1]


def receive(stream: Stream | Reply, api: Any = "chat", **more: Any) -> tuple[str | None, Exchange]:
    with ScriptedServer(Script(reply=stream)) as server:
        return send_requests(server, api, **more)


def events(api: Any = "chat", gap_s: float = 0.0, **more: Any) -> Pieces:
    return build_openai_stream(Generation(tokens=6, api=api, **more), 0.0, gap_s)


def require_tokens(exchange: Exchange) -> Tokens:
    tokens = get_tokens(exchange)
    assert tokens is not None
    return tokens


@pytest.mark.parametrize("api", ["chat", "completions", "responses", "messages"])
def test_streamed_response_has_count_and_time_of_each_token(api: str) -> None:
    with ScriptedServer(MOCK) as server:
        error, exchange = send_requests(server, api, times=3)
        received_ns = server.received_ns[-1]
        assert server.connection_count == 1
    tokens = require_tokens(exchange)
    assert (error, tokens.tokens_out, tokens.token_source) == (None, 6, "server")
    assert tokens.tokens_in is not None
    assert tokens.chunk_ns is not None
    assert len(tokens.chunk_ns) == 6
    expected_ms = [10 + 2 * number for number in range(6)]
    received_ms = [(at_ns - received_ns) / 1e6 for at_ns in tokens.chunk_ns]
    # never early, and delayed only by the load of this machine
    assert all(
        expected - 0.1 <= received < expected + 200 for expected, received in zip(expected_ms, received_ms, strict=True)
    )
    assert tokens.first_token_ns == tokens.first_output_ns == tokens.chunk_ns[0]
    assert exchange.first_byte_ns is not None
    assert exchange.first_byte_ns <= tokens.chunk_ns[0] <= tokens.chunk_ns[-1] == tokens.last_token_ns


@pytest.mark.parametrize("api", ["chat", "completions", "responses", "messages", "embeddings", "rerank"])
def test_complete_response_has_token_counts_without_token_times(api: str) -> None:
    with ScriptedServer(MOCK) as server:
        error, exchange = send_requests(server, api, stream=False)
    tokens = require_tokens(exchange)
    assert (error, tokens.first_token_ns) == (None, None)
    assert (tokens.tokens_in or 0) > 0
    assert tokens.tokens_out == (None if api in ("embeddings", "rerank") else 6)


def test_unknown_model_is_http_4xx_error() -> None:
    with ScriptedServer(MOCK) as server:
        error, exchange = send_requests(server, extra_body=b'{"model": "other"}')
    assert (error, exchange.status, require_tokens(exchange)) == ("http-4xx", 404, Tokens())


@pytest.mark.parametrize("api", ["chat", "completions", "responses", "messages"])
@pytest.mark.parametrize("size", [1, 7])
def test_stream_is_decoded_in_slices_of_any_size(api: str, size: int) -> None:
    stream = slice_stream(
        build_chunked_stream(events(api, text="é☃ \r\n", reasoning_tokens=2)), size, interval_s=0.00005
    )
    error, exchange = receive(stream, api)
    tokens = require_tokens(exchange)
    assert (error, tokens.tokens_out, len(tokens.chunk_ns or ())) == (None, 8, 8)


def test_stream_may_have_reasoning_tool_calls_large_chunks_or_no_usage() -> None:
    reasoning, last = (
        receive(build_chunked_stream(events(reasoning_tokens=3, gap_s=0.002))),
        require_tokens(receive(build_chunked_stream(events(is_tool_call=True)))[1]),
    )
    tokens = require_tokens(reasoning[1])
    assert reasoning[0] is None
    assert tokens.chunk_ns is not None
    assert (tokens.first_token_ns, tokens.first_output_ns) == (tokens.chunk_ns[0], tokens.chunk_ns[3])
    assert last.first_output_ns is not None
    several = require_tokens(receive(build_chunked_stream(events(tokens_per_chunk=4)))[1])
    assert (len(several.chunk_ns or ()), several.tokens_out) == (2, 6)
    blank = require_tokens(receive(build_chunked_stream(events(text=" ")))[1])
    assert len(blank.chunk_ns or ()) == 6
    empty = receive(build_chunked_stream(build_openai_stream(Generation(tokens=0), 0.0, 0.0)))
    assert (empty[0], require_tokens(empty[1]).first_token_ns, require_tokens(empty[1]).tokens_out) == (
        "bad-output",
        None,
        0,
    )
    uncounted = require_tokens(receive(build_chunked_stream(events(has_usage=False)))[1])
    assert (uncounted.tokens_out, uncounted.token_source) == (6, "chunks")
    wrong = require_tokens(receive(build_chunked_stream(events(reported_tokens=(-1, -9))))[1])
    assert (wrong.tokens_in, wrong.tokens_out, wrong.token_source) == (None, 6, "chunks")


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (build_chunked_stream(events(has_done_event=False)), None),
        (build_stream_until_close(events()), None),
        (add_connection_close(build_chunked_stream(events())), None),
        (Reply(body=b'{"choices": [{"message": {"content": "a"}}]}'), None),
        (build_chunked_stream(events(finish_reason=None)), "truncated"),
        (build_chunked_stream(events(finish_reason=None, has_done_event=False)), "truncated"),
        (build_stream_until_close(events(finish_reason=None)), "truncated"),
        (truncate(build_chunked_stream(events()), 5, "close"), "truncated"),
        (truncate(build_chunked_stream(events()), 5, "reset"), "truncated"),
        (truncate(build_chunked_stream(events()), 5, "open"), "timeout"),
        (build_endless_stream(events(finish_reason=None), repeat_count=1, period_s=0.01), "timeout"),
        (build_endless_stream([(0.0, b": keep-alive\n\n")], repeat_count=1, period_s=0.01), "timeout"),
        (build_single_line_event(64 * 2**20), "bad-payload"),
        (build_chunked_stream([(0.0, b"data: {rubbish\n\n")]), "bad-payload"),
        (
            build_chunked_stream(
                [*events(finish_reason=None, has_done_event=False), (0.0, b'data: {"error": {"message": "x"}}\n\n')]
            ),
            "bad-output",
        ),
        (Reply(body=b"<html>", headers=(("Content-Type", "text/html"),)), "bad-payload"),
        (Reply(status=429, headers=(("Retry-After", "1"),)), "http-4xx"),
        (Reply(status=503), "http-5xx"),
    ],
)
def test_end_of_stream_maps_to_error_class(stream: Stream | Reply, error: str | None) -> None:
    actual_error, exchange = receive(stream)
    assert actual_error == error
    assert exchange.end_ns is not None
    assert exchange.sent_ns is not None
    assert exchange.end_ns - exchange.sent_ns < (TIMEOUTS.total_s + 1) * 1e9


def test_messages_api_needs_version_and_max_tokens_and_may_stream_tool_calls() -> None:
    with ScriptedServer(MOCK) as server:
        unlimited, _ = send_requests(server, "messages", extra_body=b'{"max_tokens": null}')
        prepared, endpoint = prepare(server, "messages")
        request = prepared.requests[0].replace(b"anthropic-version", b"x-version")
        exchanges: list[Exchange] = []

        async def send_request(client: HttpClient) -> None:
            exchanges.append(await client.request(request))

        run_http_client_on("uvloop", endpoint, send_request)
    assert (unlimited, exchanges[0].status) == ("http-4xx", 400)
    stream = build_chunked_stream(events("messages", reasoning_tokens=3, is_tool_call=True, cached_tokens=4))
    error, exchange = receive(stream, "messages")
    tokens = require_tokens(exchange)
    # the name of the tool is a chunk in addition to its six tokens
    assert (error, tokens.tokens_in, tokens.tokens_out, len(tokens.chunk_ns or ())) == (None, 10, 9, 10)
    assert tokens.details is not None
    assert tokens.details.tokens_cached == 4


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (build_chunked_stream(events("messages", finish_reason=None)), "truncated"),
        (truncate(build_chunked_stream(events("messages")), 4, "reset"), "truncated"),
        (
            build_chunked_stream(
                [*events("messages", finish_reason=None), (0.0, b'event: error\ndata: {"type": "error"}\n\n')]
            ),
            "bad-output",
        ),
        (build_chunked_stream(events()), "bad-payload"),
        (Reply(status=529, body=b'{"type": "error", "error": {"type": "overloaded_error"}}'), "http-5xx"),
        (Reply(body=b'{"content": [{"type": "text", "text": "a"}]}'), None),
    ],
)
def test_end_of_message_stream_maps_to_error_class(stream: Stream | Reply, error: str | None) -> None:
    assert receive(stream, "messages")[0] == error
