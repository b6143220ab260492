"""Run an endpoint in this process, from start to drain."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import perf_counter_ns
from types import FrameType
from typing import Any, Protocol

import uvicorn
from starlette.types import ASGIApp

from app.analysis.validity import list_fallback_nodes
from app.errors import UnavailableError
from app.inference.session import ModelSession, get_runtime_version, open_session
from app.serving.application import ServedModel, build_application
from app.serving.batching import Batcher, BatchQueue
from app.serving.connections import (
    close_overdue_connections,
    create_bounded_protocol,
    encode_message,
    guard,
    resolve_token,
)
from app.serving.counters import EndpointMetrics
from app.serving.execution import Executor
from app.serving.settings import Announce, ConnectionLimits, EndpointReady, ServingSettings

DRAIN_TIMEOUT_S = 8.0
_CLOSE_TIMEOUT_S = 1
"""Time in s in which the clients of requests that were ended receive the error."""
_KEEP_ALIVE_TIMEOUT_S = 300
"""Keep-alive timeout in seconds. The timeout is longer than the longest pause of a load on a
connection, so that the server never closes a connection while a client sends a request."""
_DEFAULT_MAX_BATCH = 8
_DEFAULT_QUEUE_DELAY_S = 0.002


def run(settings: ServingSettings, announce: Announce) -> None:
    """Serve the model until SIGINT, SIGTERM or, if configured, the end of standard input; then
    complete the queued requests and return.

    This method must be called on the main thread. Raises UsageError or UnavailableError if the
    endpoint cannot start.
    """
    session = open_session(Path(settings.model), settings.provider, settings.threads)
    run_on_listener(settings, lambda listener: _serve(settings, session, listener, announce))


async def _serve(settings: ServingSettings, session: ModelSession, listener: socket.socket, announce: Announce) -> None:
    loop = asyncio.get_running_loop()
    max_batch = (settings.max_batch or _DEFAULT_MAX_BATCH) if session.is_batchable else 1
    queue_delay_s = _DEFAULT_QUEUE_DELAY_S if settings.queue_delay_s is None else settings.queue_delay_s
    metrics = EndpointMetrics(max_batch)
    executor = Executor(session.run, metrics, loop)
    batcher = Batcher(
        BatchQueue(max_batch, round(queue_delay_s * 1e9), settings.queue_limit),
        executor.submit,
        now_ns=perf_counter_ns,
        call_later=loop.call_later,
    )
    model = ServedModel(settings.name, session.inputs, session.outputs, session.is_batchable)
    ready_report = _build_ready_report(settings, session, listener, max_batch, queue_delay_s)
    application: ASGIApp = build_application(model, batcher, metrics, settings.limits.max_bodies_bytes)
    application = guard(application, ready_report.token, lambda _, message: encode_message(message))
    server = DrainingServer(application, batcher, settings.limits, lambda: announce(ready_report))
    if settings.exit_with_stdin:
        server.drain_with_stdin()
    try:
        await server.serve([listener])
    finally:
        executor.close()


class Drainable(Protocol):
    """Part of an endpoint that accepts requests."""

    async def drain(self) -> None:
        """Reject further requests, and wait until all accepted requests have been completed."""

    def abort(self) -> None:
        """End all accepted requests with an error, which their clients receive."""


class DrainingServer(uvicorn.Server):
    """HTTP server that drains before it stops: it completes accepted requests, and rejects new
    requests with status 503."""

    def __init__(
        self, app: ASGIApp, requests: Drainable, limits: ConnectionLimits, on_started: Callable[[], None]
    ) -> None:
        config = uvicorn.Config(
            app,
            http=create_bounded_protocol(limits),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_TIMEOUT_S,
            timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
        )
        super().__init__(config)
        self._requests = requests
        # A tick is 0.1 s, so this interval is a tenth of the shorter limit.
        self._ticks_per_check = max(1, round(min(limits.header_timeout_s, limits.body_timeout_s)))
        self._on_started = on_started
        self._drain_task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def on_tick(self, counter: int) -> bool:
        if counter % self._ticks_per_check == 0:
            close_overdue_connections(self.server_state.connections, self._loop.time())
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Drain at the first signal, and end all requests with an error at the second signal. The
        signals are not raised again after the shutdown."""
        self._loop.call_soon_threadsafe(self.drain if self._drain_task is None else self._close_now)

    def drain(self) -> None:
        if self._drain_task is None:
            self._drain_task = self._loop.create_task(self._drain_and_close())

    async def _drain_and_close(self) -> None:
        try:
            await asyncio.wait_for(self._requests.drain(), DRAIN_TIMEOUT_S)
        except TimeoutError:
            self._requests.abort()
        self.should_exit = True

    def _close_now(self) -> None:
        self._requests.abort()
        self.should_exit = True

    def drain_with_stdin(self) -> None:
        """Drain when standard input closes."""
        threading.Thread(target=self._wait_for_stdin, daemon=True, name="stdin-watch").start()

    def _wait_for_stdin(self) -> None:
        while os.read(0, 4096):
            pass
        self._loop.call_soon_threadsafe(self.drain)


def _build_ready_report(
    settings: ServingSettings, session: ModelSession, listener: socket.socket, max_batch: int, queue_delay_s: float
) -> EndpointReady:
    url, host = format_url(listener)
    return EndpointReady(
        url=url,
        model=settings.name,
        pid=os.getpid(),
        provider_requested=session.provider_requested,
        provider_used=session.provider_used,
        provider_reason=session.provider_reason,
        fallback_nodes=list_fallback_nodes(session.placements),
        inputs=session.inputs,
        outputs=session.outputs,
        threads=settings.threads,
        max_batch=max_batch,
        queue_delay_s=queue_delay_s,
        queue_limit=settings.queue_limit,
        runtime_version=get_runtime_version(),
        token=resolve_token(host, settings.token),
    )


def run_on_listener(settings: ServingSettings, serve: Callable[[socket.socket], Coroutine[Any, Any, None]]) -> None:
    """Listen on the address of an endpoint, and run `serve` on an event loop until it returns.
    Raises UnavailableError if the address cannot be used."""
    with _listen(settings.host, settings.port) as listener, asyncio.Runner(loop_factory=_get_loop_factory()) as runner:
        runner.run(serve(listener))


def format_url(listener: socket.socket) -> tuple[str, str]:
    """Return the URL of an endpoint, and the address that it listens on."""
    host, port = listener.getsockname()[:2]
    return (f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"), host


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        hint = (
            "Check that this machine has the address. If the port is in use, choose a different port, or 0 for any "
            "free port."
        )
        raise UnavailableError(f"the endpoint cannot listen on {host}:{port}: {error.strerror}", hint=hint) from error


def _get_loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.SelectorEventLoop
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
