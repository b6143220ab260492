"""Run an endpoint with a language model in this process, from start to drain."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from app.errors import UsageError
from app.inference.generation.engine import GenerationEngine
from app.inference.generation.model_folder import GenerativeModel, read_model_folder
from app.inference.generation.runtime import ModelTokenizer, get_genai_version, open_generative_model
from app.serving.connections import guard, resolve_token
from app.serving.generation.application import ServedLanguageModel, build_generation_application
from app.serving.generation.messages import encode_guard_error
from app.serving.generation.metrics import GenerationMetrics
from app.serving.generation.scheduling import BatchLimits
from app.serving.generation.service import GenerationService
from app.serving.server import DrainingServer, format_url, run_on_listener
from app.serving.settings import Announce, EndpointReady, LanguageModelReady, ServingSettings

_DEFAULT_STATIC_BATCH = 8


def run_language_model(settings: ServingSettings, announce: Announce) -> None:
    """Serve a language model until SIGINT, SIGTERM or, if configured, the end of standard input;
    then complete the accepted requests and return.

    This method must be called on the main thread. Raises UsageError or UnavailableError if the
    endpoint cannot start, and MeasurementError if the engine fails.
    """
    if settings.queue_delay_s is not None:
        raise UsageError("--queue-delay does not apply to a language model", hint="Remove --queue-delay.")
    model = read_model_folder(Path(settings.model))
    limits = build_batch_limits(model, settings.max_batch)
    native_model = open_generative_model(model, settings.provider, settings.threads, limits.max_batch)
    run_on_listener(settings, lambda listener: _serve(settings, model, native_model, limits, listener, announce))


def build_batch_limits(model: GenerativeModel, max_batch: int | None) -> BatchLimits:
    """Return the limits of the batches of a model. `max_batch` is the maximum number of requests in
    a batch; `None` for the default."""
    cache = model.paged_cache
    if cache is None:
        return BatchLimits(max_batch=max_batch or _DEFAULT_STATIC_BATCH, max_length=model.context, cache=None)
    return BatchLimits(
        max_batch=max_batch or cache.max_batch,
        max_length=min(model.context, cache.blocks * cache.block_tokens),
        cache=cache,
    )


async def _serve(
    settings: ServingSettings,
    model: GenerativeModel,
    native_model: Any,
    limits: BatchLimits,
    listener: socket.socket,
    announce: Announce,
) -> None:
    metrics = GenerationMetrics(settings.name, has_prefix_cache=limits.batching == "continuous")
    service = GenerationService(
        lambda: GenerationEngine(native_model, limits.max_batch),
        ModelTokenizer(native_model),
        limits,
        settings.queue_limit,
        metrics,
        on_failure=lambda: server.drain(),
    )
    served_model = ServedLanguageModel(settings.name, model.vocabulary, int(time.time()))
    application: ASGIApp = build_generation_application(served_model, service, settings.limits.max_bodies_bytes)
    ready_report = _build_ready_report(settings, limits, listener)
    application = guard(application, ready_report.token, encode_guard_error)
    server = DrainingServer(application, service, settings.limits, lambda: announce(ready_report))
    if settings.exit_with_stdin:
        server.drain_with_stdin()
    try:
        await server.serve([listener])
    finally:
        service.close()
    if service.failure is not None:
        raise service.failure


def _build_ready_report(settings: ServingSettings, limits: BatchLimits, listener: socket.socket) -> EndpointReady:
    url, host = format_url(listener)
    return EndpointReady(
        url=url,
        model=settings.name,
        pid=os.getpid(),
        provider_requested=settings.provider,
        provider_used=settings.provider,
        provider_reason=None,
        fallback_nodes=(),
        threads=settings.threads,
        max_batch=limits.max_batch,
        queue_limit=settings.queue_limit,
        runtime_version=get_genai_version(),
        token=resolve_token(host, settings.token),
        language_model=LanguageModelReady(
            batching=limits.batching,
            max_length=limits.max_length,
        ),
    )
