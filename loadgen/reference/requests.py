"""Parse requests to the mock server, and build JSON responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from loadgen.reference.playback import ResponseScript, encode_head


class Request(NamedTuple):
    """Request to the mock server.

    `head` ends before the empty line. `path` is the percent-encoded path without the query. `at_ns`
    is the time in ns at which the request was received.
    """

    method: str
    path: str
    head: bytes
    body: bytes
    at_ns: int


RequestHandler = Callable[[Request], ResponseScript | None]
"""Function that returns the response script for a request, or None if the request does not belong
to the handler's mock protocol."""


def parse_request(data: bytes, at_ns: int) -> Request:
    head, _, body = data.partition(b"\r\n\r\n")
    method, target = (*head.partition(b"\r\n")[0].decode("latin-1").split(" "), "", "")[:2]
    return Request(method, target.partition("?")[0], head, body, at_ns)


def build_json_response(due_ns: int, body: bytes, status: int = 200, fields: tuple[str, ...] = ()) -> ResponseScript:
    lines = ["Content-Type: application/json", f"Content-Length: {len(body)}", *fields]
    return ResponseScript([due_ns], [encode_head(status, lines) + body])


def build_error_response(status: int, message: str) -> ResponseScript:
    return build_json_response(0, msgspec.json.encode({"error": message}), status)
