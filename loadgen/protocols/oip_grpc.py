"""Open Inference Protocol v2 over gRPC: how a request is built and its answer read, streamed or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from loadgen.payloads.tensors import DTYPES, Named, Tensor, TensorError, TensorInput, text_of, to_bytes
from loadgen.protocols.built import AskMethod, Judge, TargetError, answer_to
from loadgen.protocols.oip_tensors import (
    NO_TENSOR,
    AnswerError,
    Labels,
    Part,
    count_of,
    from_bytes,
    judge_of,
    judge_outputs,
    shaped,
)
from loadgen.protocols.open_inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelStreamInferResponse,
)
from loadgen.transport.address import Address, shown
from loadgen.transport.exchange import Exchange, Tokens
from loadgen.workloads import OipWorkload

_SERVICE = "/inference.GRPCInferenceService"
METADATA = f"{_SERVICE}/ModelMetadata"

_CONTENTS = {
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
"""The field for the elements of each datatype. FP16 has none."""

_MAX_RESPONSES = 1_000_000


def infer_method(workload: OipWorkload) -> str:
    return f"{_SERVICE}/{'ModelStreamInfer' if workload.transport == 'grpc-stream' else 'ModelInfer'}"


class OipGrpc:
    refusal = "The server refused raw tensors; they were sent as numbers."

    def __init__(self, workload: OipWorkload, address: Address) -> None:
        self._model, self._version = workload.model, workload.version or ""
        self._address = address
        self._is_streamed = workload.transport == "grpc-stream"
        self.shown = shown(address, infer_method(workload))
        self.new_reader = StreamedOutputs if self._is_streamed else None

    async def inputs(self, ask: AskMethod) -> tuple[TensorInput, ...]:
        """What the model takes. Raises TargetError."""
        request = ModelMetadataRequest(name=self._model, version=self._version).SerializeToString()
        answer = await answer_to(request, shown(self._address, METADATA), lambda message: ask(message, METADATA))
        try:
            inputs = ModelMetadataResponse.FromString(answer.body).inputs
        except DecodeError as error:
            raise TargetError("the model's metadata cannot be read", "bad-payload", answer.status) from error
        if not inputs:
            raise TargetError("the model's metadata names no inputs", "bad-payload", answer.status)
        return tuple(TensorInput(each.name, each.datatype, tuple(each.shape)) for each in inputs)

    def request(self, part: Part, is_binary: bool) -> bytes:
        """Raises TensorError."""
        inputs = [
            ModelInferRequest.InferInputTensor(
                name=spec.name,
                datatype=spec.datatype,
                shape=tensor.shape,
                contents=None if is_binary else _contents(spec, tensor),
            )
            for spec, tensor in part
        ]
        raw = [to_bytes(tensor) for _, tensor in part] if is_binary else []
        return ModelInferRequest(
            model_name=self._model, model_version=self._version, inputs=inputs, raw_input_contents=raw
        ).SerializeToString()

    def is_refusal(self, exchange: Exchange) -> bool:
        if exchange.error is not None or exchange.status is None:
            return False
        if exchange.status >= 400 or not self._is_streamed:
            return exchange.status >= 400
        try:  # several messages in a row read as one
            return _unwrapped(exchange.body) is None
        except (AnswerError, DecodeError):
            return False

    def named_outputs(self, exchange: Exchange) -> list[Named]:
        """Raises AnswerError."""
        try:
            response = _unwrapped(exchange.body) if self._is_streamed else ModelInferResponse.FromString(exchange.body)
        except DecodeError as error:
            raise AnswerError from error
        if response is None:
            raise AnswerError
        return list(zip((output.name for output in response.outputs), read_response(response), strict=True))

    def judge(self, labels: Labels | None, class_index: int | None = None) -> Judge:
        return judge_of(_outputs_of, labels, class_index)


def _outputs_of(exchange: Exchange) -> list[Tensor]:
    if isinstance(exchange.reader, StreamedOutputs):
        return exchange.reader.first_outputs()
    try:
        return read_response(ModelInferResponse.FromString(exchange.body))
    except DecodeError as error:
        raise AnswerError from error


class StreamedOutputs:
    """Reads the answers to one streamed request. How many tokens are in each the protocol does not say."""

    def __init__(self) -> None:
        self._tokens = Tokens()
        self.detail: str | None = None
        self._times_ns: list[int] = []
        self._first: list[Tensor] | None = None

    @property
    def tokens(self) -> Tokens:
        if self._times_ns:
            self._tokens.first_token_ns = self._tokens.first_output_ns = self._times_ns[0]
            self._tokens.last_token_ns = self._times_ns[-1]
            self._tokens.chunk_ns = self._times_ns
        return self._tokens

    def first_outputs(self) -> list[Tensor]:
        """Raises AnswerError when there was no answer."""
        if self._first is None:
            raise AnswerError
        return self._first

    def feed(self, piece: bytes, at_ns: int) -> str | None:
        try:
            response = _unwrapped(piece)
            if response is None:
                return "http-5xx"
            outputs = read_response(response)
            error = judge_outputs(outputs, None).error
        except (AnswerError, DecodeError, ValueError, OverflowError, MemoryError):
            return "bad-payload"
        if self._first is None:
            self._first = outputs
        self._times_ns.append(at_ns)
        return "bad-payload" if len(self._times_ns) > _MAX_RESPONSES else error


def _unwrapped(piece: bytes) -> ModelInferResponse | None:
    """One streamed answer, None when it is the server's word that there is none. Triton wraps its answers; MLServer
    does not, and what is an error's text in the one is the model's name in the other. Raises AnswerError, DecodeError.
    """
    try:
        wrapped = ModelStreamInferResponse.FromString(piece)
    except DecodeError:
        wrapped = ModelStreamInferResponse()
    if wrapped.HasField("infer_response"):
        return None if wrapped.error_message else wrapped.infer_response
    plain = ModelInferResponse.FromString(piece)
    if plain.outputs:
        return plain
    if wrapped.error_message:
        return None
    raise AnswerError


def read_response(response: ModelInferResponse) -> list[Tensor]:
    """The outputs in their order; one of BYTES is checked and comes empty. Raises AnswerError."""
    outputs, raw = response.outputs, response.raw_output_contents
    if not outputs or (raw and len(raw) != len(outputs)):
        raise AnswerError
    if not raw:
        return [_from_contents(output.datatype, tuple(output.shape), output.contents) for output in outputs]
    return [
        from_bytes(output.datatype, tuple(output.shape), blob, 0, len(blob))
        for output, blob in zip(outputs, raw, strict=True)
    ]


def _from_contents(datatype: str, shape: tuple[int, ...], contents: InferTensorContents) -> Tensor:
    field = _CONTENTS.get(datatype)
    if field is None:
        raise AnswerError
    elements: Sequence[Any] = getattr(contents, field)
    if len(elements) != count_of(shape):
        raise AnswerError
    if datatype == "BYTES":
        return NO_TENSOR
    dtype = DTYPES[datatype]
    tensor = np.array(elements, dtype)
    # a field for narrow numbers is wider than they are
    if dtype.kind in "iu" and dtype.itemsize < 4 and not np.array_equal(tensor, np.array(elements, np.int64)):
        raise AnswerError
    return shaped(tensor, shape)


def _contents(spec: TensorInput, tensor: Tensor) -> InferTensorContents:
    field = _CONTENTS.get(spec.datatype)
    if field is None:
        raise TensorError(f"{spec.name} has datatype {spec.datatype}, which gRPC carries as raw bytes alone")
    elements = tensor.ravel().tolist()
    if spec.datatype == "BYTES":
        elements = [text_of(element) for element in elements]
    contents = InferTensorContents()
    getattr(contents, field).extend(elements)
    return contents
