"""Convert Locust's request events to rows, and exceptions of HTTP clients to the error classes of
`loadgen.records`."""

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

from loadgen.protocols.prepared import classify_status, format_status
from loadgen.records import BATCH_ROWS, MAX_SAMPLE_CHARS, REQUEST_SCHEMA, FirstError
from loadgen.sanitizing import sanitize_line
from loadgen.transport.exchange import LOCAL_LIMIT, is_local_limit_error

_MAX_CAUSE_DEPTH = 8

_ERROR_CLASS_BY_TYPE_NAME = {
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
"""Error classes by the names of exception types of requests, urllib3, http.client and
geventhttpclient. The types are identified by name, because these libraries may not be installed."""


def classify_error(exception: object, status: int | None) -> str | None:
    """Return the error class of a request (one of ERROR_CLASSES), or None if the request succeeded.
    Requests that the test itself marks as failures are `bad-output`."""
    if exception is None:
        return None
    if status is not None:
        return _classify_by_cause(exception, "bad-output") if status < 400 else classify_status(status)
    return _classify_by_cause(exception, "bad-output")


def describe_failure(exception: object, status: int | None) -> str:
    """Describe a failed request by its HTTP status, its exception type and the error message of the
    OS.

    The message of the exception is omitted, because it may contain parts of the request or
    response.
    """
    parts = [] if status is None else [format_status(status)]
    cause = next(_iterate_causes(exception, _MAX_CAUSE_DEPTH), None)
    if cause is not None:
        error_number = cause.errno if isinstance(cause, OSError) else None
        parts.append(
            type(cause).__name__
            + (f": {os.strerror(error_number)}" if error_number is not None and error_number > 0 else "")
        )
    elif status is None or status < 400:
        parts.append("the test marked the request as a failure")
    return sanitize_line(", ".join(parts), MAX_SAMPLE_CHARS)


def _classify_by_cause(exception: object, default: str) -> str:
    for cause in _iterate_causes(exception, _MAX_CAUSE_DEPTH):
        if is_local_limit_error(cause):
            return LOCAL_LIMIT
        for exception_type in type(cause).__mro__:
            if (error := _ERROR_CLASS_BY_TYPE_NAME.get(exception_type.__name__)) is not None:
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
    return default


def _iterate_causes(exception: object, depth: int) -> Iterator[BaseException]:
    """Yield an exception and its causes, innermost first. The innermost cause is the most
    specific."""
    if not isinstance(exception, BaseException) or depth == 0:
        return
    inner_values = (getattr(exception, "reason", None), exception.__cause__, exception.__context__, *exception.args)
    for cause in inner_values:
        if cause is not exception:
            yield from _iterate_causes(cause, depth - 1)
    yield exception


_MAX_BYTES = 2**31 - 1
_MAX_NAME_CHARS = 300


class RequestRow(msgspec.Struct, frozen=True, gc=False):
    """Columns of a request row that Locust's request event provides. All other columns are null."""

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
    """Collector of Locust's request events as rows.

    `index` numbers the requests in the order in which they ended, because Locust does not report
    when they were due.
    """

    def __init__(self) -> None:
        self.rows: deque[RequestRow] = deque()
        self.stage = 0
        self.completed_count = self.failed_count = 0
        self._first_errors: dict[str, FirstError] = {}

    @property
    def first_errors(self) -> tuple[FirstError, ...]:
        """First failure of each error class in the current stage."""
        return tuple(self._first_errors.values())

    def begin_stage(self, stage_index: int) -> None:
        self.rows.clear()
        self._first_errors.clear()
        self.stage, self.completed_count, self.failed_count = stage_index, 0, 0

    def on_request(
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
        sent_ns, end_ns = _compute_times_ns(response_time, start_time, time.perf_counter_ns(), time.time_ns())
        status = getattr(response, "status_code", None)
        status = status if isinstance(status, int) and 100 <= status <= 599 else None
        error = classify_error(exception, status)
        index = self.completed_count + self.failed_count
        if error is None:
            self.completed_count += 1
        else:
            self.failed_count += 1
            if error not in self._first_errors:
                self._first_errors[error] = FirstError(error, end_ns, describe_failure(exception, status))
        response_bytes = response_length if isinstance(response_length, int) else 0
        # A test may pass request names that cannot be encoded as UTF-8.
        display_name = f"{request_type} {name}"[:_MAX_NAME_CHARS].encode(errors="replace").decode()
        self.rows.append(
            RequestRow(
                self.stage, index, sent_ns, end_ns, status, error, min(max(response_bytes, 0), _MAX_BYTES), display_name
            )
        )

    def pop_batch(self) -> pa.RecordBatch | None:
        """Remove the next rows (at most BATCH_ROWS) and return them as one batch; None if there are
        no rows."""
        count = min(len(self.rows), BATCH_ROWS)
        return _build_batch([self.rows.popleft() for _ in range(count)]) if count else None


def _compute_times_ns(
    response_time_ms: float | None, start_s: float | None, now_ns: int, wall_ns: int
) -> tuple[int, int]:
    """Return the send and end times of a request in ns on the monotonic clock.

    Locust reports the send time on the wall clock and the duration on the monotonic clock. If the
    reported send time plus the duration is in the future, the wall clock has been adjusted. The
    request is then assumed to end now.
    """
    duration_ns = round((response_time_ms or 0.0) * 1e6)
    if start_s is not None:
        sent_ns = now_ns - (wall_ns - round(start_s * 1e9))
        if sent_ns + duration_ns <= now_ns and response_time_ms is not None:
            return sent_ns, sent_ns + duration_ns
    return now_ns - duration_ns, now_ns


def _build_batch(rows: list[RequestRow]) -> pa.RecordBatch:
    columns = [
        pa.array([getattr(row, field.name) for row in rows], field.type)
        if field.name in RequestRow.__struct_fields__
        else pa.nulls(len(rows), field.type)
        for field in REQUEST_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(columns, schema=REQUEST_SCHEMA)
