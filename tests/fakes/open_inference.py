"""A server of the Open Inference Protocol over gRPC, whose behavior the test sets. It runs in threads of this
process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc

from loadgen.protocols.open_inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelStreamInferResponse,
)

SERVICE = "inference.GRPCInferenceService"
Context = grpc.ServicerContext
Respond = Callable[[ModelInferRequest, Context], ModelInferResponse]
Stream = Callable[[ModelInferRequest, Context], Iterable[ModelStreamInferResponse]]


def inputs(*specs: tuple[str, str, tuple[int, ...]]) -> ModelMetadataResponse:
    tensor = ModelMetadataResponse.TensorMetadata
    return ModelMetadataResponse(name="m", inputs=[tensor(name=n, datatype=d, shape=s) for n, d, s in specs])


def floats(*values: float, shape: tuple[int, ...] | None = None) -> ModelInferResponse:
    output = ModelInferResponse.InferOutputTensor(
        name="y", datatype="FP32", shape=shape or (1, len(values)), contents=InferTensorContents(fp32_contents=values)
    )
    return ModelInferResponse(model_name="m", outputs=[output])


@dataclass
class OpenInference:
    """Sends the result of `respond` for every request, and the results of `stream` for every streamed one.

    `requests` are the inference requests as received; `received_metadata` is the metadata of the calls, by method."""

    model_metadata: ModelMetadataResponse = field(default_factory=lambda: inputs(("x", "FP32", (-1, 2))))
    respond: Respond = lambda request, context: floats(0, 1)
    stream: Stream = lambda request, context: [ModelStreamInferResponse(infer_response=floats(0, 1))]
    credentials: grpc.ServerCredentials | None = None
    unix_socket: str | None = None
    port: int = 0
    requests: list[ModelInferRequest] = field(default_factory=list)
    metadata_requests: list[ModelMetadataRequest] = field(default_factory=list)
    received_metadata: list[tuple[str, dict[str, str | bytes]]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> OpenInference:
        self._threads = ThreadPoolExecutor(64)
        self._server = grpc.server(self._threads, handlers=[self._handlers()])
        where = f"127.0.0.1:{self.port}" if self.unix_socket is None else f"unix:{self.unix_socket}"
        if self.credentials is None:
            self.port = self._server.add_insecure_port(where)
        else:
            self.port = self._server.add_secure_port(where, self.credentials)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._threads.shutdown()

    @property
    def url(self) -> str:
        return f"{'grpc' if self.credentials is None else 'grpcs'}://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Cancels every call."""
        ended = self._server.stop(None)
        self.released.set()  # after the calls are canceled, so that none of them completes before
        ended.wait()

    def hang(self, request: ModelInferRequest, context: Context) -> ModelInferResponse:
        """A response that is not sent while the server runs."""
        self.released.wait(30)
        return floats(0, 1)

    def _handlers(self) -> grpc.GenericRpcHandler[Any, Any]:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "ModelMetadata": grpc.unary_unary_rpc_method_handler(
                    self._metadata, ModelMetadataRequest.FromString, ModelMetadataResponse.SerializeToString
                ),
                "ModelInfer": grpc.unary_unary_rpc_method_handler(
                    self._infer, ModelInferRequest.FromString, ModelInferResponse.SerializeToString
                ),
                "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
                    self._stream, ModelInferRequest.FromString, ModelStreamInferResponse.SerializeToString
                ),
            },
        )

    def _note(self, method: str, context: Context) -> None:
        self.received_metadata.append((method, dict(context.invocation_metadata())))

    def _metadata(self, request: ModelMetadataRequest, context: Context) -> ModelMetadataResponse:
        self._note("ModelMetadata", context)
        self.metadata_requests.append(request)
        return self.model_metadata

    def _infer(self, request: ModelInferRequest, context: Context) -> ModelInferResponse:
        self._note("ModelInfer", context)
        self.requests.append(request)
        return self.respond(request, context)

    def _stream(self, requests: Iterator[ModelInferRequest], context: Context) -> Iterator[ModelStreamInferResponse]:
        self._note("ModelStreamInfer", context)
        for request in requests:
            self.requests.append(request)
            yield from self.stream(request, context)
