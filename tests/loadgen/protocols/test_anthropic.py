import json
from typing import Any

import msgspec
import pytest

from loadgen.protocols import openai_chunks
from loadgen.protocols.anthropic import build_conversation, build_messages_path
from loadgen.protocols.openai import build_openai
from loadgen.protocols.openai_bodies import DecodedResponse, decode_response
from loadgen.protocols.openai_chunks import CountTokens
from loadgen.protocols.openai_sessions import CollectingReader, ResponseCollector, collect_response
from loadgen.protocols.openai_stream import OpenAiReader
from loadgen.records import Endpoint
from loadgen.transport.address import parse_url
from loadgen.transport.exchange import Headers, ServerDetails, Tokens
from loadgen.workloads import FixedLength, OpenAiWorkload, SyntheticPrompts

SSE: Headers = [(b"Content-Type", b"text/event-stream; charset=utf-8")]


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, ensure_ascii=False)}\n\n".encode()


def delta(kind: str, index: int = 0, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def text(content: str) -> bytes:
    return delta("text_delta", text=content)


def block(kind: str, **fields: Any) -> bytes:
    return event("content_block_start", index=0, content_block={"type": kind, **fields})


def finish(**usage: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=usage)


IN_USAGE = {"input_tokens": 7, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 90, "output_tokens": 1}
START = event("message_start", message={"id": "msg_1", "type": "message", "content": [], "usage": IN_USAGE})
PING = event("ping")
STOP = event("message_stop")
BLOCK_STOP = event("content_block_stop", index=0)


class StreamedMessage:
    """Reads a stream whose pieces arrive at 1 ns, 2 ns, 3 ns and so on."""

    def __init__(self, *pieces: bytes, count: CountTokens | None = None) -> None:
        reader = OpenAiReader("messages", count)
        self.error: str | None = None
        for at_ns, piece in enumerate(pieces, 1):
            self.error = reader.feed(piece, at_ns)
            if self.error is not None:
                break
        else:
            self.error = reader.end(SSE)
        chunk_ns = reader.tokens.chunk_ns
        self.tokens = msgspec.structs.replace(reader.tokens, chunk_ns=None if chunk_ns is None else list(chunk_ns))


def test_message_has_server_token_usage_and_cached_tokens() -> None:
    stream = StreamedMessage(
        PING, START, block("text", text=""), PING, text("a"), text("é☃"), BLOCK_STOP, finish(output_tokens=5), STOP
    )
    assert stream.error is None
    cached = ServerDetails(tokens_cached=90)
    assert stream.tokens == Tokens(5, 5, 6, 100, 5, "server", [5, 6], None, first_event_ns=2, details=cached)


def test_thinking_is_first_token_but_not_first_output() -> None:
    thinking, signature = delta("thinking_delta", thinking="hm"), delta("signature_delta", signature="x" * 99)
    stream = StreamedMessage(
        START, block("thinking", thinking="", signature=""), thinking, signature, BLOCK_STOP, block("text", text=""),
        text("a"), delta("citations_delta", citation={"cited_text": "b"}),
        finish(output_tokens=9, output_tokens_details={"thinking_tokens": 4}), STOP,
    )  # fmt: skip
    tokens = stream.tokens
    assert (stream.error, tokens.first_token_ns, tokens.first_output_ns, tokens.chunk_ns) == (None, 3, 7, [3, 7])
    assert (tokens.tokens_out, tokens.details) == (9, ServerDetails(tokens_cached=90, tokens_reasoning=4))


def test_tool_name_and_tool_input_are_output() -> None:
    call, result = block("tool_use", id="1", name="look", input={}), block("web_search_tool_result", name="x")
    start, part = delta("input_json_delta", partial_json=""), delta("input_json_delta", partial_json='{"a"')
    stream = StreamedMessage(START, result, call, start, part, finish(output_tokens=6), STOP, count=len)
    assert (stream.tokens.first_output_ns, stream.tokens.chunk_ns) == (3, [3, 5])
    uncounted = StreamedMessage(START, call, start, part, finish(), STOP, count=len).tokens
    assert (uncounted.tokens_out, uncounted.token_source) == (8, "tokenizer")


def test_token_counts_are_cumulative_in_every_usage_report() -> None:
    late = StreamedMessage(
        START, text("a"), finish(input_tokens=8, output_tokens=2), finish(output_tokens=4), STOP
    ).tokens
    assert (late.tokens_in, late.tokens_out) == (101, 4)
    only_late = StreamedMessage(
        event("message_start", message={}), text("a"), finish(input_tokens=8, output_tokens=2), STOP
    )
    assert (only_late.tokens.tokens_in, only_late.tokens.tokens_out, only_late.tokens.details) == (8, 2, None)
    wrong = StreamedMessage(
        event("message_start", message={"usage": 7}), text("a"), finish(output_tokens=-1), STOP
    ).tokens
    assert (wrong.tokens_in, wrong.tokens_out, wrong.token_source) == (None, 1, "chunks")


def test_message_is_decoded_regardless_of_chunk_boundaries() -> None:
    body = b"".join([START, PING, block("text", text=""), text("é☃"), text("b"), finish(output_tokens=2), STOP])
    for pieces in ([bytes([byte]) for byte in body], [body], [body.replace(b"\n", b"\r\n")]):
        stream = StreamedMessage(*pieces)
        assert (stream.error, stream.tokens.tokens_in, stream.tokens.tokens_out) == (None, 100, 2)
        assert len(stream.tokens.chunk_ns or ()) == 2


def test_event_type_may_be_in_event_name_only_and_unknown_types_are_ignored() -> None:
    named = b"event: message_stop\ndata: {}\n\ndata: [DONE]\n\n"
    later = event("some_later_type", delta={"text": "x"})
    assert StreamedMessage(START, later, delta("text_delta", text="a"), named).error is None
    assert StreamedMessage(START, later, named).error == "bad-output", "only unknown events were received"


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([finish(output_tokens=1)], "truncated"),
        ([], "truncated"),
        ([event("error", error={"type": "overloaded_error", "message": "Overloaded"}), STOP], "bad-output"),
        ([b"event: error\ndata: overloaded\n\n", STOP], "bad-output"),
        ([b"data: {\n\n", STOP], "bad-payload"),
        ([b"data: " + b"[" * 100_000 + b"\n\n", STOP], "bad-payload"),
        ([b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n', STOP], "bad-payload"),
        ([delta("text_delta", text=7), STOP], "bad-payload"),
        ([event("message_delta", delta=7), STOP], "bad-payload"),
        ([b"data: " + b"x" * 2**21], "bad-payload"),
    ],
)
def test_failed_message_has_error_class_and_received_tokens(pieces: list[bytes], error: str) -> None:
    stream = StreamedMessage(START, text("a"), *pieces)
    # the output token count of the first event does not cover the message
    assert (stream.error, stream.tokens.tokens_in, stream.tokens.last_token_ns) == (error, 100, 2)
    assert (stream.tokens.tokens_out, stream.tokens.token_source) in ((1, "chunks"), (1, "server"))


def test_truncated_message_has_tokens_received_before_its_end() -> None:
    stream = StreamedMessage(START, text("a"), text("b"), text("c"))
    assert (stream.error, stream.tokens.tokens_out, stream.tokens.token_source) == ("truncated", 3, "chunks")


def test_message_beyond_chunk_limit_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_chunks, "MAX_CHUNKS", 100)
    stream = StreamedMessage(START, *[text("a")] * 200)
    assert (stream.error, len(stream.tokens.chunk_ns or ())) == ("bad-payload", 101)


