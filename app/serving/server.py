"""Run an endpoint in this process, from start to drain."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from time import perf_counter_ns

from starlette.types import ASGIApp

from app.analysis.validity import list_fallback_nodes
from app.inference.session import ModelSession, get_runtime_version, open_session
from app.serving.application import ServedModel, build_application
from app.serving.batching import Batcher, BatchQueue
from app.serving.connections import TokenGuard, resolve_token
from app.serving.counters import EndpointMetrics
from app.serving.draining import DrainingServer, format_url, run_on_listener
from app.serving.execution import Executor
from app.serving.settings import Announce, EndpointReady, ServingSettings

_DEFAULT_MAX_BATCH = 8
_DEFAULT_QUEUE_DELAY_S = 0.002


def run(settings: ServingSettings, announce: Announce) -> None:
    """Serve the model until SIGINT, SIGTERM or, if configured, the end of standard input; then
    complete the queued requests and return.

    This method must be called on the main thread. Raises UsageError or UnavailableError if the
    endpoint cannot start.
    """
    if Path(settings.model).is_dir():
        # Without the extra for language models, its packages are missing.
        from app.serving.generation.server import run_language_model

        run_language_model(settings, announce)
        return
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
    if ready_report.token is not None:
        application = TokenGuard(application, ready_report.token)
    server = DrainingServer(application, batcher, settings.limits, lambda: announce(ready_report))
    if settings.exit_with_stdin:
        server.drain_with_stdin()
    try:
        await server.serve([listener])
    finally:
        executor.close()


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
