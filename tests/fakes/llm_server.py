"""A reference LLM server in a thread of the test, with all of its events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from loadgen.reference.child import new_event_loop
from loadgen.reference.llm import LlmServer
from loadgen.reference.llm_scheduler import LlmConfig, LlmRequest, LlmScheduler, SchedulerEvent


class ObservedLlmServer(LlmServer):
    """`events` is the log; `heads` are the paths and headers of all requests, and `bodies` their bodies. `requests` are
    those that reached the scheduler."""

    def __init__(self, config: LlmConfig) -> None:
        self.events: list[SchedulerEvent] = []
        self.heads: list[tuple[str, Mapping[bytes, bytes]]] = []
        self.bodies: list[bytes] = []
        self.requests: list[LlmRequest] = []
        self.port = 0
        super().__init__(config, self.events.append)
        self._scheduler.add = self._add  # type: ignore[method-assign]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def handle(self, connection: Any, method: str, path: str, headers: Mapping[bytes, bytes], body: bytes) -> Any:
        self.heads.append((path, headers))
        if body:
            self.bodies.append(body)
        return super().handle(connection, method, path, headers, body)

    def _add(self, request: LlmRequest) -> None:
        self.requests.append(request)
        LlmScheduler.add(self._scheduler, request)


@contextmanager
def llm_server(config: LlmConfig) -> Iterator[ObservedLlmServer]:
    server, loop = ObservedLlmServer(config), new_event_loop()
    listener = loop.run_until_complete(loop.create_server(server.create_protocol, "127.0.0.1", 0))
    server.port = listener.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, name="llm-server")
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        listener.close()
        server.close()
        loop.run_until_complete(asyncio.sleep(0.01))  # close the transports before the event loop
        loop.close()
