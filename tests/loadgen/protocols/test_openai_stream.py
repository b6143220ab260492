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


def events_of(*pieces: bytes) -> list[Event]:
    splitter = EventSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events + splitter.finish()


def test_a_body_in_one_piece() -> None:
    assert events_of(BODY.encode()) == EVENTS


def test_a_body_cut_in_two_anywhere() -> None:
    body = BODY.encode()
    for at in range(len(body)):
        assert events_of(body[:at], body[at:]) == EVENTS, at


def test_a_body_byte_by_byte() -> None:
    assert events_of(*(bytes([byte]) for byte in BODY.encode())) == EVENTS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_body_cut_at_random_with_any_line_end(end: str) -> None:
    rng = random.Random(end)
    texts = ["".join(rng.choices("ab :{}é\u2028", k=rng.randrange(30))) for _ in range(40)]
    lines = [rng.choice(["data: {}", "data: {}", ": {}", "event: {}", "", "id: {}"]).format(text) for text in texts]
    body = (end.join(f"{line}{end}" if rng.random() < 0.6 else line for line in lines) + end * 2).encode()
    whole = events_of(body)
    assert len(whole) > 5
    for _ in range(300):
        cuts = sorted(rng.sample(range(len(body)), rng.randrange(1, 12)))
        assert events_of(*(body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True))) == whole


def test_an_event_comes_with_the_piece_that_completes_it() -> None:
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
def test_a_line_may_be_so_long_and_no_longer(end: bytes, size: int) -> None:
    for length, is_too_long in ((MAX_LINE_BYTES, False), (MAX_LINE_BYTES + 1, True)):
        splitter = EventSplitter()
        splitter.feed(b"data: before\n\n")
        line = b"data: a" + end * 2 + b"data: ".ljust(length, b"x") + end * 2 + b"data: b" + end * 2
        events = [event for at in range(0, len(line), size) for event in splitter.feed(line[at : at + size])]
        assert (splitter.is_too_long, len(events)) == (is_too_long, 1 if is_too_long else 3)
        assert len(splitter.feed(b"data: after\n\n")) == (not is_too_long)


def test_a_line_without_an_end_is_given_up() -> None:
    splitter = EventSplitter()
    pieces = 0
    while not splitter.is_too_long:
        splitter.feed(b"data: a" if pieces == 0 else b"x" * 1000)
        pieces += 1
    assert pieces == MAX_LINE_BYTES // 1000 + 2
    assert splitter.feed(b"\n\ndata: a\n\n") == splitter.finish() == []


@pytest.mark.parametrize("line", [b"data: " + b"x" * 1000 + b"\n", b"data\n" * 1000, b"data:\n" * 1000])
def test_an_event_without_an_end_is_given_up(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_stream, "MAX_EVENT_BYTES", 100_000)
    splitter = EventSplitter()
    for _ in range(102):
        assert splitter.feed(line) == []
    assert splitter.is_too_long
    assert splitter.finish() == []


@pytest.mark.parametrize(
    "line", [b": keep-alive\n\n", b": keep-alive\n", b"event: x\n", b"id: 1\r\n", b"\n", b"data\n\n"]
)
def test_what_says_nothing_takes_no_memory(line: bytes) -> None:
    splitter = EventSplitter()
    for _ in range(1000):
        splitter.feed(line * 100)
    held = sum(sys.getsizeof(getattr(splitter, name)) for name in EventSplitter.__slots__)
    assert held < 10_000
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
    return [chunk({"content": one}) for one in texts]


def response(kind: str, **fields: Any) -> bytes:
    return event({"type": f"response.{kind}", **fields}, f"response.{kind}")


STOP = chunk(finish="stop")


class Read:
    """Each piece is fed a nanosecond after the one before, the first at 1."""

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


def test_an_answer_and_its_usage() -> None:
    read = Read(chunk({"role": "assistant", "content": ""}), *text("a", "b", "c"), STOP, usage(), DONE)
    assert read.error is None
    assert read.tokens == Tokens(2, 2, 4, 11, 3, "server", [2, 3, 4], None, first_event_ns=1)


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
def test_the_first_event_is_the_first_message_with_choices_whatever_it_holds(
    before: list[bytes], first_ns: int
) -> None:
    read = Read(*before, *text("a"), STOP, DONE)
    assert read.error is None
    assert (read.tokens.first_event_ns, read.tokens.first_token_ns) == (first_ns, len(before) + 1)