def test_complete_message_body_has_token_usage() -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "abc"},
        {"type": "tool_use", "name": "f", "input": {}},
    ]
    message = {"type": "message", "content": content, "usage": {**IN_USAGE, "output_tokens": 8}}
    response = decode_response("messages", json.dumps(message).encode())
    tokens = Tokens(tokens_in=100, tokens_out=8, token_source="server", details=ServerDetails(tokens_cached=90))
    assert response == DecodedResponse(None, tokens)
    uncounted = decode_response("messages", json.dumps({**message, "usage": None}).encode(), count_tokens=len)
    assert uncounted.tokens == Tokens(tokens_out=8, token_source="tokenizer")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"type": "error", "error": {"type": "overloaded_error"}}', "bad-output"),
        (b'{"type": "error", "content": []}', "bad-output"),
        (b'{"choices": []}', "bad-payload"),
        (b'{"content": [7]}', "bad-payload"),
        (b'{"content": "text"}', "bad-payload"),
        (b"[" * 100_000, "bad-payload"),
    ],
)
def test_invalid_message_body_is_rejected(body: bytes, error: str) -> None:
    assert decode_response("messages", body) == DecodedResponse(error, Tokens())


def test_system_messages_are_merged_into_system_prompt() -> None:
    question, reply = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    system, developer = {"role": "system", "content": "s"}, {"role": "developer", "content": "d"}
    assert build_conversation([question, reply]) == {"messages": [question, reply]}
    assert build_conversation([system, question, developer]) == {"system": "s\n\nd", "messages": [question]}
    part = {"type": "text", "text": "p"}
    blocks = build_conversation([system, {"role": "system", "content": [part]}, question])["system"]
    assert blocks == [{"type": "text", "text": "s"}, part]


