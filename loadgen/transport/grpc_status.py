"""What the end of a gRPC call means, in the terms that HTTP has for it."""

from __future__ import annotations

from typing import NamedTuple

import grpc

from loadgen.transport.exchange import LOCAL_LIMIT, names_local_limit

_OK = 200
_STATUSES = {
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
"""As Google's RPC codes are mapped to HTTP; any other code is a 500."""

_NO_CONNECTION = "failed to connect to all addresses"
_LOST = ("Stream removed", "Socket closed", "Connection reset", "recvmsg:", "sendmsg:", "GOAWAY", "Broken pipe")
_TOO_LARGE = "CLIENT: Received message larger than max"


class End(NamedTuple):
    """`error` is of the transport; what a status says of the answer is left to its judge."""

    status: int | None
    error: str | None
    detail: str | None


SUCCESS = End(_OK, None, None)


def end_of(code: grpc.StatusCode, details: str | None, has_answer: bool) -> End:
    """`has_answer`: some of the answer had come. A peer's own words are left out: they may repeat a secret."""
    details = details or ""
    if code is grpc.StatusCode.OK:
        return SUCCESS
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return End(None, "timeout", None)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in details:
        return End(_OK, "bad-payload", "the answer is too large")
    if code is grpc.StatusCode.UNAVAILABLE:
        # grpc says what it found itself under the code that a server may send too; only the words differ
        if details.startswith(_NO_CONNECTION):
            reason = details.rpartition("last error: ")[2]
            if names_local_limit(reason):
                return End(None, LOCAL_LIMIT, reason[:200])
            return End(None, "tls" if "andshake failed" in reason else "connect", reason[:200])
        if details.startswith(_LOST):
            return End(None, "truncated" if has_answer else "send", None)
    return End(_STATUSES.get(code, 500), None, f"gRPC {code.name}")
