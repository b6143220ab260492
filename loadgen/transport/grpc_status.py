"""Map the end of a gRPC call to an HTTP status code and an error class."""

from __future__ import annotations

from typing import NamedTuple

import grpc

from loadgen.transport.exchange import LOCAL_LIMIT, is_local_limit_text

_HTTP_OK = 200
_HTTP_STATUS_BY_CODE = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
}
"""HTTP status codes by gRPC code, as defined in google.rpc.Code. All other gRPC codes are mapped to
500."""

_NO_CONNECTION_PREFIX = "failed to connect to all addresses"
_CONNECTION_LOST_PREFIXES = (
    "Stream removed",
    "Socket closed",
    "Connection reset",
    "recvmsg:",
    "sendmsg:",
    "GOAWAY",
    "Broken pipe",
)
_TOO_LARGE_TEXT = "CLIENT: Received message larger than max"


class CallEnd(NamedTuple):
    """End of a gRPC call.

    `error` is the error class if the transport failed, otherwise None. If the server responded, the
    response check derives the error class from `status`.
    """

    status: int | None
    error: str | None
    detail: str | None


SUCCESS = CallEnd(_HTTP_OK, None, None)


def classify_end(code: grpc.StatusCode, details: str | None, has_response: bool) -> CallEnd:
    """Classify the end of a gRPC call. `has_response` is true if part of the response has been
    received.

    The server's message is omitted from the description, because it may contain a secret.
    """
    details = details or ""
    if code is grpc.StatusCode.OK:
        return SUCCESS
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CallEnd(None, "timeout", None)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE_TEXT in details:
        return CallEnd(_HTTP_OK, "bad-payload", "the response is too large")
    if code is grpc.StatusCode.UNAVAILABLE:
        # gRPC reports connection errors with a code that servers also send; only the message
        # differs.
        if details.startswith(_NO_CONNECTION_PREFIX):
            reason = details.rpartition("last error: ")[2]
            if is_local_limit_text(reason):
                return CallEnd(None, LOCAL_LIMIT, reason[:200])
            return CallEnd(None, "tls" if "andshake failed" in reason else "connect", reason[:200])
        if details.startswith(_CONNECTION_LOST_PREFIXES):
            return CallEnd(None, "truncated" if has_response else "send", None)
    return CallEnd(_HTTP_STATUS_BY_CODE.get(code, 500), None, f"gRPC status {code.name}")