@pytest.mark.parametrize(
    ("base", "path"), [("", "/v1/messages"), ("/", "/v1/messages"), ("/v1/", "/v1/messages"), ("/a", "/a/v1/messages")]
)
def test_base_url_may_end_in_v1(base: str, path: str) -> None:
    assert build_messages_path(base) == path


def test_session_requests_have_alternating_roles_system_prompt_and_api_version() -> None:
    prompts = SyntheticPrompts(FixedLength(3), FixedLength(4), 1, 2, turns=FixedLength(2), unique=1)
    workload = OpenAiWorkload("messages", "m", prompts, extra_body=b'{"thinking": {"type": "disabled"}}')
    for headers, version in (((), b"2023-06-01"), ((("Anthropic-Version", "2024-01-01"),), b"2024-01-01")):
        endpoint = Endpoint(("http://127.0.0.1:9/base?a=b",), headers=headers)
        prepared = build_openai(workload, endpoint, parse_url(endpoint.urls[0]))
        head, _, body = prepared.requests[1].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /base/v1/messages?a=b HTTP/1.1\r\n")
        assert head.lower().count(b"anthropic-version: ") == head.lower().count(b"anthropic-version: " + version) == 1
    sent = json.loads(body)
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    assert (len(sent["system"].split()), sent["max_tokens"], sent["stream"]) == (2, 4, True)
    assert sent.keys() == {"model", "system", "messages", "max_tokens", "stream", "thinking"}
    assert prepared.sessions is not None


def test_text_and_tool_calls_of_message_are_collected() -> None:
    reader = CollectingReader("messages", None, retains_reasoning=False)
    pieces = (
        START, delta("thinking_delta", thinking="hm"), text("yes"), text(" no"), BLOCK_STOP,
        block("tool_use", id="t1", name="find", input={}), delta("input_json_delta", partial_json='{"a":'),
        delta("input_json_delta", partial_json=" 1}"), BLOCK_STOP, block("tool_use", id="t2", name="look", input={}),
        finish(output_tokens=9), STOP,
    )  # fmt: skip
    assert not any(reader.feed(piece, 1) for piece in pieces)
    streamed = reader.collect()
    assert streamed is not None
    assert streamed.text == "yes no"
    assert [(call.name, call.arguments) for call in streamed.calls] == [("find", '{"a": 1}'), ("look", "{}")]
    content = [
        {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes no"},
        {"type": "tool_use", "id": "t1", "name": "find", "input": {"a": 1}},
        {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
    ]  # fmt: skip
    body = json.dumps({"type": "message", "content": content}).encode()
    collected = collect_response("messages", body, ResponseCollector(retains_reasoning=False))
    assert collected is not None
    assert (collected.text, len(collected.calls)) == ("yes no", 2)
    assert collect_response("messages", b"{", ResponseCollector(retains_reasoning=False)) is None
