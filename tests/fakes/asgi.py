"""Sends requests to an ASGI application in this process and on this event loop, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def send_request(
    app: ASGIApp,
    method: str,
    path: str,
    body_parts: Iterable[bytes] = (b"",),
    headers: Mapping[str, str] | None = None,
    disconnected: asyncio.Event | None = None,
) -> Reply:
    """Send a request, whose body arrives in the pieces `body_parts`. The client disconnects after the body, or when the
    event `disconnected` is set.

    The status is 0 if the application sends nothing."""
    sent: list[Message] = []
    pieces = list(body_parts)
    messages = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1}
        for number, piece in enumerate(pieces)
    ]
    coming = iter(messages)

    async def receive() -> Message:
        message = next(coming, None)
        if message is None and disconnected is not None:
            await disconnected.wait()
        return message or {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    if not sent:
        return Reply(0, {}, b"")
    return Reply(
        sent[0]["status"],
        {name.decode(): value.decode() for name, value in sent[0]["headers"]},
        b"".join(message.get("body", b"") for message in sent[1:]),
    )