def test_the_first_event_of_a_completion_and_of_a_response() -> None:
    completion = [event({"choices": [{"index": 0, "text": one, "finish_reason": None}]}) for one in ("", "a")]
    ended = event({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})
    assert Read(*completion, ended, api="completions").tokens.first_event_ns == 1
    stream = [response("created"), response("output_text.delta", delta="a"), response("completed")]
    read = Read(*stream, api="responses")
    assert (read.tokens.first_event_ns, read.tokens.first_token_ns) == (1, 2)


def test_an_error_instead_of_an_answer_has_no_first_event() -> None:
    assert Read(event({"error": {"message": "no"}})).tokens.first_event_ns is None


def test_without_usage_chunks_are_counted_and_labelled_so() -> None:
    read = Read(*text("a", "b c d"), STOP, DONE)
    assert read.count == (2, "chunks")
    assert read.tokens.tokens_in is None


def test_without_usage_a_tokenizer_counts_all_there_is() -> None:
    call = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a"'}}]}
    parts = {"content": [{"type": "thinking", "thinking": "mn"}, {"type": "text", "text": "op"}]}
    read = Read(chunk({"reasoning_content": "xy"}), *text("ab"), chunk(call), chunk({"refusal": "no"}), chunk(parts),
                STOP, count=len)  # fmt: skip
    assert read.count == (len('xyabf{"a"nomnop'), "tokenizer")
    assert Read(*text("abc"), STOP, usage(prompt_tokens=1, completion_tokens=2), count=len).count == (2, "server")
    assert Read(STOP, count=len).count == (0, "tokenizer")


def test_a_text_too_long_for_a_tokenizer_is_counted_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_chunks, "MAX_TEXT_BYTES", 300)
    assert Read(*text(*"abc"), STOP, count=len).count == (3, "tokenizer")
    assert Read(*text(*"abcdefg"), STOP, count=len).count == (7, "chunks")


@pytest.mark.parametrize("nothing", [{"role": "assistant"}, {"content": ""}, {"content": None}, {}, {"content": []},
                                     {"reasoning_content": ""}, {"tool_calls": []}, {"refusal": None},
                                     {"tool_calls": [{"index": 0, "id": "x", "type": "function"}]},
                                     {"tool_calls": [{"function": {"name": None, "arguments": ""}}]}])  # fmt: skip
def test_a_delta_without_content_is_no_token(nothing: dict[str, Any]) -> None:
    read = Read(chunk(nothing), *text("a"), chunk(nothing), STOP)
    assert (read.times, read.count) == ((2, 2, 2), (1, "chunks"))


@pytest.mark.parametrize("blank", [" ", "\n", "\t", "\u200b"])
def test_a_blank_token_is_a_token(blank: str) -> None:
    read = Read(*text(blank, "a", blank), STOP)
    assert (read.times, read.tokens.chunk_ns) == ((1, 1, 3), [1, 2, 3])


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_is_tokens_and_no_output(key: str) -> None:
    read = Read(chunk({key: "hm"}), chunk({key: "hm", "content": None}), *text("a"), STOP)
    assert (read.times, read.tokens.chunk_ns) == ((1, 3, 3), [1, 2, 3])
    assert Read(chunk({key: "hm"}), STOP).times == (1, None, 1)


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
def test_tool_calls_refusals_and_lists_of_parts_are_output(delta: dict[str, Any]) -> None:
    read = Read(chunk(delta), STOP)
    assert (read.error, read.times) == (None, (1, 1, 1))


def test_thinking_in_a_list_of_parts_is_reasoning() -> None:
    read = Read(chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}), STOP)
    assert read.times == (1, None, 1)


def test_a_response_without_text_and_tokens_is_bad_output() -> None:
    read = Read(chunk({"role": "assistant"}), STOP, DONE)
    assert (read.error, read.times, read.count) == ("bad-output", (None, None, None), (0, "chunks"))
    assert Read(STOP, usage(prompt_tokens=1, completion_tokens=0)).error == "bad-output"


