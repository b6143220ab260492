"""Build requests and read responses of the Open Inference Protocol v2 over gRPC, unary or
streamed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from loadgen.payloads.tensors import DTYPES, NamedTensor, Tensor, TensorError, TensorInput, encode_string, to_bytes
from loadgen.protocols.oip_tensors import (
    EMPTY_TENSOR,
    Labels,
    RequestInputs,
    ResponseError,
    build_check,
    check_outputs,
    count_elements,
    decode_tensor,
    reshape,
)
from loadgen.protocols.open_inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelStreamInferResponse,
)
from loadgen.protocols.prepared import CheckResponse, SendGrpcRequest, TargetError, request_or_raise
from loadgen.transport.address import Address, format_grpc_method
from loadgen.transport.exchange import Exchange, Tokens
from loadgen.workloads import OipWorkload

_SERVICE = "/inference.GRPCInferenceService"
METADATA_METHOD = f"{_SERVICE}/ModelMetadata"

_FIELD_BY_DATATYPE = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Protocol Buffers field for the elements of a tensor, by datatype. FP16 has no such field."""

_MAX_RESPONSES = 1_000_000


def get_infer_method(workload: OipWorkload) -> str:
    return f"{_SERVICE}/{'ModelStreamInfer' if workload.transport == 'grpc-stream' else 'ModelInfer'}"


class OipGrpc:
    rejection_note = "The server rejected raw tensors, so tensors were sent as typed elements."

    def __init__(self, workload: OipWorkload, address: Address) -> None:
        self._model, self._version = workload.model, workload.version or ""
        self._address = address
        self._is_streamed = workload.transport == "grpc-stream"
        self.label = format_grpc_method(address, get_infer_method(workload))
        self.new_reader = OipStreamReader if self._is_streamed else None

    async def fetch_inputs(self, send: SendGrpcRequest) -> tuple[TensorInput, ...]:
        """Request the model's metadata and return the model's inputs. Raises TargetError if the
        metadata cannot be read."""
        request = ModelMetadataRequest(name=self._model, version=self._version).SerializeToString()
        response = await request_or_raise(
            request, format_grpc_method(self._address, METADATA_METHOD), lambda message: send(message, METADATA_METHOD)
        )
        try:
            inputs = ModelMetadataResponse.FromString(response.body).inputs
        except DecodeError as error:
            raise TargetError("the model's metadata cannot be read", "bad-payload", response.status) from error
        if not inputs:
            raise TargetError("the model's metadata has no inputs", "bad-payload", response.status)
        return tuple(
            TensorInput(model_input.name, model_input.datatype, tuple(model_input.shape)) for model_input in inputs
        )

    def encode_request(self, inputs: RequestInputs, is_binary: bool) -> bytes:
        """Serialize one inference request. Raises TensorError for a tensor that cannot be
        encoded."""
        input_tensors = [
            ModelInferRequest.InferInputTensor(
                name=spec.name,
                datatype=spec.datatype,
                shape=tensor.shape,
                contents=None if is_binary else _encode_contents(spec, tensor),
            )
            for spec, tensor in inputs
        ]
        raw_contents = [to_bytes(tensor) for _, tensor in inputs] if is_binary else []
        return ModelInferRequest(
            model_name=self._model, model_version=self._version, inputs=input_tensors, raw_input_contents=raw_contents
        ).SerializeToString()

    def is_rejection(self, exchange: Exchange) -> bool:
        if exchange.error is not None or exchange.status is None:
            return False
        if exchange.status >= 400 or not self._is_streamed:
            return exchange.status >= 400
        try:  # several consecutive messages parse as one message
            return _unwrap(exchange.body) is None
        except (ResponseError, DecodeError):
            return False

    def read_named_outputs(self, exchange: Exchange) -> list[NamedTensor]:
        """Return the names and tensors of the outputs in a response. Raises ResponseError if the
        response violates the protocol."""
        try:
            response = _unwrap(exchange.body) if self._is_streamed else ModelInferResponse.FromString(exchange.body)
        except DecodeError as error:
            raise ResponseError from error
        if response is None:
            raise ResponseError
        return list(zip((output.name for output in response.outputs), read_response(response), strict=True))

    def build_check(self, labels: Labels | None, class_index: int | None = None) -> CheckResponse:
        return build_check(_read_outputs, labels, class_index)


