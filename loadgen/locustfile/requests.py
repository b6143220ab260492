"""Locust's request events as rows.

What Locust's clients raise, as the error classes of `loadgen.records`.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa

from loadgen.plain import plain_line
from loadgen.protocols.built import status_error, status_in_words
from loadgen.records import BATCH_ROWS, MOST_OF_A_SAMPLE, REQUEST_SCHEMA, FirstError
from loadgen.transport.exchange import LOCAL_LIMIT, is_local_limit

_DEPTH = 8

_BY_NAME = {
    "NameResolutionError": "dns",
    "SSLError": "tls",
    "ConnectTimeout": "connect",
    "ConnectTimeoutError": "connect",
    "NewConnectionError": "connect",
    "ReadTimeout": "timeout",
    "ReadTimeoutError": "timeout",
    "IncompleteRead": "truncated",
    "ChunkedEncodingError": "truncated",
    "RemoteDisconnected": "send",
    "HTTPConnectionClosed": "send",
}
"""Of requests, urllib3, http.client and geventhttpclient, none of which a test has to use."""


def error_class(exception: object, status: int | None) -> str | None:
    """One of ERROR_CLASSES, None for a success: what the test itself calls a failure is `bad-output`."""
    if exception is None:
        return None
    if status is not None:
        return _by_cause(exception, "bad-output") if status < 400 else status_error(status)
    return _by_cause(exception, "bad-output")


def what_failed(exception: object, status: int | None) -> str:
    """In words that hold nothing of what was asked or answered, as an exception's own may: its kind, and what the
    system said."""
    parts = [] if status is None else [status_in_words(status)]
    cause = next(_causes(exception, _DEPTH), None)
    if cause is not None:
        number = cause.errno if isinstance(cause, OSError) else None
        parts.append(type(cause).__name__ + (f": {os.strerror(number)}" if number is not None and number > 0 else ""))
    elif status is None or status < 400:
        parts.append("the test calls it a failure")
    return plain_line(", ".join(parts), MOST_OF_A_SAMPLE)


def _by_cause(exception: object, otherwise: str) -> str:
    for cause in _causes(exception, _DEPTH):
        if is_local_limit(cause):
            return LOCAL_LIMIT
        for kind in type(cause).__mro__:
            if (error := _BY_NAME.get(kind.__name__)) is not None:
                return error
        match cause:
            case socket.gaierror():
                return "dns"
            case ssl.SSLError():
                return "tls"
            case ConnectionRefusedError():
                return "connect"
            case TimeoutError():
                return "timeout"
            case ConnectionResetError() | BrokenPipeError() | ConnectionAbortedError():
                return "send"
    return otherwise


def _causes(exception: object, depth: int) -> Iterator[BaseException]:
    """The innermost first: the outermost says least of what happened."""
    if not isinstance(exception, BaseException) or depth == 0:
        return
    inner = (getattr(exception, "reason", None), exception.__cause__, exception.__context__, *exception.args)
    for cause in inner:
        if cause is not exception:
            yield from _causes(cause, depth - 1)
    yield exception


_MOST_BYTES = 2**31 - 1
_MOST_OF_A_NAME = 300


class RequestRow(msgspec.Struct, frozen=True, gc=False):
    """What a request event tells; the other columns of a row cannot be known."""

    stage: int
    index: int
    sent_ns: int
    end_ns: int
    status: int | None
    error: str | None
    bytes_received: int
    name: str
    worker: int = 0


class RequestLog:
    """Listens to Locust. `index` counts requests in the order they ended, for when they came due nobody knows."""

    def __init__(self) -> None:
        self.rows: deque[RequestRow] = deque()
        self.stage = 0
        self.completed = self.failed = 0
        self._first_errors: dict[str, FirstError] = {}

    @property
    def first_errors(self) -> tuple[FirstError, ...]:
        """Of the stage, one a class."""
        return tuple(self._first_errors.values())

    def begin(self, stage: int) -> None:
        self.rows.clear()
        self._first_errors.clear()
        self.stage, self.completed, self.failed = stage, 0, 0

    def heard(
        self,
        request_type: object,
        name: object,
        response_time: float | None,
        response_length: object,
        exception: object = None,
        response: object = None,
        start_time: float | None = None,
        **_: Any,
    ) -> None:
        sent_ns, end_ns = _times(response_time, start_time, time.perf_counter_ns(), time.time_ns())
        status = getattr(response, "status_code", None)
        status = status if isinstance(status, int) and 100 <= status <= 599 else None
        error = error_class(exception, status)
        index = self.completed + self.failed
        if error is None:
            self.completed += 1
        else:
            self.failed += 1
            if error not in self._first_errors:
                self._first_errors[error] = FirstError(error, end_ns, what_failed(exception, status))
        length = response_length if isinstance(response_length, int) else 0
        # a test may name its requests by what is no text
        shown = f"{request_type} {name}"[:_MOST_OF_A_NAME].encode(errors="replace").decode()
        self.rows.append(
            RequestRow(self.stage, index, sent_ns, end_ns, status, error, min(max(length, 0), _MOST_BYTES), shown)
        )

    def take(self) -> pa.RecordBatch | None:
        """The next rows, as many as one batch holds."""
        count = min(len(self.rows), BATCH_ROWS)
        return _batch([self.rows.popleft() for _ in range(count)]) if count else None


def _times(response_time_ms: float | None, start_s: float | None, now_ns: int, wall_ns: int) -> tuple[int, int]:
    """Sent and end on the monotonic clock.

    Locust tells the start on the wall clock, and how long it took on its monotonic one. What the wall clock says the
    start was ago is taken, unless it was set meanwhile: a request cannot have ended after it was told of.
    """
    took_ns = round((response_time_ms or 0.0) * 1e6)
    if start_s is not None:
        sent_ns = now_ns - (wall_ns - round(start_s * 1e9))
        if sent_ns + took_ns <= now_ns and response_time_ms is not None:
            return sent_ns, sent_ns + took_ns
    return now_ns - took_ns, now_ns


def _batch(rows: list[RequestRow]) -> pa.RecordBatch:
    columns = [
        pa.array([getattr(row, field.name) for row in rows], field.type)
        if field.name in RequestRow.__struct_fields__
        else pa.nulls(len(rows), field.type)
        for field in REQUEST_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(columns, schema=REQUEST_SCHEMA)
