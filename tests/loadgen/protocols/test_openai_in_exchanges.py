"""Against the scripted server, through our transport: what was played is what is read."""

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
from tests.fakes.asker import Asker, converse_on

FACE = Script(protocols=(OpenAiMock(service_model=ServiceModel(delay_s=0.01, tokens_per_s=500.0)),))
TIMEOUTS = Timeouts(connect_s=5, idle_s=0.4, total_s=1.0)


def built_for(server: ScriptedServer, api: Any = "chat", **more: Any) -> tuple[PreparedWorkload, Endpoint]:
    endpoint = Endpoint((f"{server.url}/v1",), timeouts=TIMEOUTS)
    prompts = SyntheticPrompts(FixedLength(5), FixedLength(6), unique=2)
    return build_openai(
        OpenAiWorkload(api, "scripted", prompts, **more), endpoint, parse_url(endpoint.urls[0])
    ), endpoint


def asked(server: ScriptedServer, api: Any = "chat", times: int = 1, **more: Any) -> tuple[str | None, Exchange]:
    """The last of so many exchanges, and its judgement. All but the last are successes."""
    built, endpoint = built_for(server, api, **more)
    kept: list[Exchange] = []

    async def talk(asker: Asker) -> None:
        for _ in range(times):
            reader = None if built.new_reader is None else built.new_reader()
            kept.append(await asker.ask(built.requests[0], reader=reader))

    converse_on("uvloop", endpoint, talk)
    errors = [check_response(built.check, exchange).error for exchange in kept]
    assert not any(errors[:-1])
    return errors[-1], kept[-1]


def played(stream: Stream | Reply, api: Any = "chat", **more: Any) -> tuple[str | None, Exchange]:
    with ScriptedServer(Script(reply=stream)) as server:
        return asked(server, api, **more)


def events(api: Any = "chat", gap_s: float = 0.0, **more: Any) -> Pieces:
    return build_openai_stream(Generation(tokens=6, api=api, **more), 0.0, gap_s)


def known(exchange: Exchange) -> Tokens:
    tokens = get_tokens(exchange)
    assert tokens is not None
    return tokens


@pytest.mark.parametrize("api", ["chat", "completions", "responses", "messages"])
def test_a_streamed_answer(api: str) -> None:
    with ScriptedServer(FACE) as server:
        error, exchange = asked(server, api, times=3)
        received_ns = server.received_ns[-1]
        assert server.connection_count == 1
    tokens = known(exchange)
    assert (error, tokens.tokens_out, tokens.token_source) == (None, 6, "server")
    assert tokens.tokens_in is not None
    assert tokens.chunk_ns is not None
    assert len(tokens.chunk_ns) == 6
    played_ms = [10 + 2 * number for number in range(6)]
    read_ms = [(at_ns - received_ns) / 1e6 for at_ns in tokens.chunk_ns]
    # never early, and late by no more than this machine is busy
    assert all(played - 0.1 <= read < played + 200 for played, read in zip(played_ms, read_ms, strict=True))
    assert tokens.first_token_ns == tokens.first_output_ns == tokens.chunk_ns[0]
    assert exchange.first_byte_ns is not None
    assert exchange.first_byte_ns <= tokens.chunk_ns[0] <= tokens.chunk_ns[-1] == tokens.last_token_ns


@pytest.mark.parametrize("api", ["chat", "completions", "responses", "messages", "embeddings", "rerank"])
def test_a_whole_answer(api: str) -> None:
    with ScriptedServer(FACE) as server:
        error, exchange = asked(server, api, stream=False)
    tokens = known(exchange)
    assert (error, tokens.first_token_ns) == (None, None)
    assert (tokens.tokens_in or 0) > 0
    assert tokens.tokens_out == (None if api in ("embeddings", "rerank") else 6)


def test_a_model_that_the_server_lacks() -> None:
    with ScriptedServer(FACE) as server:
        error, exchange = asked(server, extra_body=b'{"model": "other"}')
    assert (error, exchange.status, known(exchange)) == ("http-4xx", 404, Tokens())


@pytest.mark.parametrize("api", ["chat", "completions", "responses", "messages"])
@pytest.mark.parametrize("size", [1, 7])
def test_a_stream_in_slices(api: str, size: int) -> None:
    stream = slice_stream(
        build_chunked_stream(events(api, text="é☃ \r\n", reasoning_tokens=2)), size, interval_s=0.00005
    )
    error, exchange = played(stream, api)
    tokens = known(exchange)
    assert (error, tokens.tokens_out, len(tokens.chunk_ns or ())) == (None, 8, 8)


def test_what_a_stream_may_be() -> None:
    reasoning, last = (
        played(build_chunked_stream(events(reasoning_tokens=3, gap_s=0.002))),
        known(played(build_chunked_stream(events(is_tool_call=True)))[1]),
    )
    tokens = known(reasoning[1])
    assert reasoning[0] is None
    assert tokens.chunk_ns is not None
    assert (tokens.first_token_ns, tokens.first_output_ns) == (tokens.chunk_ns[0], tokens.chunk_ns[3])
    assert last.first_output_ns is not None
    several = known(played(build_chunked_stream(events(tokens_per_chunk=4)))[1])
    assert (len(several.chunk_ns or ()), several.tokens_out) == (2, 6)
    blank = known(played(build_chunked_stream(events(text=" ")))[1])
    assert len(blank.chunk_ns or ()) == 6
    none = played(build_chunked_stream(build_openai_stream(Generation(tokens=0), 0.0, 0.0)))
    assert (none[0], known(none[1]).first_token_ns, known(none[1]).tokens_out) == ("bad-output", None, 0)
    uncounted = known(played(build_chunked_stream(events(has_usage=False)))[1])
    assert (uncounted.tokens_out, uncounted.token_source) == (6, "chunks")
    wrong = known(played(build_chunked_stream(events(reported_tokens=(-1, -9))))[1])
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
def test_how_a_stream_may_end(stream: Stream | Reply, error: str | None) -> None:
    found, exchange = played(stream)
    assert found == error
    assert exchange.end_ns is not None
    assert exchange.sent_ns is not None
    assert exchange.end_ns - exchange.sent_ns < (TIMEOUTS.total_s + 1) * 1e9


def test_a_message_needs_its_version_and_a_maximum_and_may_think_and_call_a_tool() -> None:
    with ScriptedServer(FACE) as server:
        unlimited, _ = asked(server, "messages", extra_body=b'{"max_tokens": null}')
        built, endpoint = built_for(server, "messages")
        request = built.requests[0].replace(b"anthropic-version", b"x-version")
        kept: list[Exchange] = []

        async def talk(asker: Asker) -> None:
            kept.append(await asker.ask(request))

        converse_on("uvloop", endpoint, talk)
    assert (unlimited, kept[0].status) == ("http-4xx", 400)
    stream = build_chunked_stream(events("messages", reasoning_tokens=3, is_tool_call=True, cached_tokens=4))
    error, exchange = played(stream, "messages")
    tokens = known(exchange)
    # the name of the tool is a chunk beside its six tokens
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
def test_how_a_message_may_end(stream: Stream | Reply, error: str | None) -> None:
    assert played(stream, "messages")[0] == error
