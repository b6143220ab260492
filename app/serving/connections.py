"""Enforce the limits of the endpoint on connections and request bodies, and authorize requests.

Connections that exceed a limit are closed. An endpoint that other machines can reach requires a
token. One that only this machine can reach rejects the requests of web pages.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from secrets import token_urlsafe
from time import perf_counter_ns
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.serving.settings import ConnectionLimits
from loadgen.machine import never_leaves_machine

Header = tuple[bytes, bytes]
RETRY_HEADER = (b"retry-after", b"1")
ARRIVED_NS = "sizewise.arrived_ns"
"""Key of the arrival of a request in its ASGI scope, in ns on the monotonic clock. A handler starts later
if the event loop is busy."""
_UNAUTHENTICATED_PATHS = ("/v2/health/live", "/v2/health/ready", "/health")
"""Paths that require no token: the health checks for load balancers and orchestrators, which reveal
nothing about the model."""


def resolve_token(address: str, explicit_token: str | None) -> str | None:
    """Return the token that requests must include: `explicit_token`, or a new token if other
    machines can reach `address`. Return `None` for a loopback address without `explicit_token`."""
    if explicit_token is not None:
        return explicit_token
    return None if ip_address(address.partition("%")[0]).is_loopback else token_urlsafe(24)


EncodeError = Callable[[int, str], bytes]
"""Encodes an error response, given its status and message."""


def encode_message(message: str) -> bytes:
    """Encode an error as the Open Inference Protocol does."""
    return msgspec.json.encode({"error": message})


def guard(app: ASGIApp, token: str | None, encode_error: EncodeError) -> ASGIApp:
    """Return the application behind the guard of an endpoint: the token, or for an endpoint without
    one, which only programs of this machine can reach, the guard against web pages."""
    return PageGuard(app, encode_error) if token is None else TokenGuard(app, token, encode_error)


class TokenGuard:
    """ASGI middleware that rejects requests without `Authorization: Bearer TOKEN` with status 401.
    Health checks require no token."""

    def __init__(self, app: ASGIApp, token: str, encode_error: EncodeError) -> None:
        self._app, self._expected_authorization = app, f"Bearer {token}".encode()
        self._encode_error = encode_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in _UNAUTHENTICATED_PATHS or self._is_authorized(scope):
            await self._app(scope, receive, send)
            return
        message = "this endpoint requires a token. Send the header Authorization: Bearer TOKEN."
        await _send_error(send, 401, self._encode_error(401, message), (b"www-authenticate", b"Bearer"))

    def _is_authorized(self, scope: Scope) -> bool:
        authorization_values = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(authorization_values) == 1 and hmac.compare_digest(
            authorization_values[0], self._expected_authorization
        )


_SENT_TYPES = (b"application/json", b"application/octet-stream")
"""Content types of requests. A browser sends them to another site only after a preflight request, which
this endpoint does not answer."""


class PageGuard:
    """ASGI middleware that rejects the requests of web pages, which a browser on this machine sends to
    any address.

    A page whose host name is resolved to this machine (DNS rebinding) sends its own name as the host:
    status 403. So does a page from elsewhere, in the header `Origin`. A browser sends bodies of some
    content types, or of none, without asking the endpoint first: status 415.
    """

    def __init__(self, app: ASGIApp, encode_error: EncodeError) -> None:
        self._app, self._encode_error = app, encode_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rejection = _find_rejection(scope)
        if rejection is None:
            await self._app(scope, receive, send)
            return
        status, message = rejection
        await _send_error(send, status, self._encode_error(status, message))


def _find_rejection(scope: Scope) -> tuple[int, str] | None:
    """Return the status and the message with which a request is rejected; `None` if it is accepted."""
    has_sent_type = scope["method"] != "POST"
    for name, value in scope["headers"]:
        if name == b"host" and not _is_local(b"//" + value):
            return (
                403,
                "the host of the request is not this machine. Use localhost, or start with --token.",
            )
        if name == b"origin" and not _is_local(value):
            return 403, "requests of web pages are not accepted. To serve pages, start with --token."
        if name == b"content-type":
            has_sent_type = value.partition(b";")[0].strip().lower() in _SENT_TYPES
    if not has_sent_type:
        return 415, "the content type is not supported. Send the header Content-Type: application/json."
    return None


def _is_local(url: bytes) -> bool:
    try:
        return never_leaves_machine(urlsplit(url.decode("latin-1")).hostname or "")
    except ValueError:
        return False


async def _send_error(send: Send, status: int, body: bytes, *headers: Header) -> None:
    """Send an error response, and close the connection, because the body of the request was not read."""
    all_headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *headers,
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})


class BoundedProtocol(HttpToolsProtocol):
    """HTTP connection that enforces `limits`. Deadlines are checked in `close_if_overdue`, so that
    requests need no timers."""

    limits = ConnectionLimits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._is_in_headers, self._header_bytes = True, 0
        self._deadline_s: float | None = self.loop.time() + self.limits.header_timeout_s
        if len(self.connections) > self.limits.max_connections:
            self._reject(
                b"503 Service Unavailable", b"the maximum number of connections is open", b"retry-after: 1\r\n"
            )

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        was_in_headers = self._is_in_headers
        super().data_received(data)
        if was_in_headers and self._is_in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > self.limits.max_header_bytes:
                reason = b"the headers of the request exceed %d bytes" % self.limits.max_header_bytes
                self._reject(b"431 Request Header Fields Too Large", reason)
        elif self._deadline_s is None and (self.cycle is None or self.cycle.response_complete):
            self._deadline_s = self.loop.time() + self.limits.header_timeout_s  # bytes that do not start a request

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[ARRIVED_NS] = perf_counter_ns()  # type: ignore[literal-required]
        self._is_in_headers, self._header_bytes = True, 0
        self._deadline_s = self.loop.time() + self.limits.header_timeout_s

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._is_in_headers = False
        self._deadline_s = self.loop.time() + self.limits.body_timeout_s

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._deadline_s = None

    def close_if_overdue(self, now_s: float) -> None:
        if self._deadline_s is None or self._deadline_s > now_s or self.transport.is_closing():
            return
        part, timeout_s = (
            ("headers", self.limits.header_timeout_s) if self._is_in_headers else ("body", self.limits.body_timeout_s)
        )
        self._reject(
            b"408 Request Timeout", f"the {part} of the request did not arrive within {timeout_s:g} s".encode()
        )

    def _reject(self, status: bytes, message: bytes, header: bytes = b"") -> None:
        """Send an error response, unless a response has already been started, and close the
        connection."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = encode_message(message.decode())
            self.transport.write(
                b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n%b"
                % (status, len(body), header, body)
            )
        self.transport.close()


