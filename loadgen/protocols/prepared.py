"""Prepared workloads: the serialized requests of a protocol, and the check of the responses.

A protocol can query the target before it builds the requests, for example for a model's metadata.
The module also defines the functions for such queries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http.client import responses
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from loadgen.payloads.sessions import SessionGraph
from loadgen.records import KeyFile
from loadgen.regular_files import open_regular
from loadgen.transport.exchange import CallKind, Exchange, Headers, StreamReader, Tokens, find_header

MAX_REQUESTS_BYTES = 256 * 2**20
"""Memory limit in bytes for all prepared requests of a workload. Requests beyond the limit are
omitted, and a note in the result reports the omission."""


class WorkloadError(Exception):
    """Error that is raised when no requests can be built for the workload; `hint` suggests what to
    change."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ResponseCheck(msgspec.Struct, frozen=True):
    """Result of checking a response.

    `error` is one of ERROR_CLASSES, or None if the response is valid. `correct_rows` is the number
    of rows whose predicted class matches the label, or None without labels. `note` is an
    observation about the target, for the result.
    """

    error: str | None = None
    correct_rows: int | None = None
    note: str | None = None


RESPONSE_OK = ResponseCheck()
_MAX_LOCATION_LENGTH = 200

CheckResponse = Callable[[Exchange], ResponseCheck]
"""Function that checks a complete response, streamed or not. The function may set the exchange's
`tokens`."""


IdentifyServer = Callable[[Exchange, Callable[[bytes], Awaitable[Exchange]]], Awaitable[ResponseCheck]]
"""Function that checks whether the server implements the protocol.

The preflight calls the function with an exchange whose response is valid, and with a function that
sends another request. The function may set the exchange's `detail`.
"""


class Sessions(msgspec.Struct, frozen=True):
    """Order of the prepared requests in sessions, by request index.

    `next_request_indices[n]` is the index of the request that follows request n in the session, or
    None if request n is the last. `think_times_ns[n]` is the think time in ns between the response
    to request n and the next request.
    """

    next_request_indices: Sequence[int | None]
    think_times_ns: Sequence[int]


class ToolCallRecord(msgspec.Struct, frozen=True, gc=False):
    """Tool call of a response. `arguments` is a JSON object as text."""

    call_id: str
    name: str
    arguments: str


class CollectedResponse(msgspec.Struct, frozen=True, gc=False):
    """Content of a response that later requests of its session contain.

    `char_count` is the total length of its texts. `reasoning` is the field of a chat message with
    the reasoning, as name and text. `items` are the encoded output items of the Responses API,
    which replace the text, the reasoning and the calls there. `tokens_in` is None if the server did
    not report it; `tokens_out` is then an estimate.
    """

    tokens_in: int | None
    tokens_out: int
    char_count: int

    text: str = ""
    reasoning: tuple[str, str] | None = None
    calls: tuple[ToolCallRecord, ...] = ()
    items: tuple[bytes, ...] = ()


class SessionHttpRequest(msgspec.Struct, frozen=True, gc=False):
    """Serialized request of a session.

    The conversation is `data[start:end]`, and the body begins at `body_start`. `head` is the object
    that identifies the version of the headers, or None if the request was prepared before the
    stage. `context_tokens` is the estimated length of the prompt.
    """

    data: bytes
    body_start: int
    start: int
    end: int
    context_tokens: int
    head: bytes | None = None


