import functools
import gc
import json
import random
import sys
import weakref
from typing import Any

import msgspec
import pytest

from loadgen.protocols import openai_chunks, openai_stream
from loadgen.protocols.openai_chunks import CountTokens
from loadgen.protocols.openai_stream import MAX_LINE_BYTES, Event, EventSplitter, OpenAiReader
from loadgen.transport.exchange import Headers, Tokens

BODY = (
    "\ufeffdata: first\n\n: keep-alive\n\ndata: é☃😀\r\n\r\nevent: named\rdata: cr\r\r"
    "data:no blank\ndata\ndata:  two blanks\nid: 7\nretry: 10\nnonsense\n\n\n\nevent: forgotten\n\n"
    "data: mixed\r\n\ndata:\n\ndatabase: x\ndata: a:b\n\n"
    "data: last, without a blank line"
)
EVENTS: list[Event] = [
    (b"first", b""),
    ("é☃😀".encode(), b""),
    (b"cr", b"named"),
    (b"no blank\n\n two blanks", b""),
    (b"mixed", b""),
    (b"", b""),
    (b"a:b", b""),
    (b"last, without a blank line", b""),
]


def split_events(*pieces: bytes) -> list[Event]:
    splitter = EventSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events + splitter.finish()


def test_sse_events_are_decoded_from_one_chunk() -> None:
    assert split_events(BODY.encode()) == EVENTS


def test_sse_events_are_decoded_from_any_two_chunks() -> None:
    body = BODY.encode()
    for at in range(len(body)):
        assert split_events(body[:at], body[at:]) == EVENTS, at


def test_sse_events_are_decoded_byte_by_byte() -> None:
    assert split_events(*(bytes([byte]) for byte in BODY.encode())) == EVENTS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_sse_events_are_decoded_from_random_chunks_with_any_line_ending(end: str) -> None:
    rng = random.Random(end)
    texts = ["".join(rng.choices("ab :{}é\u2028", k=rng.randrange(30))) for _ in range(40)]
    lines = [rng.choice(["data: {}", "data: {}", ": {}", "event: {}", "", "id: {}"]).format(text) for text in texts]
    body = (end.join(f"{line}{end}" if rng.random() < 0.6 else line for line in lines) + end * 2).encode()
    events = split_events(body)
    assert len(events) > 5
    for _ in range(300):
        cuts = sorted(rng.sample(range(len(body)), rng.randrange(1, 12)))
        assert split_events(*(body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True))) == events


def test_sse_event_is_returned_as_soon_as_its_last_byte_is_received() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: a\n\n") == [(b"a", b"")]
    assert splitter.feed(b"data: b\n\ndata: c\n\n") == [(b"b", b""), (b"c", b"")]
    assert splitter.feed(b"data: d\r\n\r\n") == [(b"d", b"")]
    assert splitter.feed(b"data: e\r\n\r") == [(b"e", b"")]
    assert splitter.feed(b"\ndata: f\n") == []
    assert splitter.feed(b"\n") == [(b"f", b"")]
    assert splitter.feed(b"event: x\n") == []
    assert splitter.feed(b"data: g\n\ndata: h\n\n") == [(b"g", b"x"), (b"h", b"")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1000, 65_536, 10 * MAX_LINE_BYTES])
def test_sse_line_length_limit_is_exact(end: bytes, size: int) -> None:
    for length, is_too_long in ((MAX_LINE_BYTES, False), (MAX_LINE_BYTES + 1, True)):
        splitter = EventSplitter()
        splitter.feed(b"data: before\n\n")
        line = b"data: a" + end * 2 + b"data: ".ljust(length, b"x") + end * 2 + b"data: b" + end * 2
        events = [event for at in range(0, len(line), size) for event in splitter.feed(line[at : at + size])]
        assert (splitter.is_too_long, len(events)) == (is_too_long, 1 if is_too_long else 3)
        assert len(splitter.feed(b"data: after\n\n")) == (not is_too_long)


def test_unterminated_sse_line_is_abandoned_at_length_limit() -> None:
    splitter = EventSplitter()
    pieces = 0
    while not splitter.is_too_long:
        splitter.feed(b"data: a" if pieces == 0 else b"x" * 1000)
        pieces += 1
    assert pieces == MAX_LINE_BYTES // 1000 + 2
    assert splitter.feed(b"\n\ndata: a\n\n") == splitter.finish() == []


