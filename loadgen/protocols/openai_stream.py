"""Reads streamed answers of the OpenAI-compatible APIs: events in, tokens and their times out."""

from __future__ import annotations

from typing import Literal, Protocol

from loadgen.protocols.openai_answers import Api, DecodedResponse, read_answer
from loadgen.protocols.openai_chunks import ChunkEvents
from loadgen.protocols.openai_responses import ResponseEvents
from loadgen.protocols.openai_tokens import CountTokens, TokenCounter
from loadgen.protocols.sse import MAX_EVENT_BYTES, MAX_LINE_BYTES, EventSplitter
from loadgen.transport.exchange import Headers, Tokens, header_value

_BLANKS = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_MOST_BLANKS = 4096

_DETAILS = {
    "bad-output": "the stream tells of an error",
    "bad-payload": "the stream has an event that the API has not, or too many",
    "truncated": "the stream ended without a word that the answer is whole",
}
_TOO_LONG = f"a line is longer than {MAX_LINE_BYTES >> 20} MiB, or an event than {MAX_EVENT_BYTES >> 20} MiB"


class Events(Protocol):
    """Makes sense of events, counting in a Tally."""

    @property
    def is_whole(self) -> bool:
        """Whether the answer came to its end, as far as the server says."""
        ...

    def take(self, data: bytes, name: bytes, at_ns: int, /) -> str | None:
        """An error class ends the answer."""
        ...


class OpenAiReader:
    """A body that is one JSON object instead of events, from a server that does not stream, is read as such an answer
    when it has come whole: it may be a success, and has no times of tokens."""

    __slots__ = ("_api", "_body", "_count_tokens", "_events", "_kind", "_last_ns", "_splitter", "_take", "_tally",
                 "_whole", "detail")  # fmt: skip

    def __init__(self, api: Api, count_tokens: CountTokens | None) -> None:
        self._api, self._count_tokens = api, count_tokens
        self._tally = TokenCounter(count_tokens)
        self._splitter = EventSplitter()
        self._events: Events = ResponseEvents(self._tally) if api == "responses" else ChunkEvents(self._tally)
        self._take = self._events.take
        self._kind: Literal["unknown", "events", "json"] = "unknown"
        self._body = bytearray()
        self._whole: DecodedResponse | None = None
        self._last_ns = 0
        self.detail: str | None = None

    @property
    def is_streamed(self) -> bool:
        return self._kind != "json"

    @property
    def tokens(self) -> Tokens:
        return self._tally.tokens() if self._whole is None else self._whole.tokens

    def feed(self, piece: bytes, at_ns: int) -> str | None:
        if self._kind != "events":
            return self._feed_others(piece, at_ns)
        self._last_ns = at_ns
        take, splitter = self._take, self._splitter
        for data, name in splitter.feed(piece):
            error = take(data, name, at_ns)
            if error is not None:
                return self._failed(error)
        return self._failed("bad-payload", _TOO_LONG) if splitter.is_too_long else None

    def end(self, headers: Headers) -> str | None:
        """What is wrong with an answer whose body came to its end. To be called once."""
        if self._kind == "json":
            self._whole = read_answer(self._api, bytes(self._body), count_tokens=self._count_tokens)
            return self._whole.error
        if self._take_rest() == "bad-output":
            return self._failed("bad-output")
        if self._events.is_whole:
            return None
        is_events = b"text/event-stream" in (header_value(headers, b"content-type") or b"").lower()
        if is_events or self._tally.has_begun:
            return self._failed("truncated")
        return self._failed("bad-payload", "it is neither a stream of events nor JSON")

    def _failed(self, error: str, detail: str | None = None) -> str:
        self.detail = detail or _DETAILS[error]
        return error

    def _feed_others(self, piece: bytes, at_ns: int) -> str | None:
        """Decides by the first byte that is not blank what the body is."""
        self._body += piece
        if self._kind == "json":
            return self._failed("bad-payload", _TOO_LONG) if len(self._body) > MAX_EVENT_BYTES else None
        start = bytes(self._body).lstrip(_BLANKS)
        is_open = len(start) < 4 and _BOM.startswith(start[:3])
        start = start.removeprefix(_BOM).lstrip(_BLANKS)
        if (is_open or not start) and len(self._body) < _MOST_BLANKS:
            return None
        if start.startswith(b"{"):
            self._kind, self._body = "json", bytearray(start)
            return None
        head, self._body = bytes(self._body), bytearray()
        self._kind = "events"
        return self.feed(head, at_ns)

    def _take_rest(self) -> str | None:
        """An event without its blank line counts if it is whole; one that is not was cut off."""
        error = None
        for data, name in self._splitter.finish():
            error = self._take(data, name, self._last_ns)
        return error