class LiveSessions(Protocol):
    """Sessions whose requests contain the server's own responses.

    All functions are called on the sending thread. `first` is the index of a session's first
    request among the prepared requests. Request n of the session has the index `first` + n.
    """

    def get_graph(self, first: int) -> SessionGraph: ...

    def has_live_history(self, first: int) -> bool:
        """Return False if the requests of the session are prepared, although those of other classes
        of the mix are not."""
        ...

    def get_context_limit(self, first: int) -> int | None:
        """Return the maximum number of tokens of a request of the session, including its output;
        None for no limit."""
        ...

    def build_first(self, first: int, session: str) -> SessionHttpRequest:
        """Return the first request of a session. `session` identifies the session within the
        run."""
        ...

    def collect(self, first: int, exchange: Exchange, body: bytes) -> CollectedResponse | None:
        """Return the content of a successful response of the session. Return None if later requests
        cannot contain the response, because a tool call is malformed or the texts are too large."""
        ...

    def build_next(
        self, first: int, index: int, parents: Sequence[tuple[SessionHttpRequest, CollectedResponse]]
    ) -> SessionHttpRequest:
        """Build request `index` of a session from the requests and the responses that are its
        parents."""
        ...

    def renew(self, first: int, request: SessionHttpRequest) -> bytes:
        """Return a request as it must be sent now: with the current API keys in its headers."""
        ...

    def use_requests(self, requests: Sequence[bytes]) -> None:
        """Use these prepared requests, with the same indices, instead of the workload's own. They
        are the ones in which API keys are renewed."""
        ...


class RequestClasses(msgspec.Struct, frozen=True):
    """Classes of the prepared requests of a mix.

    `indices[n]` is the class of request n, as an index of `names`. `labels` has the method and URL
    of each class without secrets, and `first_requests` the index of its first request.
    """

    names: tuple[str, ...]
    indices: Sequence[int]
    labels: tuple[str, ...]
    first_requests: tuple[int, ...]


class OutputCheck(msgspec.Struct, frozen=True):
    """Content of a successful response: its number of tool calls, and whether its text is valid.
    `is_valid` is None for a response that is not checked. `detail` is the reason why the response
    is invalid, without any of its content."""

    tool_calls: int = 0
    is_valid: bool | None = None
    detail: str | None = None


CheckOutput = Callable[[Exchange], OutputCheck | None]
"""Check of the content of a response; it returns None for a response whose class has no check."""


class PreparedWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """Workload whose requests are ready to be sent.

    Arrival i of a stage whose plan has the first request f sends request `request_indices[(f + i) %
    len(request_indices)]`. Without `request_indices`, the requests are sent in order, repeatedly.
    `label` is the method and URL without secrets.
    `new_reader` creates the reader of a streamed response. `max_output_tokens` has the maximum
    number of output tokens for each request. `notes` are sentences for the result about
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
    live_sessions: LiveSessions | None = None
    """Sessions whose further requests are built during the stage. `requests` then contains only the
    first request of each session, with empty bytes in place of the further requests."""
    distinct_prompts: int | None = None
    """Number of distinct prompts among the prepared requests; None if the requests have no
    prompts."""
    notes: tuple[str, ...] = ()
    identify_server: IdentifyServer | None = None
    classes: RequestClasses | None = None
    """Classes of the requests; None if the workload is no mix."""
    check_output: CheckOutput | None = None
    """Check of the content of a successful response, which takes too long for the sending thread:
    another thread calls the function before the row of the response is built."""
    preflight_requests: Mapping[int, bytes] = {}
    """Requests that the preflight sends instead of the prepared requests with these indices, so that
    a server's prefix cache does not contain the prompts of the load before the load."""
    call_kind: CallKind | None = None
    """How the gRPC method is called, if only its descriptor states it; None for other workloads."""


def limit_total_size(requests: Iterable[bytes]) -> tuple[list[bytes], bool]:
    """Return the first requests that fit into the memory limit, and True if requests were
    omitted."""
    encoded_requests: list[bytes] = []
    total_bytes = 0
    for request in requests:
        total_bytes += len(request)
        if total_bytes > MAX_REQUESTS_BYTES:
            return encoded_requests, True
        encoded_requests.append(request)
    return encoded_requests, False


def check_response(check: CheckResponse, exchange: Exchange) -> ResponseCheck:
    """Check the response of an exchange with `check`. Without a response, return the transport's
    error. An exception in `check` counts as `bad-payload`."""
    if exchange.error is not None or exchange.status is None:
        return ResponseCheck(exchange.error)
    try:
        return check(exchange)
    except Exception:  # an exception in the parser would lose the row of the request
        return ResponseCheck("bad-payload")