def test_a_response_of_a_token_without_text_is_a_success_without_times() -> None:
    read = Read(STOP, usage(prompt_tokens=1, completion_tokens=1))
    assert (read.error, read.times, read.count, read.tokens.chunk_ns) == (None, (None, None, None), (1, "server"), None)


def test_events_read_together_share_a_time() -> None:
    read = Read(b"".join(text("a", "b")), b"".join([*text("c"), STOP, usage(), DONE]))
    assert (read.tokens.chunk_ns, read.count) == ([1, 1, 2], (3, "server"))


# how it ends


def test_without_a_finish_reason_it_was_cut_off() -> None:
    for rest in ([], [DONE], [usage(), DONE]):
        read = Read(*text("a"), *rest)
        assert (read.error, read.was_cut, read.tokens.last_token_ns) == ("truncated", False, 1)
    assert Read(b": nothing\n\n").error == Read().error == Read(DONE).error == "truncated"
    assert Read(chunk({"content": "a"}, finish="")).error == "truncated"


def test_a_finish_reason_is_enough() -> None:
    assert Read(*text("a"), STOP).error is None
    assert Read(chunk({"content": "a"}, finish="length")).count == (1, "chunks")


def test_the_last_event_may_lack_its_blank_line() -> None:
    read = Read(*text("a"), (b"".join(text("b")) + STOP).rstrip(b"\n"))
    assert (read.error, read.tokens.chunk_ns) == (None, [1, 2])
    assert Read(*text("a"), STOP, b'data: {"choices": [], "us').error is None
    assert Read(*text("a"), STOP[:-9]).error == "truncated"
    assert Read(*text("a"), event({"error": "late"}).rstrip()).error == "bad-output"


def test_text_after_the_end() -> None:
    read = Read(*text("a"), STOP, *text("b"))
    assert (read.error, read.tokens.chunk_ns) == (None, [1, 3])
    assert Read(*text("a"), STOP, DONE, *text("b"), b"data: rubbish\n\n").tokens.chunk_ns == [1]


def test_every_choice_that_began_must_finish() -> None:
    two = [chunk({"content": "a"}), chunk({"content": "b"}, index=1), STOP]
    assert Read(*two, DONE).error == "truncated"
    read = Read(*two, chunk(index=1, finish="length"), usage(prompt_tokens=4, completion_tokens=9), DONE)
    assert (read.error, read.count, read.tokens.chunk_ns) == (None, (9, "server"), [1, 2])
    together = event({"choices": [{"index": n, "delta": {"content": "x"}, "finish_reason": "stop"} for n in (0, 1)]})
    assert Read(together).tokens.chunk_ns == [1]


def test_choices_without_bound_are_refused() -> None:
    assert Read(*(chunk(index=number) for number in range(2000))).error == "bad-payload"
    assert Read(*(chunk({"content": "x"}, index=number) for number in range(2000))).error == "bad-payload"


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
def test_an_error_in_the_stream_is_bad_output(failure: bytes) -> None:
    read = Read(*text("a"), failure, STOP, DONE)
    assert (read.error, read.was_cut, read.count) == ("bad-output", True, (1, "chunks"))


def test_no_error_is_no_error() -> None:
    assert Read(chunk({"content": "a"}, error=None), STOP).error is None
    assert Read(event({"type": "ping"}, "ping"), *text("a"), STOP).error is None


@pytest.mark.parametrize(
    "rubbish",
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
def test_what_is_no_chunk_is_bad_payload(rubbish: bytes) -> None:
    read = Read(*text("a"), rubbish, STOP)
    assert (read.error, read.was_cut, read.tokens.last_token_ns) == ("bad-payload", True, 1)


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_chunks, "MAX_CHUNKS", 100)
    read = Read(*text(*"x" * 200))
    assert (read.error, len(read.tokens.chunk_ns or ())) == ("bad-payload", 101)


def test_a_body_that_is_neither_events_nor_an_answer() -> None:
    html: Headers = [(b"content-type", b"text/html")]
    assert Read(b"<html>\n\n</html>", headers=html).error == "bad-payload"
    assert Read(b"", headers=html).error == "bad-payload"
    assert Read(*text("a"), STOP, headers=[]).error is None


