"""A server of the OpenAI Realtime API, each of whose connections follows a script."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from tests.fakes.stream_server import stream_server

Fields = dict[str, Any]
Step = Fields | Event | bytes | float
"""What a server does next: it sends an event of the API, an event of WebSocket or raw bytes, or it waits for seconds.
Empty bytes close the connection without a word."""


class RealtimeServer:
    """`greeting` follows the upgrade, and `answer` the event response.create. `targets` and `headers` are those of the
    upgrade requests, and `events` what the clients sent, by connection."""

    def __init__(
        self,
        answer: Sequence[Step],
        greeting: Sequence[Step] = ({"type": "session.created"},),
        upgrade: Callable[[], Sequence[Event | bytes]] = lambda: [AcceptConnection()],
    ) -> None:
        self._answer, self._greeting, self._upgrade = answer, greeting, upgrade
        self.port = 0
        self.targets: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.events: list[list[Fields]] = []
        self.pongs = 0
        self.closed: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection, events = WSConnection(ConnectionType.SERVER), list[Fields]()
        self.events.append(events)
        while data := await reader.read(65_536):
            connection.receive_data(data)
            for event in connection.events():
                if isinstance(event, Request):
                    self.targets.append(event.target)
                    self.headers.append({name.decode(): value.decode() for name, value in event.extra_headers})
                    await self._run_steps([*self._upgrade(), *self._greeting], connection, writer)
                elif isinstance(event, TextMessage):
                    events.append(msgspec.json.decode(event.data))
                    if events[-1]["type"] == "response.create":
                        await self._run_steps(self._answer, connection, writer)
                elif isinstance(event, Pong):
                    self.pongs += 1
                elif isinstance(event, CloseConnection):
                    self.closed.append(int(event.code))
                    return

    async def _run_steps(self, steps: Sequence[Step], connection: WSConnection, writer: asyncio.StreamWriter) -> None:
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            elif step == b"":
                writer.close()
                return
            elif isinstance(step, bytes):
                writer.write(step)
            else:
                event = TextMessage(msgspec.json.encode(step).decode()) if isinstance(step, dict) else step
                writer.write(connection.send(event))
                if isinstance(event, RejectConnection | RejectData | CloseConnection):
                    writer.close()
                    return


@contextmanager
def realtime_server(server: RealtimeServer) -> Iterator[RealtimeServer]:
    with stream_server(server.serve) as port:
        server.port = port
        yield server


def audio_delta(size: int, event_type: str = "response.output_audio.delta") -> Fields:
    return {"type": event_type, "delta": base64.b64encode(bytes(size)).decode()}


DONE: Fields = {"type": "response.done", "response": {"status": "completed"}}
