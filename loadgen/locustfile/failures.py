"""What Locust's clients raise, as the error classes of `loadgen.records`."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator

from loadgen.plain import plain_line
from loadgen.protocols.asking import status_in_words
from loadgen.protocols.built import status_error
from loadgen.records import MOST_OF_A_SAMPLE
from loadgen.transport.local_limits import LOCAL_LIMIT, is_local_limit

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
