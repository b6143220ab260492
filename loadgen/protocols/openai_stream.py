"""Read streamed responses of OpenAI-compatible APIs: split the body into server-sent events, and
count tokens with their times.

This module handles the events of the Responses API. `loadgen.protocols.anthropic` handles those of
the Messages API, and `loadgen.protocols.openai_chunks` those of the other APIs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from loadgen.decoding import json_decoder
from loadgen.protocols.anthropic import MessagesEventHandler
from loadgen.protocols.openai_bodies import DecodedResponse, decode_response
from loadgen.protocols.openai_chunks import DONE, NO_OUTPUT_DETAIL, ChunkEventHandler, CountTokens, TokenCounter
from loadgen.transport.exchange import Headers, Tokens, find_header
from loadgen.workloads import OpenAiApi

MAX_LINE_BYTES = 2**20
MAX_EVENT_BYTES = 8 * 2**20

_BOM = b"\xef\xbb\xbf"

Event = tuple[bytes, bytes]
"""Data and name of a server-sent event. The name is empty if the event has no name."""


class EventSplitter:
    """Incremental parser that splits a response body into server-sent events.

    The parser works on bytes, so the body may be divided anywhere, even within a character or CR
    LF. The parser stores at most one line and one event. It returns only the data and the name of
    an event; several data lines are joined by LF. `is_too_long` becomes true when a line or an
    event exceeds its size limit. All further input is then ignored.
    """

    __slots__ = (
        "_data",
        "_has_data",
        "_is_after_cr",
        "_is_at_start",
        "_is_between_events",
        "_line",
        "_name",
        "is_too_long",
    )

    def __init__(self) -> None:
        self.is_too_long = False
        self._line = bytearray()
        self._data = bytearray()
        self._name = b""
        self._has_data = False
        self._is_after_cr = False
        self._is_at_start = True
        self._is_between_events = False

    def feed(self, data: bytes) -> list[Event]:
        """Parse the next bytes of the body. Return the events that are complete with these
        bytes."""
        if not self._is_between_events or len(data) > MAX_LINE_BYTES:
            return self._feed_lines(data)
        if b"\r" in data:
            if data.count(b"\r") != data.count(b"\r\n"):
                return self._feed_lines(data)
            data = data.replace(b"\r\n", b"\n")
        if not data.endswith(b"\n\n"):
            return self._feed_lines(data)
        # Fast path for a chunk of complete events. Most chunks of most streams are a single
        # complete event.
        if data.startswith(b"data: ") and data.find(b"\n") == len(data) - 2:
            return [(data[6:-2], b"")]
        events: list[Event] = []
        for block in data[:-2].split(b"\n\n"):
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append((block[6:], b""))
            else:
                for line in block.split(b"\n"):
                    self._handle_line(line, events)
                self._handle_line(b"", events)
        return events

    def finish(self) -> list[Event]:
        """Finish parsing at the end of the body. Return the last event if the blank line that
        terminates an event is missing."""
        events: list[Event] = []
        if not self.is_too_long:
            self._handle_line(bytes(self._line), events)
            self._handle_line(b"", events)
            self._line.clear()
        return events

    def _feed_lines(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if not data or self.is_too_long:
            return events
        self._is_between_events = False
        ends_in_cr = data.endswith(b"\r")
        if self._is_after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._is_after_cr = ends_in_cr
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first_line, *next_lines = data.split(b"\n")
        self._line += first_line
        for next_line in next_lines:
            self._handle_line(bytes(self._line), events)
            if self.is_too_long:
                return events
            self._line[:] = next_line
        self.is_too_long = len(self._line) > MAX_LINE_BYTES
        self._is_between_events = not (self._line or self._has_data or self._name or self._is_at_start)
        return events

    def _handle_line(self, line: bytes, events: list[Event]) -> None:
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
            self._handle_data(line)
        elif line.startswith(b"event:"):
            self._name = line[6:].removeprefix(b" ")

    def _handle_data(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field != b"data":
            return
        value = value.removeprefix(b" ")
        # Count empty data lines too, so that an endless series of such lines cannot exhaust the
        # memory.
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


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: object = None
    response: _Response | None = None
    item: _Item | None = None
    error: object = None


_decode_event = json_decoder(_Event)

_CALL_TYPES = ("function_call", "custom_tool_call", "mcp_call")
_FAILURE_EVENTS = ("error", "response.failed", "response.cancelled", "response.error")


class ResponsesEventHandler:
    """Handler of the streaming events of the Responses API.

    The response is complete after the event `response.completed`, or after `response.incomplete` if
    the maximum number of output tokens was reached.
    """

    __slots__ = ("_counter", "is_complete")

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter
        self.is_complete = False

    def handle(self, data: bytes, name: bytes, received_ns: int) -> str | None:
        if not data or data.strip() == DONE:
            return None
        counter = self._counter
        counter.has_begun = True
        try:
            event = _decode_event(data)
        except msgspec.DecodeError:
            return "bad-output" if name == b"error" else "bad-payload"
        counter.first_event_ns = counter.first_event_ns or received_ns
        event_type = event.type or name.decode("utf-8", "replace")
        if event_type.endswith(".delta"):
            if not event.delta:
                return None
            if counter.stores_text and isinstance(event.delta, str):
                counter.add_text(event.delta)
            return counter.add_chunk(
                received_ns, is_output=not event_type.startswith("response.reasoning"), total_tokens=None
            )
        if event_type in _FAILURE_EVENTS or event.error or name == b"error":
            return "bad-output"
        if event_type in ("response.completed", "response.incomplete"):
            self.is_complete = True
            if event.response is not None:
                counter.add_usage(event.response.usage)
        elif event_type == "response.output_item.added" and event.item is not None:
            return self._add_tool_call(event.item, received_ns)
        return None

    def _add_tool_call(self, item: _Item, received_ns: int) -> str | None:
        """Count the name of a called tool as a chunk, because the model generates the name just as
        it generates the arguments."""
        if item.type not in _CALL_TYPES or not item.name:
            return None
        if self._counter.stores_text:
            self._counter.add_text(item.name)
        return self._counter.add_chunk(received_ns, is_output=True, total_tokens=None)


_WHITESPACE = b" \t\r\n"
_MAX_WHITESPACE_BYTES = 4096

_ERROR_DETAILS = {
    "bad-output": "the stream reported an error",
    "bad-payload": "the stream contains an invalid event, or too many events",
    "truncated": "the stream ended before the response was complete",
}
_TOO_LONG_DETAIL = f"a line exceeds {MAX_LINE_BYTES >> 20} MiB, or an event exceeds {MAX_EVENT_BYTES >> 20} MiB"


class EventHandler(Protocol):
    """Handler of the events of a streamed response. The handler counts the tokens in a
    TokenCounter."""

    @property
    def is_complete(self) -> bool:
        """True if the server has reported that the response is complete."""
        ...

    def handle(self, data: bytes, name: bytes, received_ns: int, /) -> str | None:
        """Handle a server-sent event of the response. Return an error class if the response must be
        aborted, otherwise None."""
        ...


_EVENT_HANDLERS: dict[OpenAiApi, Callable[[TokenCounter], EventHandler]] = {
    "responses": ResponsesEventHandler,
    "messages": MessagesEventHandler,
}
"""Handlers of the APIs whose events are not those of chat and text completions."""


class OpenAiReader:
    """Reader of a response to a request for streaming.

    If the server does not stream but sends a single JSON object, the object is decoded at the end
    of the body. Such a response can be successful, but it has no token times.
    """

    __slots__ = ("_api", "_body", "_body_kind", "_count_tokens", "_counter", "_decoded_response",
                 "_event_handler", "_handle_event", "_last_received_ns", "_splitter", "detail")  # fmt: skip

    def __init__(
        self,
        api: OpenAiApi,
        count_tokens: CountTokens | None,
        create_handler: Callable[[TokenCounter], EventHandler] | None = None,
    ) -> None:
        self._api, self._count_tokens = api, count_tokens
        self._counter = TokenCounter(count_tokens)
        self._splitter = EventSplitter()
        if create_handler is None:
            create_handler = _EVENT_HANDLERS.get(api, ChunkEventHandler)
        self._event_handler = create_handler(self._counter)
        self._handle_event = self._event_handler.handle
        self._body_kind: Literal["unknown", "events", "json"] = "unknown"
        self._body = bytearray()
        self._decoded_response: DecodedResponse | None = None
        self._last_received_ns = 0
        self.detail: str | None = None

    @property
    def is_streamed(self) -> bool:
        return self._body_kind != "json"

    @property
    def tokens(self) -> Tokens:
        return self._counter.tokens() if self._decoded_response is None else self._decoded_response.tokens

    def feed(self, piece: bytes, received_ns: int) -> str | None:
        if self._body_kind != "events":
            return self._detect_and_feed(piece, received_ns)
        self._last_received_ns = received_ns
        handle_event, splitter = self._handle_event, self._splitter
        for data, name in splitter.feed(piece):
            error = handle_event(data, name, received_ns)
            if error is not None:
                return self._set_failure(error)
        return self._set_failure("bad-payload", _TOO_LONG_DETAIL) if splitter.is_too_long else None

    def end(self, headers: Headers) -> str | None:
        """Finish reading after the body has ended. Return the error class of the response, or None
        if it is valid. This method must be called only once."""
        if self._body_kind == "json":
            self._decoded_response = decode_response(self._api, bytes(self._body), count_tokens=self._count_tokens)
            self.detail = self._decoded_response.detail
            return self._decoded_response.error
        if self._handle_unterminated_event() == "bad-output":
            return self._set_failure("bad-output")
        if self._event_handler.is_complete:
            return self._set_failure("bad-output", NO_OUTPUT_DETAIL) if self._counter.is_empty else None
        is_event_stream = b"text/event-stream" in (find_header(headers, b"content-type") or b"").lower()
        if is_event_stream or self._counter.has_begun:
            return self._set_failure("truncated")
        return self._set_failure("bad-payload", "the response is neither an event stream nor JSON")

    def _set_failure(self, error: str, detail: str | None = None) -> str:
        self.detail = detail or _ERROR_DETAILS[error]
        return error

    def _detect_and_feed(self, piece: bytes, received_ns: int) -> str | None:
        """Read a piece of the body. Detect from the first non-whitespace byte of the body whether
        the body is JSON or an event stream."""
        self._body += piece
        if self._body_kind == "json":
            return self._set_failure("bad-payload", _TOO_LONG_DETAIL) if len(self._body) > MAX_EVENT_BYTES else None
        body_start = bytes(self._body).lstrip(_WHITESPACE)
        is_partial_bom = len(body_start) < 4 and _BOM.startswith(body_start[:3])
        body_start = body_start.removeprefix(_BOM).lstrip(_WHITESPACE)
        if (is_partial_bom or not body_start) and len(self._body) < _MAX_WHITESPACE_BYTES:
            return None
        if body_start.startswith(b"{"):
            self._body_kind, self._body = "json", bytearray(body_start)
            return None
        buffered_body, self._body = bytes(self._body), bytearray()
        self._body_kind = "events"
        return self.feed(buffered_body, received_ns)

    def _handle_unterminated_event(self) -> str | None:
        """Handle the last event if the blank line that terminates an event is missing. Return the
        error class of the event, or None."""
        error = None
        for data, name in self._splitter.finish():
            error = self._handle_event(data, name, self._last_received_ns)
        return error
