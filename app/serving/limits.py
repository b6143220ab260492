"""What clients may take of the endpoint: connections, time and memory."""

from __future__ import annotations

import msgspec

DEFAULT_CONNECTIONS = 4096


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`header_s` counts from the connection, or the first byte of a later request, to the end of the request's headers;
    `body_s` from there to the end of its body. `header_bytes` may be exceeded by what one read takes. `bodies_bytes`
    are those of all requests without a response."""

    connections: int = DEFAULT_CONNECTIONS
    header_bytes: int = 64 * 2**10
    header_s: float = 10.0
    body_s: float = 60.0
    bodies_bytes: int = 256 * 2**20