def create_bounded_protocol(limits: ConnectionLimits) -> type[BoundedProtocol]:
    """Create a protocol class for uvicorn that enforces `limits` on each connection."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})


def close_overdue_connections(connections: set[Any], now_s: float) -> None:
    """Close all connections whose current request has exceeded its deadline."""
    for connection in tuple(connections):
        connection.close_if_overdue(now_s)


class RejectedError(Exception):
    """Raised to reject a request with an error response. `code` identifies the cause, in metrics or
    in the response. `parameter` is the name of the parameter at fault; `None` if there is none."""

    def __init__(
        self, status: int, code: str, message_text: str, *headers: Header, parameter: str | None = None
    ) -> None:
        super().__init__(message_text)
        self.parameter = parameter
        self.status = status
        self.code = code
        self.headers = headers


class BodyReader:
    """Reader of request bodies. `max_bytes` limits the size of each body, and `max_total_bytes` the
    total size of all bodies that are in use."""

    def __init__(self, max_bytes: int, max_total_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._max_total_bytes, self._total_bytes = max_total_bytes, 0

    async def read(self, receive: Receive, expected_bytes: int, parts: list[bytes]) -> bytes:
        """Receive a body, append its parts to `parts` as they arrive, and return it. `release` must
        be called with `parts` afterwards, even if the body is rejected. Raises RejectedError."""
        received_bytes = 0
        has_more_parts = True
        while has_more_parts:
            if max(received_bytes, expected_bytes) > self._max_bytes:
                raise self._build_too_large_error()
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RejectedError(400, "bad_request", "the client disconnected before the request body was complete")
            part = message.get("body", b"")
            received_bytes += len(part)
            self._total_bytes += len(part)
            parts.append(part)
            if self._total_bytes > self._max_total_bytes:
                message_text = f"the bodies of the requests in flight exceed {self._max_total_bytes} bytes in total"
                raise RejectedError(503, "bodies_full", message_text, RETRY_HEADER)
            has_more_parts = message.get("more_body", False)
        if received_bytes > self._max_bytes:
            raise self._build_too_large_error()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def release(self, parts: list[bytes]) -> None:
        self._total_bytes -= sum(map(len, parts))

    def _build_too_large_error(self) -> RejectedError:
        return RejectedError(413, "too_large", f"the request body exceeds the maximum of {self._max_bytes} bytes")


def parse_length(headers: Iterable[Header], expected_name: bytes) -> int | None:
    """Return the length in bytes in a header; `None` if the header is missing. Raises RejectedError
    for an invalid length."""
    length = None
    for name, value in headers:
        if name == expected_name:
            if not value.isdigit() or len(value) > 18:
                raise RejectedError(
                    400, "bad_request", f"the value of the header {name.decode()} is not a valid length"
                )
            length = int(value)
    return length
