"""HTTP interface of the endpoint: the Open Inference Protocol v2, and metrics in the Prometheus
format."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app import __version__
from app.errors import SizewiseError, UsageError
from app.inference.tensor_spec import TensorSpec
from app.serving.batching import Batcher, DrainingError, QueueFullError
from app.serving.connections import RETRY_HEADER, BodyReader, Header, RejectedError, parse_length
from app.serving.counters import EndpointMetrics
from app.serving.execution import find_batch_key
from app.serving.messages import (
    JSON_LENGTH_HEADER,
    MODEL_VERSION,
    BadRequestError,
    InferenceRequest,
    build_tensor_metadata,
    decode_request,
    encode_response,
)
from app.serving.settings import ConnectionLimits

BODY_LIMIT_BYTES = 64 * 2**20

_JSON_HEADER = (b"content-type", b"application/json")
_BINARY_HEADER = (b"content-type", b"application/octet-stream")


class ServedModel(msgspec.Struct, frozen=True):
    """Name and signature of the served model."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    is_batchable: bool


def build_application(
    model: ServedModel,
    batcher: Batcher,
    metrics: EndpointMetrics,
    max_bodies_bytes: int = ConnectionLimits().max_bodies_bytes,
) -> Starlette:
    """Build the ASGI application of the endpoint. `max_bodies_bytes` is the maximum total size in
    bytes of the bodies of all requests in flight."""
    handlers = _RouteHandlers(model, batcher, metrics)
    inference_handler = InferenceHandler(model, batcher, metrics, max_bodies_bytes)
    model_path = "/v2/models/{model}"
    version_path = model_path + "/versions/{version}"
    return Starlette(
        routes=[
            Route(model_path + "/infer", inference_handler, methods=["POST"]),
            Route(version_path + "/infer", inference_handler, methods=["POST"]),
            Route("/v2", handlers.server),
            Route("/v2/health/live", handlers.live),
            Route("/v2/health/ready", handlers.ready),
            Route(model_path, handlers.metadata),
            Route(version_path, handlers.metadata),
            Route(model_path + "/ready", handlers.model_ready),
            Route(version_path + "/ready", handlers.model_ready),
            Route("/metrics", handlers.metrics),
        ],
        exception_handlers={HTTPException: _handle_http_error, 500: _handle_internal_error},
    )


class InferenceHandler:
    """Handler of POST …/infer, a plain ASGI application. It avoids framework overhead, because
    benchmarks measure this path."""

    def __init__(self, model: ServedModel, batcher: Batcher, metrics: EndpointMetrics, max_bodies_bytes: int) -> None:
        self._model = model
        self._batcher = batcher
        self._metrics = metrics
        self._bodies = BodyReader(BODY_LIMIT_BYTES, max_bodies_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics.in_flight += 1
        outcome = "failed"
        try:
            status, headers, body = 200, *await self._respond(scope, receive)
            outcome = "ok"
        except RejectedError as rejection:
            outcome = rejection.code
            status, headers, body = (
                rejection.status,
                (_JSON_HEADER, *rejection.headers),
                _encode_error_body(str(rejection)),
            )
        finally:
            self._metrics.in_flight -= 1
            self._metrics.count_request(outcome)
        await send({"type": "http.response.start", "status": status, "headers": [*headers, _build_length_header(body)]})
        await send({"type": "http.response.body", "body": body})

    async def _respond(self, scope: Scope, receive: Receive) -> tuple[tuple[Header, ...], bytes]:
        model = self._model
        unknown_model_message = _describe_unknown_model(model, scope["path_params"])
        if unknown_model_message is not None:
            raise RejectedError(404, "not_found", unknown_model_message)
        if self._batcher.is_draining:
            raise RejectedError(503, "draining", "the endpoint is shutting down")
        json_length = parse_length(scope["headers"], JSON_LENGTH_HEADER)
        parts: list[bytes] = []
        try:
            body = await self._bodies.read(receive, parse_length(scope["headers"], b"content-length") or 0, parts)
            request = decode_request(body, json_length, model.inputs, model.outputs)
            arrays = await self._run_model(request)
        except (BadRequestError, UsageError) as error:
            raise RejectedError(400, "bad_request", str(error)) from error
        except SizewiseError as error:
            raise RejectedError(500, "failed", str(error)) from error
        finally:
            self._bodies.release(parts)
        response_body, response_json_length = encode_response(model.name, request, model.outputs, arrays)
        if response_json_length is None:
            return (_JSON_HEADER,), response_body
        return (_BINARY_HEADER, (JSON_LENGTH_HEADER, b"%d" % response_json_length)), response_body

    async def _run_model(self, request: InferenceRequest) -> Any:
        row_count, batch_key = find_batch_key(request.feeds, is_batchable=self._model.is_batchable)
        try:
            return await self._batcher.submit(request.feeds, row_count, batch_key)
        except QueueFullError as error:
            raise RejectedError(429, "queue_full", "the queue is full", RETRY_HEADER) from error
        except DrainingError as error:
            raise RejectedError(503, "draining", "the endpoint is shutting down") from error


class _RouteHandlers:
    """Handlers of all routes except inference: server and model metadata, health and metrics."""

    def __init__(self, model: ServedModel, batcher: Batcher, metrics: EndpointMetrics) -> None:
        self._model = model
        self._batcher = batcher
        self._metrics = metrics

    async def server(self, _: Request) -> Response:
        return _build_json_response({"name": "sizewise", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(self, _: Request) -> Response:
        return _build_json_response({"live": True})

    async def ready(self, _: Request) -> Response:
        is_ready = not self._batcher.is_draining
        return _build_json_response({"ready": is_ready}, 200 if is_ready else 503)

    async def model_ready(self, request: Request) -> Response:
        self._require_known_model(request)
        is_ready = not self._batcher.is_draining
        return _build_json_response({"name": self._model.name, "ready": is_ready}, 200 if is_ready else 503)

    async def metadata(self, request: Request) -> Response:
        self._require_known_model(request)
        return _build_json_response(
            {
                "name": self._model.name,
                "versions": [MODEL_VERSION],
                "platform": "onnxruntime_onnx",
                "inputs": build_tensor_metadata(self._model.inputs),
                "outputs": build_tensor_metadata(self._model.outputs),
            }
        )

    async def metrics(self, _: Request) -> Response:
        text = self._metrics.format_metrics(self._batcher.queued_count)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    def _require_known_model(self, request: Request) -> None:
        unknown_model_message = _describe_unknown_model(self._model, request.path_params)
        if unknown_model_message is not None:
            raise HTTPException(404, unknown_model_message)


def _describe_unknown_model(model: ServedModel, path_params: dict[str, str]) -> str | None:
    if path_params["model"] != model.name:
        return f"the model {path_params['model']!r} does not exist; this endpoint serves {model.name!r}"
    if path_params.get("version", MODEL_VERSION) != MODEL_VERSION:
        return f"model {model.name!r} has no version {path_params['version']!r}; the only version is {MODEL_VERSION!r}"
    return None


async def _handle_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _build_json_response({"error": error.detail}, error.status_code, error.headers)


async def _handle_internal_error(_: Request, error: Exception) -> Response:
    return _build_json_response({"error": f"the endpoint failed: {type(error).__name__}"}, 500)


def _build_json_response(document: Any, status: int = 200, headers: Any = None) -> Response:
    return Response(msgspec.json.encode(document), status, headers, media_type="application/json")


def _encode_error_body(message_text: str) -> bytes:
    return msgspec.json.encode({"error": message_text})


def _build_length_header(body: bytes) -> Header:
    return b"content-length", b"%d" % len(body)
