"""Build streamed responses of an OpenAI-compatible server, or of the Anthropic Messages API, valid
or faulty.

A body is a list of pieces with their send times. `build_chunked_stream` and
`build_stream_until_close` convert a body to a Stream. Other functions truncate, slice or repeat a
Stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from loadgen.reference.anthropic_events import build_block_start, build_delta, build_message, build_message_events
from loadgen.reference.playback import LAST_CHUNK, encode_chunk, encode_head
from loadgen.reference.script import Stream
from loadgen.workloads import TextApi

Pieces = list[tuple[float, bytes]]

SSE = ("Content-Type: text/event-stream", "Cache-Control: no-cache")
_BLOCK = b"x" * 65_536


def build_chunked_stream(
    body: Pieces, *, head_s: float = 0.0, status: int = 200, fields: Sequence[str] = SSE
) -> Stream:
    """Return a stream that sends the head at `head_s` and then each piece of the body as one chunk
    of HTTP's chunked encoding."""
    head_piece = (head_s, encode_head(status, [*fields, "Transfer-Encoding: chunked"]))
    end_s = body[-1][0] if body else head_s
    return Stream((head_piece, *((send_s, encode_chunk(data)) for send_s, data in body), (end_s, LAST_CHUNK)))


def build_stream_until_close(
    body: Pieces, *, version: Literal["1.0", "1.1"] = "1.0", fields: Sequence[str] = SSE
) -> Stream:
    """Return a stream whose body ends by closing the connection, as in HTTP/1.0."""
    return Stream(((0.0, encode_head(200, fields, version)), *body), end="close")


def add_connection_close(stream: Stream) -> Stream:
    """Return the stream with a `Connection: close` header added. The connection is closed after the
    response."""
    (send_s, head), *rest = stream.pieces
    return Stream(((send_s, head[:-2] + b"Connection: close\r\n\r\n"), *rest), end="close")


def truncate(stream: Stream, piece_count: int, end: Literal["open", "close", "reset"]) -> Stream:
    """Return a stream that ends after the first `piece_count` pieces, including the head. The
    connection then stays open without data, is closed or is reset."""
    return Stream(stream.pieces[:piece_count], end=end)


def slice_stream(stream: Stream, size: int, interval_s: float = 0.0005) -> Stream:
    """Return the stream cut into slices of `size` bytes, sent at least `interval_s` apart, so that
    a client reads each slice separately."""
    pieces: Pieces = []
    next_send_s = 0.0
    for send_s, data in stream.pieces:
        for offset in range(0, len(data), size):
            next_send_s = max(send_s, next_send_s)
            pieces.append((next_send_s, data[offset : offset + size]))
            next_send_s += interval_s
    return Stream(tuple(pieces), end=stream.end)


def build_endless_stream(body: Pieces, *, repeat_count: int, period_s: float) -> Stream:
    """Return a stream that never ends: after the body, its last `repeat_count` pieces are repeated
    every `period_s` seconds."""
    return Stream(build_chunked_stream(body).pieces[:-1], end="repeat", repeated=repeat_count, period_s=period_s)