@pytest.mark.parametrize("line", [b"data: " + b"x" * 1000 + b"\n", b"data\n" * 1000, b"data:\n" * 1000])
def test_unterminated_sse_event_is_abandoned_at_size_limit(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_stream, "MAX_EVENT_BYTES", 100_000)
    splitter = EventSplitter()
    for _ in range(102):
        assert splitter.feed(line) == []
    assert splitter.is_too_long
    assert splitter.finish() == []


@pytest.mark.parametrize(
    "line", [b": keep-alive\n\n", b": keep-alive\n", b"event: x\n", b"id: 1\r\n", b"\n", b"data\n\n"]
)
def test_empty_sse_lines_and_comments_use_constant_memory(line: bytes) -> None:
    splitter = EventSplitter()
    for _ in range(1000):
        splitter.feed(line * 100)
    used_bytes = sum(sys.getsizeof(getattr(splitter, name)) for name in EventSplitter.__slots__)
    assert used_bytes < 10_000
    assert not splitter.is_too_long


SSE: Headers = [(b"Content-Type", b"text/event-stream; charset=utf-8")]
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}


def event(fields: Any, name: str = "") -> bytes:
    return (
        (f"event: {name}\n" if name else "").encode()
        + b"data: "
        + json.dumps(fields, ensure_ascii=False).encode()
        + b"\n\n"
    )


