"""What a face sees of a request, and how it answers in JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from loadgen.reference.courses import Course, head_bytes


class Request(NamedTuple):
    """`head` ends before the empty line; `path` is without its query, as it came."""

    method: str
    path: str
    head: bytes
    body: bytes
    at_ns: int


Answer = Callable[[Request], Course | None]
"""None: the request is for another face."""


def request_of(data: bytes, at_ns: int) -> Request:
    head, _, body = data.partition(b"\r\n\r\n")
    method, target = (*head.partition(b"\r\n")[0].decode("latin-1").split(" "), "", "")[:2]
    return Request(method, target.partition("?")[0], head, body, at_ns)


def json_course(due_ns: int, body: bytes, status: int = 200, fields: tuple[str, ...] = ()) -> Course:
    lines = ["Content-Type: application/json", f"Content-Length: {len(body)}", *fields]
    return Course([due_ns], [head_bytes(status, lines) + body])


def refused(status: int, message: str) -> Course:
    return json_course(0, msgspec.json.encode({"error": message}), status)