def build_single_line_event(total_bytes: int) -> Stream:
    """Return a stream with a single event whose data is one line of about `total_bytes` bytes."""
    leading_pieces, last_piece = build_chunked_stream([(0.0, b"data: ")]).pieces[:-1], (0.0, LAST_CHUNK)
    # All pieces are the same object, so that they use the memory of one piece.
    return Stream((*leading_pieces, *[(0.0, encode_chunk(_BLOCK))] * (total_bytes // len(_BLOCK)), last_piece))


Fields = dict[str, Any]

TokenKind = Literal["content", "reasoning", "tool", "first-tool"]
"""Kind of a token in a stream. The event with the first token of a tool call names the tool."""

TOKEN_TEXT = "tok "
_TOOL_NAME = "lookup"


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a generated response.

    The response has `reasoning_tokens` reasoning tokens and then `tokens` output tokens. If
    `is_tool_call` is true, the output tokens are the arguments of a tool call. Each event contains
    `tokens_per_chunk` tokens. `reported_tokens` overrides the numbers of input and output tokens in
    the usage. Without a `finish_reason`, the events stop after the last token. `reasoning_text` is
    the reasoning in a complete response. If `cached_tokens` is known, the usage has its details,
    too, and `usage_times_s`: times in seconds, by name.
    """

    tokens: int
    api: TextApi = "chat"
    model: str = "scripted"
    text: str = TOKEN_TEXT
    reasoning_tokens: int = 0
    is_tool_call: bool = False
    tokens_per_chunk: int = 1
    has_role_chunk: bool = True
    has_usage: bool = True
    reported_tokens: tuple[int, int] | None = None
    input_tokens: int = 10
    finish_reason: str | None = "stop"
    has_done_event: bool = True
    response_id: str = "scripted-1"
    reasoning_text: str = ""
    cached_tokens: int | None = None
    usage_times_s: dict[str, float] = {}

    @property
    def reported_usage(self) -> tuple[int, int]:
        return self.reported_tokens or (self.input_tokens, self.reasoning_tokens + self.tokens)


def build_openai_stream(generation: Generation, first_s: float, gap_s: float) -> Pieces:
    """Return the events of a streamed response, with their send times in seconds.

    The role is sent at 0, and the first event with tokens at `first_s`. Each later event follows
    the previous event after `gap_s` per token that it contains. Usage and end of the stream are
    sent with the last token.
    """
    leading_events, trailing_events = build_surrounding_events(generation)
    token_events = _build_token_events(generation)
    pieces = [(0.0, event) for event in leading_events]
    token_count = 0
    for event, count in token_events:
        token_count += count
        pieces.append((first_s + (token_count - token_events[0][1]) * gap_s, event))
    end_s = pieces[-1][0] if token_events else first_s
    return [*pieces, *((end_s, event) for event in trailing_events)]


def build_surrounding_events(generation: Generation) -> tuple[list[bytes], list[bytes]]:
    """Return the events before and after the tokens of a streamed response."""
    if generation.api == "responses":
        return _build_responses_surrounding_events(generation)
    if generation.api == "messages":
        leading_fields, trailing_fields = build_message_events(generation)
        return [*map(_encode_typed_event, leading_fields)], [*map(_encode_typed_event, trailing_fields)]
    leading_events = (
        [_encode_chat_event(generation, {"role": "assistant", "content": ""})] if _has_role(generation) else []
    )
    trailing_events = []
    if generation.finish_reason is not None:
        trailing_events.append(_encode_finish_event(generation, generation.finish_reason))
    if generation.has_usage:
        trailing_events.append(
            _encode_event({**_build_chunk_fields(generation), "choices": [], "usage": build_usage(generation)})
        )
    if generation.has_done_event:
        trailing_events.append(b"data: [DONE]\n\n")
    return leading_events, trailing_events


def _has_role(generation: Generation) -> bool:
    return generation.has_role_chunk and generation.api == "chat"


def build_usage(generation: Generation) -> Fields:
    tokens_in, tokens_out = generation.reported_usage
    usage_keys = (
        ("input_tokens", "output_tokens") if generation.api == "responses" else ("prompt_tokens", "completion_tokens")
    )
    usage: Fields = {usage_keys[0]: tokens_in, usage_keys[1]: tokens_out, "total_tokens": tokens_in + tokens_out}
    if generation.cached_tokens is not None:
        usage[f"{usage_keys[0]}_details"] = {"cached_tokens": generation.cached_tokens}
        usage[f"{usage_keys[1]}_details"] = {"reasoning_tokens": generation.reasoning_tokens}
    return usage | generation.usage_times_s


def _build_token_events(generation: Generation) -> list[tuple[bytes, int]]:
    event_keys: list[tuple[TokenKind, int]] = [
        ("reasoning", count) for count in _split_into_groups(generation.reasoning_tokens, generation.tokens_per_chunk)
    ]
    kind: TokenKind = "tool" if generation.is_tool_call else "content"
    event_keys += [(kind, count) for count in _split_into_groups(generation.tokens, generation.tokens_per_chunk)]
    event_by_key: dict[tuple[TokenKind, int], bytes] = {}
    for key in event_keys:
        if key not in event_by_key:
            event_by_key[key] = build_token_event(generation, key[0], generation.text * key[1])
    events = [(event_by_key[key], key[1]) for key in event_keys]
    if generation.api == "messages":
        kinds = [event_kind for event_kind, _ in event_keys]
        for first in {kinds.index(event_kind) for event_kind in kinds}:
            start = b"".join(map(_encode_typed_event, build_block_start(generation, kinds[first])))
            events[first] = (start + events[first][0], events[first][1])
    return events


def _split_into_groups(token_count: int, group_size: int) -> list[int]:
    return [min(group_size, token_count - start) for start in range(0, token_count, group_size)]


def build_token_event(generation: Generation, kind: TokenKind, text: str) -> bytes:
    """Return the event of a streamed response with the text of one or more tokens."""
    if generation.api == "responses":
        return _encode_typed_event(
            {"type": _RESPONSES_DELTAS[kind], "output_index": 0, "content_index": 0, "delta": text}
        )
    if generation.api == "messages":
        return _encode_typed_event(build_delta(generation, kind, text))
    if generation.api == "completions":
        return _encode_event(
            {**_build_chunk_fields(generation), "choices": [{"index": 0, "text": text, "finish_reason": None}]}
        )
    if kind == "reasoning":
        return _encode_chat_event(generation, {"reasoning_content": text})
    if kind == "tool":
        return _encode_chat_event(generation, {"tool_calls": [{"index": 0, "function": {"arguments": text}}]})
    if kind == "first-tool":
        return _encode_chat_event(generation, {"tool_calls": [{"index": 0, **_build_tool_call(text)}]})
    return _encode_chat_event(generation, {"content": text})


def _build_chunk_fields(generation: Generation) -> Fields:
    name = "text_completion" if generation.api == "completions" else "chat.completion.chunk"
    return {"id": generation.response_id, "object": name, "created": 0, "model": generation.model}


def _encode_chat_event(generation: Generation, delta: Fields) -> bytes:
    return _encode_event(
        {**_build_chunk_fields(generation), "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    )


def _encode_finish_event(generation: Generation, reason: str) -> bytes:
    empty_content: Fields = {"text": ""} if generation.api == "completions" else {"delta": {}}
    return _encode_event(
        {**_build_chunk_fields(generation), "choices": [{"index": 0, **empty_content, "finish_reason": reason}]}
    )


_RESPONSES_DELTAS: dict[TokenKind, str] = {
    "content": "response.output_text.delta",
    "reasoning": "response.reasoning_text.delta",
    "tool": "response.function_call_arguments.delta",
    "first-tool": "response.function_call_arguments.delta",
}


def _build_responses_surrounding_events(generation: Generation) -> tuple[list[bytes], list[bytes]]:
    response = {
        "id": generation.response_id,
        "object": "response",
        "created_at": 0,
        "model": generation.model,
        "output": [],
    }
    created_event = _encode_typed_event({"type": "response.created", "response": {**response, "status": "in_progress"}})
    if generation.finish_reason is None:
        return [created_event], []
    status = _get_status(generation)
    final_response: Fields = {**response, "status": status}
    if generation.has_usage:
        final_response["usage"] = build_usage(generation)
    return [created_event], [_encode_typed_event({"type": f"response.{status}", "response": final_response})]


def _encode_typed_event(fields: Fields) -> bytes:
    return b"event: %b\n" % str(fields["type"]).encode() + _encode_event(fields)


def _encode_event(fields: Fields) -> bytes:
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"


def _get_status(generation: Generation) -> str:
    return "incomplete" if generation.finish_reason == "length" else "completed"


def _build_tool_call(arguments: str) -> Fields:
    return {"id": "call-1", "type": "function", "function": {"name": _TOOL_NAME, "arguments": arguments}}


def build_response(generation: Generation) -> Fields:
    """Return the JSON fields of a complete (non-streamed) response."""
    text, usage = generation.text * generation.tokens, build_usage(generation)
    if generation.api == "messages":
        return build_message(generation, text)
    if generation.api == "responses":
        response_fields = {"id": generation.response_id, "object": "response", "created_at": 0}
        output = _build_output_items(generation, text)
        status = _get_status(generation)
        return {**response_fields, "model": generation.model, "status": status, "output": output, "usage": usage}
    content: Fields = (
        {"text": text} if generation.api == "completions" else {"message": _build_message(generation, text)}
    )
    name = "text_completion" if generation.api == "completions" else "chat.completion"
    choice = {"index": 0, **content, "finish_reason": generation.finish_reason}
    return {**_build_chunk_fields(generation), "object": name, "choices": [choice], "usage": usage}


def _build_message(generation: Generation, text: str) -> Fields:
    content: Fields = (
        {"content": None, "tool_calls": [_build_tool_call(text)]} if generation.is_tool_call else {"content": text}
    )
    reasoning = {"reasoning_content": generation.reasoning_text} if generation.reasoning_text else {}
    return {"role": "assistant", **content, **reasoning}


def _build_output_items(generation: Generation, text: str) -> list[Fields]:
    items: list[Fields] = []
    if generation.reasoning_text:
        reasoning = {"type": "reasoning_text", "text": generation.reasoning_text}
        items.append({"type": "reasoning", "summary": [], "content": [reasoning]})
    if generation.is_tool_call:
        return [*items, {"type": "function_call", "call_id": "call-1", "name": _TOOL_NAME, "arguments": text}]
    return [*items, {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]