def chunk(delta: Any = None, *, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    return event({"choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}], **more})


def usage(**counts: Any) -> bytes:
    return event({"choices": [], "usage": counts or USAGE})


def text(*texts: str) -> list[bytes]:
    return [chunk({"content": content}) for content in texts]


def response(kind: str, **fields: Any) -> bytes:
    return event({"type": f"response.{kind}", **fields}, f"response.{kind}")


STOP = chunk(finish="stop")


class ReadStream:
    """Reads a stream whose pieces arrive at 1 ns, 2 ns, 3 ns and so on."""

    def __init__(
        self, *pieces: bytes, api: Any = "chat", headers: Headers = SSE, count: CountTokens | None = None
    ) -> None:
        reader = OpenAiReader(api, count)
        self.error: str | None = None
        self.was_cut = False
        for at_ns, piece in enumerate(pieces, 1):
            self.error = reader.feed(piece, at_ns)
            if self.error is not None:
                self.was_cut = True
                break
        else:
            self.error = reader.end(headers)
        chunk_ns = reader.tokens.chunk_ns
        self.detail = reader.detail
        self.tokens = msgspec.structs.replace(reader.tokens, chunk_ns=None if chunk_ns is None else list(chunk_ns))

    @property
    def times(self) -> tuple[int | None, int | None, int | None]:
        return self.tokens.first_token_ns, self.tokens.first_output_ns, self.tokens.last_token_ns

    @property
    def count(self) -> tuple[int | None, str | None]:
        return self.tokens.tokens_out, self.tokens.token_source


# chat


def test_chat_stream_has_token_times_and_usage() -> None:
    stream = ReadStream(chunk({"role": "assistant", "content": ""}), *text("a", "b", "c"), STOP, usage(), DONE)
    assert stream.error is None
    assert stream.tokens == Tokens(2, 2, 4, 11, 3, "server", [2, 3, 4], None, first_event_ns=1)


@pytest.mark.parametrize(
    ("before", "first_ns"),
    [
        ([], 1),
        ([chunk({"role": "assistant", "content": ""})], 1),
        ([chunk()], 1),
        ([b": waiting\n\n"], 2),
        ([usage()], 2),
        ([event({"choices": None})], 2),
    ],
)
def test_first_event_is_first_message_with_choices_even_if_empty(before: list[bytes], first_ns: int) -> None:
    stream = ReadStream(*before, *text("a"), STOP, DONE)
    assert stream.error is None
    assert (stream.tokens.first_event_ns, stream.tokens.first_token_ns) == (first_ns, len(before) + 1)


def test_first_event_of_completions_and_responses_stream_is_recorded() -> None:
    completion = [event({"choices": [{"index": 0, "text": content, "finish_reason": None}]}) for content in ("", "a")]
    ended = event({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})
    assert ReadStream(*completion, ended, api="completions").tokens.first_event_ns == 1
    pieces = [response("created"), response("output_text.delta", delta="a"), response("completed")]
    stream = ReadStream(*pieces, api="responses")
    assert (stream.tokens.first_event_ns, stream.tokens.first_token_ns) == (1, 2)


def test_error_event_has_no_first_event_time() -> None:
    assert ReadStream(event({"error": {"message": "no"}})).tokens.first_event_ns is None


def test_chunks_are_counted_as_tokens_without_usage() -> None:
    stream = ReadStream(*text("a", "b c d"), STOP, DONE)
    assert stream.count == (2, "chunks")
    assert stream.tokens.tokens_in is None


def test_tokenizer_counts_all_generated_text_without_usage() -> None:
    call = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a"'}}]}
    parts = {"content": [{"type": "thinking", "thinking": "mn"}, {"type": "text", "text": "op"}]}
    stream = ReadStream(
        chunk({"reasoning_content": "xy"}), *text("ab"), chunk(call), chunk({"refusal": "no"}), chunk(parts), STOP,
        count=len,
    )  # fmt: skip
    assert stream.count == (len('xyabf{"a"nomnop'), "tokenizer")
    assert ReadStream(*text("abc"), STOP, usage(prompt_tokens=1, completion_tokens=2), count=len).count == (2, "server")
    assert ReadStream(STOP, count=len).count == (0, "tokenizer")


def test_text_beyond_tokenizer_limit_is_counted_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_chunks, "MAX_TEXT_BYTES", 300)
    assert ReadStream(*text(*"abc"), STOP, count=len).count == (3, "tokenizer")
    assert ReadStream(*text(*"abcdefg"), STOP, count=len).count == (7, "chunks")


@pytest.mark.parametrize("delta", [{"role": "assistant"}, {"content": ""}, {"content": None}, {}, {"content": []},
                                     {"reasoning_content": ""}, {"tool_calls": []}, {"refusal": None},
                                     {"tool_calls": [{"index": 0, "id": "x", "type": "function"}]},
                                     {"tool_calls": [{"function": {"name": None, "arguments": ""}}]}])  # fmt: skip
def test_delta_without_content_is_no_token(delta: dict[str, Any]) -> None:
    stream = ReadStream(chunk(delta), *text("a"), chunk(delta), STOP)
    assert (stream.times, stream.count) == ((2, 2, 2), (1, "chunks"))


@pytest.mark.parametrize("blank", [" ", "\n", "\t", "\u200b"])
def test_whitespace_token_is_counted_and_timed(blank: str) -> None:
    stream = ReadStream(*text(blank, "a", blank), STOP)
    assert (stream.times, stream.tokens.chunk_ns) == ((1, 1, 3), [1, 2, 3])


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_is_counted_as_tokens_but_not_as_output(key: str) -> None:
    stream = ReadStream(chunk({key: "hm"}), chunk({key: "hm", "content": None}), *text("a"), STOP)
    assert (stream.times, stream.tokens.chunk_ns) == ((1, 3, 3), [1, 2, 3])
    assert ReadStream(chunk({key: "hm"}), STOP).times == (1, None, 1)


@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "x"}}]},
        {"tool_calls": [{"function": {"name": "f", "arguments": {"already": "parsed"}}}]},
        {"function_call": {"arguments": "{"}},
        {"refusal": "no"},
        {"content": [{"type": "text", "text": "a"}]},
        {"content": "a", "unknown": {"deep": [1, 2]}},
    ],
)
def test_tool_calls_refusals_and_content_parts_are_output(delta: dict[str, Any]) -> None:
    stream = ReadStream(chunk(delta), STOP)
    assert (stream.error, stream.times) == (None, (1, 1, 1))


def test_thinking_in_content_parts_is_reasoning() -> None:
    stream = ReadStream(chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}), STOP)
    assert stream.times == (1, None, 1)


