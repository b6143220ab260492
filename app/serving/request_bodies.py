"""Receive the bodies of requests, limited in size, and reject requests."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Receive

Header = tuple[bytes, bytes]
RETRY_HEADER = (b"retry-after", b"1")


class RejectedError(Exception):
    """Raised to reject a request with an error response. `code` identifies the cause, in metrics or
    in the response."""

    def __init__(self, status: int, code: str, message_text: str, *headers: Header) -> None:
        super().__init__(message_text)
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
