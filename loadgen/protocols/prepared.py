"""Prepared workloads: the serialized requests of a protocol and the check of its responses.

The module also defines how a protocol queries the target before it builds requests, for example for
model metadata.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http.client import responses
from typing import Protocol

import msgspec

from loadgen.transport.exchange import Exchange, StreamReader, Tokens

MAX_REQUESTS_BYTES = 256 * 2**20
"""Memory limit in bytes for the requests, which are built before the run. Requests beyond the limit
are omitted, which a note in the result reports."""


class WorkloadError(Exception):
    """Raised when the workload cannot produce requests; `hint` suggests a change of the
    workload."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ResponseCheck(msgspec.Struct, frozen=True):
    """Result of checking a response.

    `error` is one of ERROR_CLASSES, or None if the response conforms to the protocol.
    `correct_rows` is the number of rows that match their labels, or None if there are no labels.
    `note` is an observation about the target, for the result.
    """

    error: str | None = None
    correct_rows: int | None = None
    note: str | None = None


RESPONSE_OK = ResponseCheck()

CheckResponse = Callable[[Exchange], ResponseCheck]
"""Function that checks a complete response, streamed or not. It may set the `tokens` of the
exchange."""


IdentifyServer = Callable[[Exchange, Callable[[bytes], Awaitable[Exchange]]], Awaitable[ResponseCheck]]
"""Function that checks whether the server implements the protocol.

The preflight calls it with a valid response and a function that sends a further request. It may set
the `detail` of the exchange.
"""


class Sessions(msgspec.Struct, frozen=True):
    """Order of the prepared requests in sessions, by request index.

    `next_request_index[n]` is the index of the request that follows request n in the session, or
    None at the end of the session. `think_ns[n]` is the think time in ns between the response to
    request n and the next request.
    """

    next_request_index: Sequence[int | None]
    think_ns: Sequence[int]


class PreparedWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """A workload whose requests are ready to be sent.

    Arrival i sends request `request_indices[i % len(request_indices)]`; without `request_indices`,
    arrivals send all requests in order, repeatedly. `label` is the method and URL without secrets.
    `new_reader` creates the reader of a streamed response. `max_output_tokens` has the maximum
    number of output tokens of each request. `notes` are sentences for the result about
    approximations and omitted requests.
    """

    requests: list[bytes]
    check: CheckResponse
    label: str
    is_head: bool = False
    new_reader: Callable[[], StreamReader] | None = None
    request_indices: Sequence[int] | None = None
    max_output_tokens: Sequence[int | None] | None = None
    sessions: Sessions | None = None
    distinct_prompts: int | None = None
    """Number of distinct prompts in the requests; None if the requests contain no prompts."""
    notes: tuple[str, ...] = ()
    identify: IdentifyServer | None = None


def check_response(check: CheckResponse, exchange: Exchange) -> ResponseCheck:
    """Return the result of `check` if a response was received, otherwise the error of the
    transport. An exception in `check` counts as `bad-payload`."""
    if exchange.error is not None or exchange.status is None:
        return ResponseCheck(exchange.error)
    try:
        return check(exchange)
    except Exception:  # an exception in the parser would lose the row of the request
        return ResponseCheck("bad-payload")


def get_tokens(exchange: Exchange) -> Tokens | None:
    return exchange.tokens if exchange.reader is None else exchange.reader.tokens


def classify_status(status: int) -> str | None:
    """Return the error class of a status code, or None for 2xx. Redirects are errors, because they
    are not followed."""
    if 200 <= status < 300:
        return None
    if status >= 500:
        return "http-5xx"
    return "http-4xx" if status >= 400 else "bad-payload"


SendRequest = Callable[[bytes], Awaitable[Exchange]]
"""Function that sends one serialized request and returns the complete response, successful or
not."""


class SendGrpcRequest(Protocol):
    """Function that sends one request like SendRequest, optionally with a gRPC method other than
    the workload's."""

    def __call__(self, request: bytes, method: str = "", /) -> Awaitable[Exchange]: ...


class TargetError(Exception):
    """Raised when the target cannot be used.

    `error` is one of ERROR_CLASSES; the message is a sentence for the user.
    """

    def __init__(self, message: str, error: str, status: int | None = None) -> None:
        super().__init__(message)
        self.error, self.status = error, status


async def request_or_raise(request: bytes, label: str, send: SendRequest) -> Exchange:
    """Send a request and return its successful response. Raises TargetError if the request fails.

    `label` is the method and URL for the error message.
    """
    exchange = await send(request)
    error = exchange.error
    if error is None and exchange.status is not None:
        error = classify_status(exchange.status)
    if error is not None:
        raise TargetError(describe_outcome(label, exchange, error), error, exchange.status)
    return exchange


_ERROR_TEXTS = {
    "connect": "the connection failed",
    "tls": "the TLS connection failed",
    "send": "the connection was closed without a response",
    "timeout": "no complete response before the timeout",
    "truncated": "the response was truncated",
    "bad-payload": "the response does not conform to the protocol",
    "bad-output": "the response is well-formed but wrong",
}


def describe_outcome(label: str, exchange: Exchange, error: str | None) -> str:
    """Describe the outcome of a request by `label` and status or error. Headers and body are never
    included, because they may contain secrets."""
    if error is None:
        status = [] if exchange.status is None else [f"status {exchange.status}"]
        return f"{', '.join((label, *status))}: as expected"
    return ", ".join((label, *_describe_failure_parts(exchange, error)))


def describe_failure(exchange: Exchange, error: str) -> str:
    """Describe a failure like `describe_outcome`, without the method and URL."""
    return ", ".join(_describe_failure_parts(exchange, error)) or error


def format_status(status: int) -> str:
    """Format a status code with its standard reason phrase; the phrase of the server is not used,
    because it may contain a secret."""
    phrase = responses.get(status)
    return f"status {status}" if phrase is None else f"status {status} ({phrase})"


def _describe_failure_parts(exchange: Exchange, error: str) -> list[str]:
    status = exchange.status
    parts = [] if status is None else [format_status(status)]
    if status is not None and 300 <= status < 400:
        return [*parts, "redirects are not followed"]
    return [*parts, *filter(None, (_ERROR_TEXTS.get(error), exchange.detail))]