def test_response_without_text_and_tokens_is_bad_output() -> None:
    stream = ReadStream(chunk({"role": "assistant"}), STOP, DONE)
    assert (stream.error, stream.times, stream.count) == ("bad-output", (None, None, None), (0, "chunks"))
    assert ReadStream(STOP, usage(prompt_tokens=1, completion_tokens=0)).error == "bad-output"


def test_token_without_text_is_success_without_token_times() -> None:
    stream = ReadStream(STOP, usage(prompt_tokens=1, completion_tokens=1))
    assert (stream.error, stream.times, stream.count, stream.tokens.chunk_ns) == (
        None,
        (None, None, None),
        (1, "server"),
        None,
    )


def test_events_of_one_chunk_have_same_time() -> None:
    stream = ReadStream(b"".join(text("a", "b")), b"".join([*text("c"), STOP, usage(), DONE]))
    assert (stream.tokens.chunk_ns, stream.count) == ([1, 1, 2], (3, "server"))


# ends of streams


def test_stream_without_finish_reason_is_truncated() -> None:
    for rest in ([], [DONE], [usage(), DONE]):
        stream = ReadStream(*text("a"), *rest)
        assert (stream.error, stream.was_cut, stream.tokens.last_token_ns) == ("truncated", False, 1)
    assert ReadStream(b": nothing\n\n").error == ReadStream().error == ReadStream(DONE).error == "truncated"
    assert ReadStream(chunk({"content": "a"}, finish="")).error == "truncated"


def test_finish_reason_alone_completes_stream() -> None:
    assert ReadStream(*text("a"), STOP).error is None
    assert ReadStream(chunk({"content": "a"}, finish="length")).count == (1, "chunks")


def test_last_event_may_lack_blank_line() -> None:
    stream = ReadStream(*text("a"), (b"".join(text("b")) + STOP).rstrip(b"\n"))
    assert (stream.error, stream.tokens.chunk_ns) == (None, [1, 2])
    assert ReadStream(*text("a"), STOP, b'data: {"choices": [], "us').error is None
    assert ReadStream(*text("a"), STOP[:-9]).error == "truncated"
    assert ReadStream(*text("a"), event({"error": "late"}).rstrip()).error == "bad-output"


def test_text_after_finish_reason_is_read_but_not_after_done_event() -> None:
    stream = ReadStream(*text("a"), STOP, *text("b"))
    assert (stream.error, stream.tokens.chunk_ns) == (None, [1, 3])
    assert ReadStream(*text("a"), STOP, DONE, *text("b"), b"data: rubbish\n\n").tokens.chunk_ns == [1]


def test_every_started_choice_must_finish() -> None:
    pieces = [chunk({"content": "a"}), chunk({"content": "b"}, index=1), STOP]
    assert ReadStream(*pieces, DONE).error == "truncated"
    stream = ReadStream(*pieces, chunk(index=1, finish="length"), usage(prompt_tokens=4, completion_tokens=9), DONE)
    assert (stream.error, stream.count, stream.tokens.chunk_ns) == (None, (9, "server"), [1, 2])
    together = event({"choices": [{"index": n, "delta": {"content": "x"}, "finish_reason": "stop"} for n in (0, 1)]})
    assert ReadStream(together).tokens.chunk_ns == [1]


def test_number_of_choices_is_limited() -> None:
    assert ReadStream(*(chunk(index=number) for number in range(2000))).error == "bad-payload"
    assert ReadStream(*(chunk({"content": "x"}, index=number) for number in range(2000))).error == "bad-payload"


@pytest.mark.parametrize(
    "failure",
    [
        event({"error": {"message": "out of memory", "code": 500}}),
        event({"error": "Request failed", "error_type": "generation"}),
        event({"object": "error", "message": "too long", "code": 400}),
        event({"message": "overloaded"}, "error"),
        b"event: error\ndata: overloaded\n\n",
    ],
)
def test_error_event_in_stream_is_bad_output(failure: bytes) -> None:
    stream = ReadStream(*text("a"), failure, STOP, DONE)
    assert (stream.error, stream.was_cut, stream.count) == ("bad-output", True, (1, "chunks"))


def test_null_error_and_ping_event_are_no_errors() -> None:
    assert ReadStream(chunk({"content": "a"}, error=None), STOP).error is None
    assert ReadStream(event({"type": "ping"}, "ping"), *text("a"), STOP).error is None


