"""HTTP interface of an endpoint with a language model: the OpenAI API for chat and text
completions, with vLLM's health check and metrics."""

from __future__ import annotations

import asyncio
import time
from time import perf_counter_ns
from typing import Any
from uuid import uuid4

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.inference.generation.engine import FinishReason
from app.serving.batching import DrainingError, QueueFullError
from app.serving.connections import ARRIVED_NS, RETRY_HEADER, BodyReader, Header, RejectedError, parse_length
from app.serving.generation.messages import (
    Api,
    CompletionRequest,
    ResponseEncoder,
    decode_completion_request,
    encode_error,
)
from app.serving.generation.service import AcceptedRequest, GenerationService, ResponsePart
from reports.shortening import shorten

BODY_LIMIT_BYTES = 16 * 2**20

_JSON_HEADER = (b"content-type", b"application/json")
_STREAM_HEADERS = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))


class ServedLanguageModel(msgspec.Struct, frozen=True):
    """Name and size of the vocabulary of the served model, and the time in s at which its endpoint
    started."""

    name: str
    vocabulary: int
    created_s: int


def build_generation_application(
    model: ServedLanguageModel, service: GenerationService, max_bodies_bytes: int
) -> Starlette:
    """Build the ASGI application of the endpoint. `max_bodies_bytes` is the maximum total size in
    bytes of the bodies of all requests in flight."""
    handlers = _Routes(model, service)
    bodies = BodyReader(BODY_LIMIT_BYTES, max_bodies_bytes)
    application = Starlette(
        routes=[
            Route("/v1/chat/completions", CompletionHandler("chat", model, service, bodies), methods=["POST"]),
            Route("/v1/completions", CompletionHandler("completions", model, service, bodies), methods=["POST"]),
            Route("/v1/models", handlers.models),
            Route("/v1/models/{model}", handlers.model),
            Route("/health", handlers.health),
            Route("/metrics", handlers.metrics),
        ],
        exception_handlers={HTTPException: _handle_http_error, 500: _handle_internal_error},
    )
    application.router.default = _reject_path
    return application


class CompletionHandler:
    """Handler of POST /v1/chat/completions or /v1/completions, a plain ASGI application. It avoids
    framework overhead, because benchmarks measure this path."""

    def __init__(self, api: Api, model: ServedLanguageModel, service: GenerationService, bodies: BodyReader) -> None:
        self._api: Api = api
        self._model = model
        self._service = service
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived_ns = scope.get(ARRIVED_NS) or perf_counter_ns()
        try:
            request = await self._receive_request(scope, receive)
            accepted = self._submit(request, arrived_ns)
        except RejectedError as rejection:
            await _send_error(send, rejection)
            return
        disconnection = asyncio.ensure_future(_wait_for_disconnection(receive))
        disconnection.add_done_callback(lambda _: self._service.cancel(accepted))
        try:
            if request.is_streamed:
                await self._stream(request, accepted, send)
            else:
                await self._respond(request, accepted, send)
        finally:
            disconnection.cancel()
            self._service.cancel(accepted)

    async def _receive_request(self, scope: Scope, receive: Receive) -> CompletionRequest:
        parts: list[bytes] = []
        try:
            body = await self._bodies.read(receive, parse_length(scope["headers"], b"content-length") or 0, parts)
            return decode_completion_request(
                self._api,
                body,
                self._model.name,
                self._model.vocabulary,
                self._service.limits,
                self._service.tokenizer,
            )
        finally:
            self._bodies.release(parts)

    def _submit(self, request: CompletionRequest, arrived_ns: int) -> AcceptedRequest:
        try:
            return self._service.submit(request.task, arrived_ns, is_streamed=request.is_streamed)
        except QueueFullError as error:
            raise RejectedError(429, "queue_full", "the queue is full", RETRY_HEADER) from error
        except DrainingError as error:
            raise RejectedError(503, "draining", "the endpoint is shutting down") from error

    async def _respond(self, request: CompletionRequest, accepted: AcceptedRequest, send: Send) -> None:
        parts: list[ResponsePart] = []
        while not parts or parts[-1].finish_reason is None:
            parts.append(await accepted.parts.get())
        match parts[-1].finish_reason:
            case FinishReason.CANCELLED:  # by the client, which has disconnected
                return
            case FinishReason.FAILED:
                await _send_error(send, self._build_failure())
            case _:
                encoder = self._build_encoder(request)
                await _send_body(send, 200, (_JSON_HEADER,), encoder.encode_response(parts))
                self._count_sent(accepted, parts[-1])

    async def _stream(self, request: CompletionRequest, accepted: AcceptedRequest, send: Send) -> None:
        encoder = self._build_encoder(request)
        part = await accepted.parts.get()
        if part.finish_reason is FinishReason.FAILED:
            await _send_error(send, self._build_failure())
            return
        await send({"type": "http.response.start", "status": 200, "headers": list(_STREAM_HEADERS)})
        events = [encoder.encode_start()] if request.api == "chat" else []
        is_open = True
        while is_open:
            events += self._encode_events(request, encoder, part)
            is_open = part.finish_reason is None
            if is_open and not accepted.parts.empty():  # Send the parts of several steps together.
                part = accepted.parts.get_nowait()
                continue
            if events:
                body = b"".join(b"data: %b\n\n" % event for event in events)
                await send({"type": "http.response.body", "body": body, "more_body": is_open})
                self._count_sent(accepted, part)
                events = []
            if is_open:
                part = await accepted.parts.get()

    def _count_sent(self, accepted: AcceptedRequest, part: ResponsePart) -> None:
        accepted.count_sent(part.finish_reason, perf_counter_ns(), self._service.metrics)

    def _encode_events(self, request: CompletionRequest, encoder: ResponseEncoder, part: ResponsePart) -> list[bytes]:
        """Return the data of the events of a stream for one part of a response. A stream that fails
        ends with an error, as in vLLM, and without [DONE], which marks a complete response."""
        if part.finish_reason is FinishReason.FAILED:
            failure = self._build_failure()
            return [encode_error(failure.status, failure.code, str(failure))]
        if part.finish_reason is None:
            return [encoder.encode_part(part)] if part.text or request.sends_running_usage else []
        usage = [encoder.encode_final_usage(part)] if request.sends_usage else []
        return [encoder.encode_part(part), *usage, b"[DONE]"]

    def _build_failure(self) -> RejectedError:
        """Return the error of a response that failed."""
        if self._service.is_aborted:
            return RejectedError(503, "stopped", "the endpoint was stopped before the response was complete")
        return RejectedError(500, "failed", "the engine failed to generate the response")

    def _build_encoder(self, request: CompletionRequest) -> ResponseEncoder:
        return ResponseEncoder(request, self._model.name, uuid4().hex, int(time.time()))