def get_tokens(exchange: Exchange) -> Tokens | None:
    return exchange.tokens if exchange.reader is None else exchange.reader.tokens


def classify_status(status: int) -> str | None:
    """Return the error class of an HTTP status code, or None for 2xx. Redirects count as errors,
    because they are not followed."""
    if 200 <= status < 300:
        return None
    if status >= 500:
        return "http-5xx"
    return "http-4xx" if status >= 400 else "bad-payload"


_MAX_KEY_BYTES = 64 * 1024


def read_key(key_file: KeyFile) -> str:
    """Read the value of a header from the key file. Raises WorkloadError if the file cannot be read or
    contains more than a key."""
    try:
        with open_regular(key_file.path) as stream:
            text = stream.read(_MAX_KEY_BYTES + 1).decode("ascii").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise WorkloadError(f"the key file {key_file.path} cannot be read: {reason}") from error
    if not text or len(text) > _MAX_KEY_BYTES or not text.isprintable():
        raise WorkloadError(f"the key file {key_file.path} must contain only the key, on a single line")
    return key_file.prefix + text


SendRequest = Callable[[bytes], Awaitable[Exchange]]
"""Function that sends one serialized request and returns the exchange with the complete response,
successful or not."""


class SendGrpcRequest(Protocol):
    """Function that sends one serialized request, optionally with a different gRPC method than the
    workload's, and returns the exchange with the complete response."""

    def __call__(self, request: bytes, method: str = "", /) -> Awaitable[Exchange]: ...


class TargetError(Exception):
    """Error that is raised when the target cannot be used.

    `error` is one of ERROR_CLASSES; the message is a sentence for the user.
    """

    def __init__(self, message: str, error: str, status: int | None = None) -> None:
        super().__init__(message)
        self.error, self.status = error, status


async def request_or_raise(request: bytes, label: str, send: SendRequest) -> Exchange:
    """Send a request and return the exchange with the successful response. Raises TargetError if
    the request fails.

    `label` is the method and URL of the request, for the error message.
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
    "timeout": "the request timed out",
    "truncated": "the response was truncated",
    "bad-payload": "the response does not conform to the protocol",
    "bad-output": "the response is well-formed but wrong",
}


def describe_outcome(label: str, exchange: Exchange, error: str | None) -> str:
    """Describe the outcome of a request in one line: `label`, and the status or the error. Headers
    and body are never included, because they may contain secrets."""
    if error is None:
        status_parts = [] if exchange.status is None else [f"status {exchange.status}"]
        return f"{', '.join((label, *status_parts))}: the response is as expected"
    return ", ".join((label, *_describe_failure_parts(exchange, error)))


def describe_failure(exchange: Exchange, error: str) -> str:
    """Describe a failed request by its status or error in one line, without its method and URL."""
    return ", ".join(_describe_failure_parts(exchange, error)) or error


def format_status(status: int) -> str:
    """Format an HTTP status code with its standard reason phrase. The server's own phrase is not
    used, because it may contain a secret."""
    phrase = responses.get(status)
    return f"status {status}" if phrase is None else f"status {status} ({phrase})"


def _find_location(headers: Headers) -> str | None:
    """Return where a redirect leads, without its query and user name, which may contain secrets; `None` if
    that is unknown."""
    value = find_header(headers, b"location")
    try:
        parts = urlsplit((value or b"").decode("ascii"))
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2]
    location = f"{parts.scheme}://{host}{parts.path}" if host else parts.path
    return location[:_MAX_LOCATION_LENGTH] if location and location.isprintable() else None


def _describe_failure_parts(exchange: Exchange, error: str) -> list[str]:
    status = exchange.status
    parts = [] if status is None else [format_status(status)]
    if status is not None and 300 <= status < 400:
        location = _find_location(exchange.headers)
        return [
            *parts,
            "redirects are not followed" if location is None else f"redirects are not followed (to {location})",
        ]
    if error == "bad-output" and exchange.detail is not None:  # The detail states what is wrong.
        return [*parts, exchange.detail]
    return [*parts, *filter(None, (_ERROR_TEXTS.get(error), exchange.detail))]