@pytest.mark.parametrize(
    "invalid",
    [
        b"data: {\n\n",
        b"data: 7\n\n",
        b"data: [[[\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"choices": 7}\n\n',
        b'data: {"choices": [{"delta": {"content": 7}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
        b"data: " + b"x" * 2**21,
    ],
)
def test_invalid_chunk_is_bad_payload(invalid: bytes) -> None:
    stream = ReadStream(*text("a"), invalid, STOP)
    assert (stream.error, stream.was_cut, stream.tokens.last_token_ns) == ("bad-payload", True, 1)


def test_stream_beyond_chunk_limit_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_chunks, "MAX_CHUNKS", 100)
    stream = ReadStream(*text(*"x" * 200))
    assert (stream.error, len(stream.tokens.chunk_ns or ())) == ("bad-payload", 101)


def test_body_that_is_neither_events_nor_json_is_bad_payload() -> None:
    html: Headers = [(b"content-type", b"text/html")]
    assert ReadStream(b"<html>\n\n</html>", headers=html).error == "bad-payload"
    assert ReadStream(b"", headers=html).error == "bad-payload"
    assert ReadStream(*text("a"), STOP, headers=[]).error is None


# usage


@pytest.mark.parametrize(
    "wrong", [-1, 1.5, "3", None, True, 10**9, 0, [3], {"n": 3}]
)  # 0 is wrong because there was text
def test_impossible_usage_counts_are_ignored(wrong: Any) -> None:
    stream = ReadStream(*text("a", "b"), STOP, usage(prompt_tokens=-5, completion_tokens=wrong), DONE)
    assert (stream.error, stream.count, stream.tokens.tokens_in) == (None, (2, "chunks"), None)


@pytest.mark.parametrize("wrong", [7, "none", [], {}, {"total_tokens": 5}, None])
def test_invalid_usage_is_ignored(wrong: Any) -> None:
    stream = ReadStream(*text("a"), STOP, event({"choices": [], "usage": wrong}))
    assert (stream.error, stream.count) == (None, (1, "chunks"))


def test_null_usage_in_chunks_is_ignored() -> None:
    stream = ReadStream(chunk({"content": "a"}, usage=None), chunk(finish="stop", usage=None), usage())
    assert (stream.count, stream.tokens.chunk_tokens) == ((3, "server"), None)


def test_continuous_usage_sets_token_count_of_each_chunk() -> None:
    counts = [(chunk, {"role": "assistant"}, 0), (chunk, {"content": "a"}, 1), (chunk, {"content": ""}, 2),
              (chunk, {"content": "bc"}, 4), (chunk, {"content": "d"}, 4), (chunk, {"content": "e"}, 5)]  # fmt: skip
    pieces = [make(delta, usage={"prompt_tokens": 9, "completion_tokens": total}) for make, delta, total in counts]
    stream = ReadStream(*pieces, STOP, usage(prompt_tokens=9, completion_tokens=6))
    assert stream.tokens.chunk_tokens == [1, 3, None, 1]
    assert (stream.count, stream.tokens.tokens_in) == ((6, "server"), 9)


ROLE, EMPTY = chunk({"role": "assistant", "content": ""}), chunk({"content": ""})


@pytest.mark.parametrize(
    ("pieces", "reported_tokens", "chunk_tokens"),
    [
        ([ROLE, *text("a", "b", "c"), STOP], 3, None),
        ([ROLE, *text("a", "b", "c"), STOP], 4, [1, 1, 1]),
        ([ROLE, *text("a"), EMPTY, EMPTY, *text("é", "c"), STOP], 6, [1, 3, 1]),
        ([ROLE, EMPTY, *text("é", "b"), STOP], 4, [2, 1]),
        ([*text("a"), EMPTY, *text("b"), STOP], 3, [1, 2]),
        ([ROLE, *text("ab", "cd"), STOP], 4, None),
        ([ROLE, *text("a"), EMPTY, *text("b"), STOP], 9, None),
    ],
    ids=["a token per chunk", "an end of sequence", "a character of three tokens", "no text at first",
         "no role", "two tokens per chunk", "more tokens than events"],
)  # fmt: skip
def test_chunk_tokens_are_inferred_if_event_count_matches_token_count(
    pieces: list[bytes], reported_tokens: int, chunk_tokens: list[int] | None
) -> None:
    stream = ReadStream(*pieces, usage(completion_tokens=reported_tokens))
    assert (stream.error, stream.count) == (None, (reported_tokens, "server"))
    assert stream.tokens.chunk_tokens == chunk_tokens


