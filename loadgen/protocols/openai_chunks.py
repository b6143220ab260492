"""Handle the events of streamed chat and text completions. Count the tokens of a streamed response,
and record their times."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable

import msgspec

from loadgen.decoding import json_decoder
from loadgen.payloads.texts import TokenizerError
from loadgen.transport.exchange import ServerDetails, Tokens

NO_OUTPUT_DETAIL = "the response is empty: it has no text and no tool calls, and no output tokens are reported"

CountTokens = Callable[[str], int]
"""Function that returns the number of tokens in a text."""

MAX_TOKENS = 10_000_000
"""Maximum plausible number of tokens. A larger number that a server reports is ignored."""
MAX_CHUNKS = 2**18
"""Maximum number of chunks in a streamed response. A response with more chunks is aborted, because
it might never end."""
MAX_TEXT_BYTES = 8 * 2**20
"""Maximum size in bytes of a response's text that is stored for counting tokens with a tokenizer.
In a response with more text, each chunk counts as one token."""
_STRING_OVERHEAD_BYTES = 64
_USAGE_NAMES = (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"))


def parse_token_count(count: object) -> int | None:
    """Return a token count that a server reports; None if the value is not a plausible token
    count."""
    return count if type(count) is int and 0 <= count <= MAX_TOKENS else None


def parse_usage(usage: object) -> tuple[int | None, int | None]:
    """Return the numbers of input and output tokens in a usage object. A number that is missing or
    implausible is None."""
    if not isinstance(usage, dict):
        return None, None
    for input_name, output_name in _USAGE_NAMES:
        if input_name in usage or output_name in usage:
            return parse_token_count(usage.get(input_name)), parse_token_count(usage.get(output_name))
    return None, None


_MAX_TIME_MS = 86_400_000.0


def parse_details(usage: object, timings: object = None) -> ServerDetails | None:
    """Return what a server reports about a response besides its numbers of input and output tokens;
    None if it reports nothing more.

    `usage` is the usage object: OpenAI's details of tokens, DeepSeek's `prompt_cache_hit_tokens`,
    and Groq's times in seconds. `timings` is llama.cpp's object with times in milliseconds. Values
    that are implausible are None.
    """
    values = usage if isinstance(usage, dict) else {}
    times = timings if isinstance(timings, dict) else {}
    input_details = values.get("prompt_tokens_details") or values.get("input_tokens_details")
    output_details = values.get("completion_tokens_details") or values.get("output_tokens_details")
    details = ServerDetails(
        tokens_cached=_find_token_count(
            input_details, "cached_tokens", values.get("prompt_cache_hit_tokens"), times.get("cache_n")
        ),
        tokens_reasoning=_find_token_count(output_details, "reasoning_tokens", values.get("reasoning_tokens")),
        tokens_accepted=_find_token_count(output_details, "accepted_prediction_tokens"),
        server_queue_ms=_parse_time_ms(values.get("queue_time")),
        server_prefill_ms=_parse_time_ms(values.get("prompt_time"), times.get("prompt_ms")),
        server_decode_ms=_parse_time_ms(values.get("completion_time"), times.get("predicted_ms")),
    )
    return None if details == ServerDetails() else details


def _find_token_count(details: object, name: str, *alternatives: object) -> int | None:
    """Return the first plausible token count: the value of `name` in `details`, or one of the
    alternatives."""
    first = details.get(name) if isinstance(details, dict) else None
    counts = map(parse_token_count, (first, *alternatives))
    return next((count for count in counts if count is not None), None)


def _parse_time_ms(seconds: object, milliseconds: object = None) -> float | None:
    """Return a time of at most a day in ms, given in seconds or else in milliseconds; None if
    neither value is plausible."""
    for value, unit_ms in ((seconds, 1_000), (milliseconds, 1)):
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value * unit_ms <= _MAX_TIME_MS:
            return float(value * unit_ms)
    return None


class TokenCounter:
    """Counter of the tokens of one streamed response.

    A chunk is an event with a non-empty delta. If the response has several choices, their chunks
    are counted together in order of arrival, and their tokens are summed.
    """

    __slots__ = ("_chunk_ns", "_chunk_tokens", "_count_tokens", "_empty_count", "_empty_counts_before",
                 "_last_total_tokens", "_text", "_text_bytes", "_texts", "_tokens", "_usage", "first_event_ns",
                 "has_begun", "reported_input_tokens", "reported_output_tokens", "timings")  # fmt: skip

    def __init__(self, count_tokens: CountTokens | None) -> None:
        self._tokens = Tokens()
        self._chunk_ns = array("q")  # needs a fifth of the memory of a list, for many concurrent long streams
        self._chunk_tokens: list[int | None] | None = None
        self._last_total_tokens: int | None = 0
        self._empty_count = 0
        self._empty_counts_before: dict[int, int] = {}
        """Number of empty events directly before a chunk, by the index of the chunk."""
        self._count_tokens = count_tokens
        self._text = ""
        self._texts: list[str] = []
        self._text_bytes = 0
        self.has_begun = False
        self.first_event_ns: int | None = None
        self.reported_input_tokens: int | None = None
        self.reported_output_tokens: int | None = None
        self._usage: object = None
        self.timings: object = None
        """The object `timings` of an event, in which llama.cpp reports times."""

    @property
    def is_empty(self) -> bool:
        """True if no chunk was received and the server reports no output tokens."""
        return not self._chunk_ns and not self.reported_output_tokens

    @property
    def stores_text(self) -> bool:
        return self._count_tokens is not None

    def add_usage(self, usage: object) -> int | None:
        """Store the usage object of an event. Return the number of output tokens so far according
        to this object; None if not reported."""
        self._usage = usage
        tokens_in, tokens_out = parse_usage(usage)
        self.reported_input_tokens = self.reported_input_tokens if tokens_in is None else tokens_in
        self.reported_output_tokens = self.reported_output_tokens if tokens_out is None else tokens_out
        return tokens_out

    def add_chunk(self, received_ns: int, *, is_output: bool, total_tokens: int | None) -> str | None:
        """Count a chunk that was received at `received_ns`. Return an error class if there are too
        many chunks, otherwise None.

        `total_tokens` is the number of output tokens up to and including this chunk, if the server
        reports it.
        """
        tokens, chunk_ns = self._tokens, self._chunk_ns
        if tokens.first_token_ns is None:
            tokens.first_token_ns = received_ns
        if is_output and tokens.first_output_ns is None:
            tokens.first_output_ns = received_ns
        tokens.last_token_ns = received_ns
        if total_tokens is not None or self._chunk_tokens is not None:
            self._add_total(total_tokens)
        else:
            self._last_total_tokens = None
        chunk_ns.append(received_ns)
        return None if len(chunk_ns) <= MAX_CHUNKS else "bad-payload"

    def add_empty_event(self) -> None:
        """Count an event of a choice that has no delta, after the first event of the response. A
        server such as vLLM sends one for a token without text: a part of a character, or the end of
        the sequence."""
        self._empty_count += 1
        next_index = len(self._chunk_ns)
        self._empty_counts_before[next_index] = self._empty_counts_before.get(next_index, 0) + 1

    def add_text(self, text: str) -> None:
        if self._text_bytes <= MAX_TEXT_BYTES:
            self._text_bytes += 4 * len(text) + _STRING_OVERHEAD_BYTES
            self._texts.append(text)

    def tokens(self) -> Tokens:
        """Return the token counts and token times of the response so far."""
        tokens = self._tokens
        if not self.has_begun:
            return tokens
        tokens.first_event_ns = self.first_event_ns
        if self._chunk_ns:
            tokens.chunk_ns = self._chunk_ns
            tokens.chunk_tokens = self._count_one_per_event() if self._chunk_tokens is None else self._chunk_tokens
        tokens.tokens_in = self.reported_input_tokens
        if self._usage is not None or self.timings is not None:
            tokens.details = parse_details(self._usage, self.timings)
        # Ignore a reported count of zero if text was received.
        if self.reported_output_tokens is not None and (self.reported_output_tokens > 0 or not self._chunk_ns):
            tokens.tokens_out, tokens.token_source = self.reported_output_tokens, "server"
        elif self._count_tokens is not None and self._text_bytes <= MAX_TEXT_BYTES:
            if self._texts or tokens.tokens_out is None:
                self._text = "".join((self._text, *self._texts))
                self._texts.clear()
                with contextlib.suppress(TokenizerError):  # then the count is unknown
                    tokens.tokens_out, tokens.token_source = self._count_tokens(self._text), "tokenizer"
        else:
            tokens.tokens_out, tokens.token_source = len(self._chunk_ns), "chunks"
        return tokens

    def _count_one_per_event(self) -> list[int | None] | None:
        """Return the number of tokens of each chunk if the server sent as many events as tokens, some
        of them empty: the tokens of empty events belong to the next chunk. An empty event after the
        last chunk may be a token or only the end. Return None otherwise."""
        chunk_count, reported_count = len(self._chunk_ns), self.reported_output_tokens
        empty_count_at_end = self._empty_counts_before.get(chunk_count, 0)
        event_count = chunk_count + self._empty_count
        if not self._empty_count or reported_count is None or reported_count == chunk_count:
            return None
        if not event_count - empty_count_at_end <= reported_count <= event_count:
            return None
        return [1 + self._empty_counts_before.get(index, 0) for index in range(chunk_count)]

    def _add_total(self, total_tokens: int | None) -> None:
        """Store the number of tokens in a chunk: the difference between its total number of tokens
        and the total of the previous chunk. Store None if one of the two totals was not
        reported."""
        if self._chunk_tokens is None:
            self._chunk_tokens = [None] * len(self._chunk_ns)
        new_tokens = (
            None if total_tokens is None or self._last_total_tokens is None else total_tokens - self._last_total_tokens
        )
        self._chunk_tokens.append(new_tokens if new_tokens is not None and new_tokens > 0 else None)
        self._last_total_tokens = total_tokens


_MAX_CHOICES = 1024
DONE = b"[DONE]"


class ContentPart(msgspec.Struct, gc=False):
    """Part of a message whose content is a list."""

    type: str | None = None
    text: str | None = None
    thinking: object = None


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: object = None
    input: object = None


class ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None
    custom: _Function | None = None


class Message(msgspec.Struct, gc=False):
    """Message of one choice: the whole message in a completion, or a delta in an event of a
    streamed completion."""

    content: str | list[ContentPart] | None = None
    reasoning_content: object = None
    reasoning: object = None
    tool_calls: list[ToolCall] | None = None


class ChunkDelta(Message, gc=False):
    """Delta of one choice in an event of a streamed chat completion."""

    refusal: str | None = None
    function_call: _Function | None = None


class ChunkChoice(msgspec.Struct, gc=False):
    """One choice in an event of a streamed completion."""

    index: int | None = None
    delta: ChunkDelta | None = None
    text: str | None = None
    finish_reason: str | None = None


class Envelope(msgspec.Struct, gc=False):
    """Fields, other than the choices, that a completion and an event of a streamed completion have
    in common."""

    usage: object = None
    timings: object = None
    error: object = None
    kind: str | None = msgspec.field(default=None, name="object")


class _Chunk(Envelope, gc=False):
    choices: list[ChunkChoice] | None = None


_decode_chunk = json_decoder(_Chunk)

_NOTHING, _REASONING, _OUTPUT = 0, 1, 2


class ChunkEventHandler:
    """Handler of the events of one streamed completion.

    The response is complete when at least one choice has finished and no choice is unfinished.
    Events after [DONE] are ignored. Chunks that arrive after the finish_reason of their choice are
    still counted, because the server has generated and sent them.
    """

    __slots__ = ("_counter", "_finished_choices", "_is_done", "_open_choices")

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter
        self._open_choices: set[int] = set()
        self._finished_choices: set[int] = set()
        self._is_done = False

    @property
    def is_complete(self) -> bool:
        return bool(self._finished_choices) and not self._open_choices

    def handle(self, data: bytes, name: bytes, received_ns: int) -> str | None:
        if self._is_done or not data:
            return None
        counter = self._counter
        counter.has_begun = True
        try:
            chunk = _decode_chunk(data)
        except msgspec.DecodeError:
            self._is_done = data.strip() == DONE
            return None if self._is_done else "bad-output" if name == b"error" else "bad-payload"
        if chunk.error or chunk.kind == "error" or name == b"error":
            return "bad-output"
        is_first_event = counter.first_event_ns is None
        if is_first_event and chunk.choices:
            counter.first_event_ns = received_ns
        total_tokens = None if chunk.usage is None else counter.add_usage(chunk.usage)
        if chunk.timings is not None:
            counter.timings = chunk.timings
        kind = _NOTHING
        for choice in chunk.choices or ():
            kind |= self._add_choice(choice)
        if len(self._open_choices) + len(self._finished_choices) > _MAX_CHOICES:
            return "bad-payload"
        if kind:
            return counter.add_chunk(received_ns, is_output=kind >= _OUTPUT, total_tokens=total_tokens)
        if chunk.choices and not is_first_event:
            counter.add_empty_event()
        return None

    def _add_choice(self, choice: ChunkChoice) -> int:
        index = choice.index or 0
        if choice.finish_reason:
            self._finished_choices.add(index)
            self._open_choices.discard(index)
        elif index not in self._finished_choices:
            self._open_choices.add(index)
        delta = choice.delta
        if delta is None:
            text = choice.text
            kind = _OUTPUT if text else _NOTHING
        else:
            text = delta.content if type(delta.content) is str else None
            kind = _OUTPUT if text else _classify_delta(delta)
        if kind and self._counter.stores_text:
            self._counter.add_text(text or _join_texts(delta))
        return kind


def _classify_delta(delta: ChunkDelta) -> int:
    """Return what a delta without plain text contains: nothing, reasoning or output."""
    kind = _NOTHING
    for part in delta.content or ():
        if isinstance(part, ContentPart):
            kind |= (_REASONING if part.thinking else _NOTHING) | (_OUTPUT if part.text else _NOTHING)
    if delta.reasoning_content or delta.reasoning:
        kind |= _REASONING
    if delta.refusal or (delta.function_call and _is_call(delta.function_call)):
        kind |= _OUTPUT
    for call in delta.tool_calls or ():
        if (call.function and _is_call(call.function)) or (call.custom and _is_call(call.custom)):
            kind |= _OUTPUT
    return kind


def _is_call(function: _Function) -> bool:
    return bool(function.name or function.arguments or function.input)


def _join_texts(delta: ChunkDelta | None) -> str:
    """Return the other text of a delta that has no plain text, which is its reasoning or tool
    calls. A tokenizer counts the tokens of this text."""
    if delta is None:
        return ""
    texts = [delta.reasoning_content or delta.reasoning, delta.refusal]
    texts += [part.text or part.thinking for part in delta.content or () if isinstance(part, ContentPart)]
    calls = [function for call in delta.tool_calls or () for function in (call.function, call.custom)]
    for function in (*calls, delta.function_call):
        if function is not None:
            texts += [function.name, function.arguments, function.input]
    return "".join(text for text in texts if isinstance(text, str))