async def _wait_for_disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Routes:
    """Handlers of all routes except completions: models, health and metrics."""

    def __init__(self, model: ServedLanguageModel, service: GenerationService) -> None:
        self._model = model
        self._service = service

    async def models(self, _: Request) -> Response:
        return _build_json_response({"object": "list", "data": [self._describe_model()]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["model"]
        if name != self._model.name:
            raise HTTPException(404, f"the model {name!r} does not exist; this endpoint serves {self._model.name!r}")
        return _build_json_response(self._describe_model())

    async def health(self, _: Request) -> Response:
        return Response(status_code=200 if self._service.is_available else 503)

    async def metrics(self, _: Request) -> Response:
        return Response(self._service.format_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def _describe_model(self) -> dict[str, Any]:
        return {
            "id": self._model.name,
            "object": "model",
            "created": self._model.created_s,
            "owned_by": "sizewise",
            "max_model_len": self._service.limits.max_length,
            "batching": self._service.limits.batching,
        }


async def _reject_path(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - the body is not read
    message = (
        f"{shorten(scope['path'])} is not a path of this endpoint; it has /v1/chat/completions and /v1/completions"
    )
    await _send_error(send, RejectedError(404, "not_found", message))


async def _send_error(send: Send, rejection: RejectedError) -> None:
    body = encode_error(rejection.status, rejection.code, str(rejection), rejection.parameter)
    await _send_body(send, rejection.status, (_JSON_HEADER, *rejection.headers), body)


async def _send_body(send: Send, status: int, headers: tuple[Header, ...], body: bytes) -> None:
    length_header = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length_header]})
    await send({"type": "http.response.body", "body": body})


async def _handle_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = encode_error(error.status_code, "not_found" if error.status_code == 404 else "bad_request", error.detail)
    return Response(body, error.status_code, error.headers, media_type="application/json")


async def _handle_internal_error(_: Request, error: Exception) -> Response:
    body = encode_error(500, "failed", f"the endpoint failed: {type(error).__name__}")
    return Response(body, 500, media_type="application/json")


def _build_json_response(document: Any) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")