def test_final_usage_is_not_assigned_to_last_chunk() -> None:
    stream = ReadStream(*text("a", "b"), chunk({"content": "c"}, finish="stop", usage={"completion_tokens": 9}))
    assert (stream.tokens.chunk_tokens, stream.count) == ([None, None, None], (9, "server"))


def test_token_count_can_be_read_during_stream() -> None:
    reader = OpenAiReader("chat", len)
    assert reader.tokens == Tokens()
    for piece, counted in ((text("ab")[0], 2), (b"data: {", 2), (b"}\n\n", 2), (text("c")[0], 3)):
        reader.feed(piece, 5)
        assert (reader.tokens.tokens_out, reader.tokens.tokens_out) == (counted, counted)


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_reader_is_freed_without_garbage_collection(api: Any) -> None:
    gc.collect()
    gc.disable()
    try:
        count = functools.partial(len)
        counter_ref = weakref.ref(count)
        reader = OpenAiReader(api, count)
        del count
        reader.feed(text("a")[0], 1)
        assert counter_ref() is not None
        del reader
        assert counter_ref() is None
    finally:
        gc.enable()


# completions


def test_completions_stream_has_token_times_and_usage() -> None:
    def piece(text: str, finish: str | None = None) -> bytes:
        return event({"object": "text_completion", "choices": [{"text": text, "index": 0, "finish_reason": finish}]})

    stream = ReadStream(piece(""), piece(" "), piece("a"), piece("b", "length"), usage(), DONE, api="completions")
    assert (stream.error, stream.tokens.chunk_ns, stream.count) == (None, [2, 3, 4], (3, "server"))
    assert ReadStream(piece("abc"), piece("", "stop"), api="completions", count=len).count == (3, "tokenizer")


# responses


def test_responses_stream_has_token_times_and_usage() -> None:
    usage_fields = {
        "input_tokens": 5,
        "output_tokens": 4,
        "total_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 1},
    }
    stream = ReadStream(
        response("created", response={"status": "in_progress", "usage": None, "error": None}),
        response("reasoning_text.delta", delta="hm"),
        response("reasoning_summary_text.delta", delta="hm"),
        response("output_text.delta", delta=""),
        response("output_text.delta", delta=" "),
        response("refusal.delta", delta="no"),
        response("function_call_arguments.delta", delta="{"),
        response("output_text.done", text="  a"),
        response("completed", response={"status": "completed", "usage": usage_fields}),
        api="responses",
    )
    assert (stream.error, stream.times, stream.tokens.chunk_ns) == (None, (2, 5, 7), [2, 3, 5, 6, 7])
    assert (stream.count, stream.tokens.tokens_in) == ((4, "server"), 5)


def test_tool_name_in_responses_stream_is_output() -> None:
    added = response("output_item.added", item={"type": "function_call", "name": "f", "arguments": ""})
    message = response("output_item.added", item={"type": "message", "role": "assistant"})
    stream = ReadStream(message, added, response("completed"), api="responses", count=len)
    assert (stream.error, stream.times, stream.count) == (None, (2, 2, 2), (1, "tokenizer"))


def test_end_of_responses_stream_maps_to_error_class() -> None:
    delta = response("output_text.delta", delta="a")
    assert ReadStream(delta, response("incomplete", response={}), api="responses").error is None
    assert ReadStream(delta, response("completed"), DONE, api="responses").error is None
    assert ReadStream(delta, DONE, api="responses").error == "truncated"
    for failure in (response("failed", response={"error": {"code": "x"}}), event({"type": "error", "message": "x"}),
                    event({"message": "x"}, "error"), event({"error": {"message": "x"}})):  # fmt: skip
        assert ReadStream(delta, failure, api="responses").error == "bad-output"
    assert ReadStream(delta, b"data: {\n\n", api="responses").error == "bad-payload"


