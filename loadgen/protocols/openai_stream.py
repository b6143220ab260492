"""Reads streamed answers of the OpenAI-compatible APIs: events in, tokens and their times out.

Server-sent events cut out of a body as it arrives.

Events of streamed answers of the responses API.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from loadgen.decoding import json_decoder
from loadgen.protocols.openai_bodies import Api, DecodedResponse, read_answer
from loadgen.protocols.openai_chunks import DONE, MALFORMED, ChunkEvents, CountTokens, TokenCounter
from loadgen.transport.exchange import Headers, Tokens, header_value

MAX_LINE_BYTES = 2**20
MAX_EVENT_BYTES = 8 * 2**20

_BOM = b"\xef\xbb\xbf"

Event = tuple[bytes, bytes]
"""Data, and the name it was sent under (empty where there was none)."""


class EventSplitter:
    """Works on bytes, so a piece may end anywhere: inside a character, inside CR LF.

    Holds at most one line and one event. Of an event only data and name are kept; lines of data are joined by LF.
    `is_too_long` once a line or an event was longer than may be; nothing is read after it.
    """

    __slots__ = ("_data", "_has_data", "_is_after_cr", "_is_at_start", "_is_between", "_line", "_name", "is_too_long")

    def __init__(self) -> None:
        self.is_too_long = False
        self._line = bytearray()
        self._data = bytearray()
        self._name = b""
        self._has_data = False
        self._is_after_cr = False
        self._is_at_start = True
        self._is_between = False

    def feed(self, piece: bytes) -> list[Event]:
        """The events that `piece` completes."""
        if not self._is_between or len(piece) > MAX_LINE_BYTES:
            return self._feed_lines(piece)
        if b"\r" in piece:
            if piece.count(b"\r") != piece.count(b"\r\n"):
                return self._feed_lines(piece)
            piece = piece.replace(b"\r\n", b"\n")
        if not piece.endswith(b"\n\n"):
            return self._feed_lines(piece)
        # whole events and nothing else: most pieces of most streams, and most of them are one event
        if piece.startswith(b"data: ") and piece.find(b"\n") == len(piece) - 2:
            return [(piece[6:-2], b"")]
        events: list[Event] = []
        for block in piece[:-2].split(b"\n\n"):
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append((block[6:], b""))
            else:
                for line in block.split(b"\n"):
                    self._take(line, events)
                self._take(b"", events)
        return events

    def finish(self) -> list[Event]:
        """The event that the end of the body left without its blank line."""
        events: list[Event] = []
        if not self.is_too_long:
            self._take(bytes(self._line), events)
            self._take(b"", events)
            self._line.clear()
        return events

    def _feed_lines(self, piece: bytes) -> list[Event]:
        events: list[Event] = []
        if not piece or self.is_too_long:
            return events
        self._is_between = False
        ends_in_cr = piece.endswith(b"\r")
        if self._is_after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self._is_after_cr = ends_in_cr
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *rest = piece.split(b"\n")
        self._line += first
        for following in rest:
            self._take(bytes(self._line), events)
            if self.is_too_long:
                return events
            self._line[:] = following
        self.is_too_long = len(self._line) > MAX_LINE_BYTES
        self._is_between = not (self._line or self._has_data or self._name or self._is_at_start)
        return events

    def _take(self, line: bytes, events: list[Event]) -> None:
        if self._is_at_start:
            self._is_at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            if self._has_data:
                events.append((bytes(self._data[:-1]), self._name))
                self._data.clear()
                self._has_data = False
            self._name = b""
        elif len(line) > MAX_LINE_BYTES:
            self.is_too_long = True
        elif line.startswith(b"data"):
            self._take_data(line)
        elif line.startswith(b"event:"):
            self._name = line[6:].removeprefix(b" ")

    def _take_data(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field != b"data":
            return
        value = value.removeprefix(b" ")
        # an empty line of data counts too: without end they would fill the memory
        if len(self._data) + len(value) + 1 > MAX_EVENT_BYTES:
            self.is_too_long = True
            return
        self._data += value
        self._data += b"\n"
        self._has_data = True


class _Response(msgspec.Struct, gc=False):
    usage: object = None


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    name: str | None = None


class _Happening(msgspec.Struct, gc=False):
    type: str | None = None
    delta: object = None
    response: _Response | None = None
    item: _Item | None = None
    error: object = None


_decode = json_decoder(_Happening)

_CALLS = ("function_call", "custom_tool_call", "mcp_call")
_FAILURES = ("error", "response.failed", "response.cancelled", "response.error")


class ResponseEvents:
    """Whole with `response.completed` or `response.incomplete`, which is how an answer ends at its limit of tokens."""

    __slots__ = ("_tally", "is_whole")

    def __init__(self, tally: TokenCounter) -> None:
        self._tally = tally
        self.is_whole = False

    def take(self, data: bytes, name: bytes, at_ns: int) -> str | None:
        if not data or data.strip() == DONE:
            return None
        tally = self._tally
        tally.has_begun = True
        try:
            event = _decode(data)
        except MALFORMED:
            return "bad-output" if name == b"error" else "bad-payload"
        tally.first_event_ns = tally.first_event_ns or at_ns
        kind = event.type or name.decode("utf-8", "replace")
        if kind.endswith(".delta"):
            if not event.delta:
                return None
            if tally.keeps_text and isinstance(event.delta, str):
                tally.take_text(event.delta)
            return tally.take_chunk(at_ns, is_output=not kind.startswith("response.reasoning"), total=None)
        if kind in _FAILURES or event.error or name == b"error":
            return "bad-output"
        if kind in ("response.completed", "response.incomplete"):
            self.is_whole = True
            if event.response is not None:
                tally.take_usage(event.response.usage)
        elif kind == "response.output_item.added" and event.item is not None:
            return self._take_item(event.item, at_ns)
        return None

    def _take_item(self, item: _Item, at_ns: int) -> str | None:
        """The name of a tool that is called is generated like its arguments."""
        if item.type not in _CALLS or not item.name:
            return None
        if self._tally.keeps_text:
            self._tally.take_text(item.name)
        return self._tally.take_chunk(at_ns, is_output=True, total=None)


_BLANKS = b" \t\r\n"
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
