"""Prepared workloads: a protocol's requests as bytes and the check of its responses.

Also how a protocol queries the target before its requests can be built, for example for a model's metadata.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http.client import responses
from typing import Protocol

import msgspec

from loadgen.transport.exchange import Exchange, StreamReader, Tokens

MAX_REQUESTS_BYTES = 256 * 2**20
"""Memory limit in bytes for the requests, which are built before the run. Requests beyond it are omitted, with a
note."""


class WorkloadError(Exception):
    """Raised when the workload cannot produce requests; `hint` is a suggested change."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ResponseCheck(msgspec.Struct, frozen=True):
    """Result of checking a response.

    `error` is one of ERROR_CLASSES, or None if the response is as the protocol promises. `correct_rows` is the number
    of rows that match their labels, or None if there are no labels. `note` is an observation about the target for the
    result.
    """

    error: str | None = None
    correct_rows: int | None = None
    note: str | None = None


RESPONSE_OK = ResponseCheck()

CheckResponse = Callable[[Exchange], ResponseCheck]
"""Function that checks a complete response, streamed or not. It may set the exchange's `tokens`."""


Identify = Callable[[Exchange, Callable[[bytes], Awaitable[Exchange]]], Awaitable[ResponseCheck]]
"""Function that checks whether the server implements the protocol.

It is called in the preflight with a valid response and a function that sends another request. It may set the exchange's
`detail`.
"""


class Sessions(msgspec.Struct, frozen=True):
    """Order of requests in sessions.

    `next_number[n]` is the request after the response to request n, or None at a session's end; the pause before it is
    `think_ns[n]`.
    """

    next_number: Sequence[int | None]
    think_ns: Sequence[int]


class PreparedWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """A workload that is ready to be sent.

    Arrival i sends request `picks[i % len(picks)]`, or all requests in turn if there are no picks. `shown` is the
    method and URL as text without secrets. `new_reader` creates the reader of a streamed response. `max_output_tokens`
    has the maximum number of output tokens of each request. `notes` are for the result: what is approximate, and what
    was omitted.
    """

    requests: list[bytes]
    check: CheckResponse
    label: str
    is_head: bool = False
    new_reader: Callable[[], StreamReader] | None = None
    picks: Sequence[int] | None = None
    max_output_tokens: Sequence[int | None] | None = None
    sessions: Sessions | None = None
    distinct_prompts: int | None = None
    """Number of distinct prompts in the requests; None if they contain no prompts."""
    notes: tuple[str, ...] = ()
    identify: Identify | None = None


def check_response(check: CheckResponse, exchange: Exchange) -> ResponseCheck:
    """Return the result of `check` if a response was received, or else the transport's error."""
    if exchange.error is not None or exchange.status is None:
        return ResponseCheck(exchange.error)
    try:
        return check(exchange)
    except Exception:  # an exception raised into the parser would lose the request's row
        return ResponseCheck("bad-payload")


def get_tokens(exchange: Exchange) -> Tokens | None:
    return exchange.tokens if exchange.reader is None else exchange.reader.tokens


def classify_status(status: int) -> str | None:
    """Return the error class of a status code, or None for 2xx. Redirects are not followed, so they are errors."""
    if 200 <= status < 300:
        return None
    if status >= 500:
        return "http-5xx"
    return "http-4xx" if status >= 400 else "bad-payload"


SendRequest = Callable[[bytes], Awaitable[Exchange]]
"""Function that sends one serialized request and returns the complete response, successful or not."""


class SendGrpcRequest(Protocol):
    """An Ask that also takes the gRPC method, if it is not that of the workload."""

    def __call__(self, request: bytes, method: str = "", /) -> Awaitable[Exchange]: ...


class TargetError(Exception):
    """Raised when the target cannot be used.

    `error` is one of ERROR_CLASSES; the message is a sentence for the user.
    """

    def __init__(self, message: str, error: str, status: int | None = None) -> None:
        super().__init__(message)
        self.error, self.status = error, status


async def request_or_raise(request: bytes, label: str, send: SendRequest) -> Exchange:
    """Send a request and return its successful response. Raises TargetError for any other.

    `label` is the method and URL as text.
    """
    exchange = await send(request)
    error = exchange.error
    if error is None and exchange.status is not None:
        error = classify_status(exchange.status)
    if error is not None:
        raise TargetError(describe_outcome(label, exchange, error), error, exchange.status)
    return exchange


_ERROR_TEXTS = {
    "connect": "no connection",
    "tls": "no trusted TLS connection",
    "send": "the connection was closed without a response",
    "timeout": "no complete response before the timeout",
    "truncated": "the response was truncated",
    "bad-payload": "the response does not conform to the protocol",
    "bad-output": "the response is well-formed but wrong",
}


def describe_outcome(shown: str, exchange: Exchange, error: str | None) -> str:
    """Describe the outcome from facts without secrets: neither headers nor the body, which may echo them."""
    if error is None:
        status = [] if exchange.status is None else [f"status {exchange.status}"]
        return f"{', '.join((shown, *status))}: as expected"
    return ", ".join((shown, *_failure_parts(exchange, error)))


def describe_failure(exchange: Exchange, error: str) -> str:
    """Describe a failure like `describe_outcome`, without the method and URL."""
    return ", ".join(_failure_parts(exchange, error)) or error


def format_status(status: int) -> str:
    """Return a status code with the standard's reason phrase, because a server's own may repeat a secret."""
    phrase = responses.get(status)
    return f"status {status}" if phrase is None else f"status {status} ({phrase})"


def _failure_parts(exchange: Exchange, error: str) -> list[str]:
    status = exchange.status
    parts = [] if status is None else [format_status(status)]
    if status is not None and 300 <= status < 400:
        return [*parts, "redirects are not followed"]
    return [*parts, *filter(None, (_ERROR_TEXTS.get(error), exchange.detail))]