def test_event_type_of_responses_stream_may_be_in_event_name_only() -> None:
    delta = event({"delta": "a"}, "response.output_text.delta")
    assert ReadStream(delta, event({}, "response.completed"), api="responses").times == (1, 1, 1)


# responses that are not streamed


COMPLETE_RESPONSE = json.dumps(
    {"choices": [{"message": {"content": "abc"}, "finish_reason": "stop"}], "usage": USAGE}
).encode()


def test_complete_response_instead_of_stream_is_read_without_token_times() -> None:
    for pieces in (
        [COMPLETE_RESPONSE],
        [b"\xef", b"\xbb", b"\xbf", b" \r\n", COMPLETE_RESPONSE[:9], COMPLETE_RESPONSE[9:]],
        [b" ", COMPLETE_RESPONSE],
    ):
        stream = ReadStream(*pieces, headers=[(b"Content-Type", b"application/json")])
        assert (stream.error, stream.tokens) == (None, Tokens(tokens_in=11, tokens_out=3, token_source="server"))
    assert ReadStream(b'{"error": {"message": "no"}}').error == "bad-output"
    assert (
        ReadStream(b'{"choices": []}').error
        == ReadStream(COMPLETE_RESPONSE[:-1]).error
        == ReadStream(COMPLETE_RESPONSE, b"data: x\n\n").error
        == "bad-payload"
    )


def test_size_of_complete_response_instead_of_stream_is_limited() -> None:
    assert ReadStream(b"{", *[b" " * 2**20] * 9).was_cut
    assert ReadStream(*[b" " * 2**19] * 3).was_cut


# chunk boundaries


def build_stream(api: str) -> bytes:
    if api == "responses":
        pieces = [
            response("created"),
            response("reasoning_text.delta", delta="é"),
            b": ping\r\n\r\n",
            response("output_text.delta", delta="☃"),
            response("completed", response={"usage": USAGE}),
        ]
    else:
        pieces = [
            b"\xef\xbb\xbf" + chunk({"role": "assistant"}),
            b": ping\n\n",
            chunk({"reasoning": "é"}),
            *text(" ", "☃"),
            chunk({"content": "😀"}).replace(b"\n", b"\r\n"),
            STOP.replace(b"\n", b"\r"),
            usage(),
            DONE,
        ]
    return b"".join(pieces)


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("invalidated", [b"", b"data: {\n\n", b'data: {"error": "x"}\n\n', b'data: {"choi'])
def test_stream_is_decoded_identically_for_any_chunk_boundaries(api: str, invalidated: bytes) -> None:
    body = (
        build_stream(api) if not invalidated else build_stream(api)[:-25].rpartition(b"\n\n")[0] + b"\n\n" + invalidated
    )

    def decode(*pieces: bytes) -> tuple[str | None, object, int | None, int]:
        decoded = ReadStream(*pieces, api=api, count=len)
        return decoded.error, decoded.count, decoded.tokens.tokens_in, len(decoded.tokens.chunk_ns or ())

    expected = decode(body)
    assert expected[3] > 0
    for at in range(1, len(body)):
        assert decode(body[:at], body[at:]) == expected, at
    assert decode(*(bytes([byte]) for byte in body)) == expected
    rng = random.Random(7)
    for _ in range(200):
        cuts = sorted(rng.sample(range(1, len(body)), rng.randrange(2, 20)))
        assert decode(*(body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True))) == expected


@pytest.mark.parametrize(
    ("piece", "detail"),
    [
        (event({"error": "secret"}), "the stream reported an error"),
        (b"data: secret\n\n", "the stream contains an invalid event, or too many events"),
        (b"data: " + b"x" * 2**21, "a line exceeds 1 MiB, or an event exceeds 8 MiB"),
        (b"{" * (8 * 2**20 + 1), "a line exceeds 1 MiB, or an event exceeds 8 MiB"),
        (chunk({"content": "a"}), "the stream ended before the response was complete"),
    ],
)
def test_error_detail_of_stream_contains_no_response_text(piece: bytes, detail: str) -> None:
    stream = ReadStream(piece[:1000], piece[1000:])
    assert stream.error is not None
    assert stream.detail == detail
    assert ReadStream(*text("a"), STOP).detail is None