def _read_outputs(exchange: Exchange) -> list[Tensor]:
    if isinstance(exchange.reader, OipStreamReader):
        return exchange.reader.get_first_outputs()
    try:
        return read_response(ModelInferResponse.FromString(exchange.body))
    except DecodeError as error:
        raise ResponseError from error


class OipStreamReader:
    """Reader of the streamed responses to one request. The number of tokens in a response is
    unknown, because the protocol does not report it."""

    def __init__(self) -> None:
        self._tokens = Tokens()
        self.detail: str | None = None
        self._receive_times_ns: list[int] = []
        self._first_outputs: list[Tensor] | None = None

    @property
    def tokens(self) -> Tokens:
        if self._receive_times_ns:
            self._tokens.first_token_ns = self._tokens.first_output_ns = self._receive_times_ns[0]
            self._tokens.last_token_ns = self._receive_times_ns[-1]
            self._tokens.chunk_ns = self._receive_times_ns
        return self._tokens

    def get_first_outputs(self) -> list[Tensor]:
        """Return the output tensors of the first streamed response. Raises ResponseError if no
        response was received."""
        if self._first_outputs is None:
            raise ResponseError
        return self._first_outputs

    def feed(self, piece: bytes, received_ns: int) -> str | None:
        try:
            response = _unwrap(piece)
            if response is None:
                return "http-5xx"
            outputs = read_response(response)
            error = check_outputs(outputs, None).error
        except (ResponseError, DecodeError, ValueError, OverflowError, MemoryError):
            return "bad-payload"
        if self._first_outputs is None:
            self._first_outputs = outputs
        self._receive_times_ns.append(received_ns)
        return "bad-payload" if len(self._receive_times_ns) > _MAX_RESPONSES else error


def _unwrap(piece: bytes) -> ModelInferResponse | None:
    """Decode one streamed response. Return None if the server reports an error.

    Triton wraps streamed responses in another message; MLServer does not. Field 1 is the error
    message in Triton's format, and the model name in MLServer's format. Raises ResponseError or
    DecodeError for a response that violates the protocol.
    """
    try:
        wrapper = ModelStreamInferResponse.FromString(piece)
    except DecodeError:
        wrapper = ModelStreamInferResponse()
    if wrapper.HasField("infer_response"):
        return None if wrapper.error_message else wrapper.infer_response
    response = ModelInferResponse.FromString(piece)
    if response.outputs:
        return response
    if wrapper.error_message:
        return None
    raise ResponseError


def read_response(response: ModelInferResponse) -> list[Tensor]:
    """Return the output tensors of a response, in the order of the response. BYTES outputs are
    validated and returned as empty tensors. Raises ResponseError if the response violates the
    protocol."""
    outputs, raw_contents = response.outputs, response.raw_output_contents
    if not outputs or (raw_contents and len(raw_contents) != len(outputs)):
        raise ResponseError
    if not raw_contents:
        return [_decode_contents(output.datatype, tuple(output.shape), output.contents) for output in outputs]
    return [
        decode_tensor(output.datatype, tuple(output.shape), blob, 0, len(blob))
        for output, blob in zip(outputs, raw_contents, strict=True)
    ]


def _decode_contents(datatype: str, shape: tuple[int, ...], contents: InferTensorContents) -> Tensor:
    field = _FIELD_BY_DATATYPE.get(datatype)
    if field is None:
        raise ResponseError
    elements: Sequence[Any] = getattr(contents, field)
    if len(elements) != count_elements(shape):
        raise ResponseError
    if datatype == "BYTES":
        return EMPTY_TENSOR
    dtype = DTYPES[datatype]
    tensor = np.array(elements, dtype)
    # The field for narrow integers is wider than the datatype, so the values may overflow.
    if dtype.kind in "iu" and dtype.itemsize < 4 and not np.array_equal(tensor, np.array(elements, np.int64)):
        raise ResponseError
    return reshape(tensor, shape)


def _encode_contents(spec: TensorInput, tensor: Tensor) -> InferTensorContents:
    field = _FIELD_BY_DATATYPE.get(spec.datatype)
    if field is None:
        raise TensorError(f"{spec.name} has datatype {spec.datatype}, which gRPC supports as raw bytes only")
    elements = tensor.ravel().tolist()
    if spec.datatype == "BYTES":
        elements = [encode_string(element) for element in elements]
    contents = InferTensorContents()
    getattr(contents, field).extend(elements)
    return contents