# usage


@pytest.mark.parametrize(
    "wrong", [-1, 1.5, "3", None, True, 10**9, 0, [3], {"n": 3}]
)  # 0 is wrong because there was text
def test_a_count_that_cannot_be_is_not_believed(wrong: Any) -> None:
    read = Read(*text("a", "b"), STOP, usage(prompt_tokens=-5, completion_tokens=wrong), DONE)
    assert (read.error, read.count, read.tokens.tokens_in) == (None, (2, "chunks"), None)


@pytest.mark.parametrize("wrong", [7, "none", [], {}, {"total_tokens": 5}, None])
def test_a_usage_that_is_none(wrong: Any) -> None:
    read = Read(*text("a"), STOP, event({"choices": [], "usage": wrong}))
    assert (read.error, read.count) == (None, (1, "chunks"))


def test_a_usage_of_null_in_each_chunk_says_nothing() -> None:
    read = Read(chunk({"content": "a"}, usage=None), chunk(finish="stop", usage=None), usage())
    assert (read.count, read.tokens.chunk_tokens) == ((3, "server"), None)


def test_continuous_usage_reports_the_tokens_of_each_chunk() -> None:
    counts = [(chunk, {"role": "assistant"}, 0), (chunk, {"content": "a"}, 1), (chunk, {"content": ""}, 2),
              (chunk, {"content": "bc"}, 4), (chunk, {"content": "d"}, 4), (chunk, {"content": "e"}, 5)]  # fmt: skip
    pieces = [make(delta, usage={"prompt_tokens": 9, "completion_tokens": total}) for make, delta, total in counts]
    read = Read(*pieces, STOP, usage(prompt_tokens=9, completion_tokens=6))
    assert read.tokens.chunk_tokens == [1, 3, None, 1]
    assert (read.count, read.tokens.tokens_in) == ((6, "server"), 9)


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
def test_as_many_events_as_tokens_are_a_token_each_even_without_text(
    pieces: list[bytes], reported_tokens: int, chunk_tokens: list[int] | None
) -> None:
    read = Read(*pieces, usage(completion_tokens=reported_tokens))
    assert (read.error, read.count) == (None, (reported_tokens, "server"))
    assert read.tokens.chunk_tokens == chunk_tokens


def test_a_total_after_untold_chunks_is_not_the_last_chunks() -> None:
    read = Read(*text("a", "b"), chunk({"content": "c"}, finish="stop", usage={"completion_tokens": 9}))
    assert (read.tokens.chunk_tokens, read.count) == ([None, None, None], (9, "server"))


def test_tokens_may_be_read_at_any_time() -> None:
    reader = OpenAiReader("chat", len)
    assert reader.tokens == Tokens()
    for piece, counted in ((text("ab")[0], 2), (b"data: {", 2), (b"}\n\n", 2), (text("c")[0], 3)):
        reader.feed(piece, 5)
        assert (reader.tokens.tokens_out, reader.tokens.tokens_out) == (counted, counted)


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_reader_goes_without_a_collection(api: Any) -> None:
    gc.collect()
    gc.disable()
    try:
        count = functools.partial(len)
        held = weakref.ref(count)
        reader = OpenAiReader(api, count)
        del count
        reader.feed(text("a")[0], 1)
        assert held() is not None
        del reader
        assert held() is None
    finally:
        gc.enable()


# completions


def test_completions() -> None:
    def piece(text: str, finish: str | None = None) -> bytes:
        return event({"object": "text_completion", "choices": [{"text": text, "index": 0, "finish_reason": finish}]})

    read = Read(piece(""), piece(" "), piece("a"), piece("b", "length"), usage(), DONE, api="completions")
    assert (read.error, read.tokens.chunk_ns, read.count) == (None, [2, 3, 4], (3, "server"))
    assert Read(piece("abc"), piece("", "stop"), api="completions", count=len).count == (3, "tokenizer")


# responses


def test_responses() -> None:
    reported = {
        "input_tokens": 5,
        "output_tokens": 4,
        "total_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 1},
    }
    read = Read(
        response("created", response={"status": "in_progress", "usage": None, "error": None}),
        response("reasoning_text.delta", delta="hm"),
        response("reasoning_summary_text.delta", delta="hm"),
        response("output_text.delta", delta=""),
        response("output_text.delta", delta=" "),
        response("refusal.delta", delta="no"),
        response("function_call_arguments.delta", delta="{"),
        response("output_text.done", text="  a"),
        response("completed", response={"status": "completed", "usage": reported}),
        api="responses",
    )
    assert (read.error, read.times, read.tokens.chunk_ns) == (None, (2, 5, 7), [2, 3, 5, 6, 7])
    assert (read.count, read.tokens.tokens_in) == ((4, "server"), 5)


def test_responses_name_the_tool_they_call() -> None:
    added = response("output_item.added", item={"type": "function_call", "name": "f", "arguments": ""})
    message = response("output_item.added", item={"type": "message", "role": "assistant"})
    read = Read(message, added, response("completed"), api="responses", count=len)
    assert (read.error, read.times, read.count) == (None, (2, 2, 2), (1, "tokenizer"))


def test_how_responses_end() -> None:
    delta = response("output_text.delta", delta="a")
    assert Read(delta, response("incomplete", response={}), api="responses").error is None
    assert Read(delta, response("completed"), DONE, api="responses").error is None
    assert Read(delta, DONE, api="responses").error == "truncated"
    for failure in (response("failed", response={"error": {"code": "x"}}), event({"type": "error", "message": "x"}),
                    event({"message": "x"}, "error"), event({"error": {"message": "x"}})):  # fmt: skip
        assert Read(delta, failure, api="responses").error == "bad-output"
    assert Read(delta, b"data: {\n\n", api="responses").error == "bad-payload"


def test_the_type_of_a_response_event_may_be_its_name_alone() -> None:
    delta = event({"delta": "a"}, "response.output_text.delta")
    assert Read(delta, event({}, "response.completed"), api="responses").times == (1, 1, 1)


# an answer that is not streamed


WHOLE = json.dumps({"choices": [{"message": {"content": "abc"}, "finish_reason": "stop"}], "usage": USAGE}).encode()


def test_a_server_that_does_not_stream_is_read_and_has_no_times() -> None:
    for pieces in ([WHOLE], [b"\xef", b"\xbb", b"\xbf", b" \r\n", WHOLE[:9], WHOLE[9:]], [b" ", WHOLE]):
        read = Read(*pieces, headers=[(b"Content-Type", b"application/json")])
        assert (read.error, read.tokens) == (None, Tokens(tokens_in=11, tokens_out=3, token_source="server"))
    assert Read(b'{"error": {"message": "no"}}').error == "bad-output"
    assert (
        Read(b'{"choices": []}').error == Read(WHOLE[:-1]).error == Read(WHOLE, b"data: x\n\n").error == "bad-payload"
    )


def test_a_whole_answer_is_bounded() -> None:
    assert Read(b"{", *[b" " * 2**20] * 9).was_cut
    assert Read(*[b" " * 2**19] * 3).was_cut


# however it is cut


def a_stream(api: str) -> bytes:
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
def test_a_stream_cut_anywhere_reads_the_same(api: str, invalidated: bytes) -> None:
    body = a_stream(api) if not invalidated else a_stream(api)[:-25].rpartition(b"\n\n")[0] + b"\n\n" + invalidated

    def read(*pieces: bytes) -> tuple[str | None, object, int | None, int]:
        found = Read(*pieces, api=api, count=len)
        return found.error, found.count, found.tokens.tokens_in, len(found.tokens.chunk_ns or ())

    whole = read(body)
    assert whole[3] > 0
    for at in range(1, len(body)):
        assert read(body[:at], body[at:]) == whole, at
    assert read(*(bytes([byte]) for byte in body)) == whole
    rng = random.Random(7)
    for _ in range(200):
        cuts = sorted(rng.sample(range(1, len(body)), rng.randrange(2, 20)))
        assert read(*(body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True))) == whole


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
def test_what_was_wrong_is_reported_and_nothing_of_the_answer(piece: bytes, detail: str) -> None:
    read = Read(piece[:1000], piece[1000:])
    assert read.error is not None
    assert read.detail == detail
    assert Read(*text("a"), STOP).detail is None
