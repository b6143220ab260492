"""Mock protocols of the mock server: build the request handler of each protocol.

Over the Open Inference Protocol (HTTP) and TensorFlow Serving's REST API, a mock model returns
outputs of its declared datatypes and shapes, filled with zeros.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, assert_never
from urllib.parse import quote

import msgspec

from loadgen.decoding import json_decoder
from loadgen.payloads.tensors import DTYPES, TensorInput
from loadgen.reference.openai_mock import build_openai_handler
from loadgen.reference.playback import ResponseScript
from loadgen.reference.requests import Request, RequestHandler, build_error_response, build_json_response
from loadgen.reference.script import (
    FifoService,
    HttpMock,
    MockProtocol,
    OipMock,
    OpenAiMock,
    TfServingMock,
    TorchServeMock,
)

MAX_ROWS = 65_536


def compute_output_shape(spec: TensorInput, row_count: int) -> list[int]:
    if not spec.shape:
        return []
    return [row_count if spec.shape[0] < 0 else spec.shape[0], *(1 if size < 0 else size for size in spec.shape[1:])]


def get_zero_value(spec: TensorInput) -> str | float | bool:
    if spec.datatype == "BYTES":
        return ""
    if spec.datatype == "BOOL":
        return False
    return 0.0 if spec.datatype.startswith("FP") else 0


def build_nested_list(value: object, shape: Sequence[int]) -> Any:
    for size in reversed(shape):
        value = [value] * size
    return value


def check_datatypes(specs: Sequence[TensorInput]) -> None:
    """Raise ValueError if a tensor has a datatype that does not exist in the Open Inference
    Protocol."""
    unknown_datatypes = [spec.datatype for spec in specs if spec.datatype not in DTYPES and spec.datatype != "BYTES"]
    if unknown_datatypes:
        raise ValueError(f"the datatype {unknown_datatypes[0]} is unknown. Use one of {', '.join([*DTYPES, 'BYTES'])}.")


_JSON_LENGTH_PATTERN = re.compile(rb"\r\ninference-header-content-length: *(\d+)", re.IGNORECASE)


class _Parameters(msgspec.Struct, frozen=True):
    binary_data_output: bool = False
    binary_data_size: int | None = None


class _Input(TensorInput, frozen=True):
    parameters: _Parameters = _Parameters()


class _OipRequest(msgspec.Struct, frozen=True):
    inputs: tuple[_Input, ...]
    parameters: _Parameters = _Parameters()


_decode_oip = json_decoder(_OipRequest)


def build_oip_handler(mock: OipMock) -> RequestHandler:
    """Build the request handler of a mock server for the Open Inference Protocol. Raises ValueError
    if a datatype of the mock model does not exist."""
    check_datatypes([*mock.inputs, *mock.outputs])
    path_pattern = re.compile(f"/v2/models/{re.escape(quote(mock.model, safe=''))}(/versions/[^/]+)?(/ready|/infer)?")
    model_fields = {"name": mock.model, "versions": ["1"], "platform": "scripted"}
    metadata = msgspec.json.encode({**model_fields, "inputs": mock.inputs, "outputs": mock.outputs})
    infer = _build_infer_handler(mock)

    def handle(request: Request) -> ResponseScript | None:
        if request.path in ("/v2", "/v2/health/ready", "/v2/health/live"):
            return build_json_response(0, b'{"name": "scripted", "version": "1", "extensions": ["binary_tensor_data"]}')
        match = path_pattern.fullmatch(request.path)
        if match is None:
            return None
        if match[2] == "/infer":
            return infer(request)
        return build_json_response(0, b"{}" if match[2] else metadata)

    return handle


def _build_infer_handler(mock: OipMock) -> RequestHandler:
    service = FifoService(mock.service_model)

    @lru_cache(64)
    def encode_outputs(row_count: int, is_binary: bool) -> tuple[bytes, tuple[str, ...]]:
        return _encode_oip_outputs(mock, row_count, is_binary)

    def infer(request: Request) -> ResponseScript:
        match = _JSON_LENGTH_PATTERN.search(request.head)
        try:
            inference_request = _decode_oip(request.body[: int(match[1])] if match else request.body)
        except msgspec.DecodeError:
            return build_error_response(400, "the body is not a valid inference request")
        input_error = _describe_input_error(mock.inputs, inference_request.inputs)
        if input_error is not None:
            return build_error_response(400, input_error)
        row_count = (
            inference_request.inputs[0].shape[0]
            if inference_request.inputs and inference_request.inputs[0].shape
            else 1
        )
        body, fields = encode_outputs(row_count, inference_request.parameters.binary_data_output)
        return build_json_response(sum(service.schedule(request.at_ns, row_count=row_count)), body, fields=fields)

    return infer


def _describe_input_error(specs: Sequence[TensorInput], inputs: Sequence[_Input]) -> str | None:
    input_by_name = {input_.name: input_ for input_ in inputs}
    if input_by_name.keys() != {spec.name for spec in specs}:
        return "the inputs do not match the model"
    for spec in specs:
        shape = input_by_name[spec.name].shape
        has_matching_shape = len(shape) == len(spec.shape) and all(
            expected_size in (-1, actual_size) for expected_size, actual_size in zip(spec.shape, shape, strict=True)
        )
        if (
            input_by_name[spec.name].datatype != spec.datatype
            or not has_matching_shape
            or not 0 < (shape or (1,))[0] <= MAX_ROWS
        ):
            return f"{spec.name} has the wrong datatype or shape"
    return None


def _encode_oip_outputs(mock: OipMock, row_count: int, is_binary: bool) -> tuple[bytes, tuple[str, ...]]:
    """Return the body and the header fields of the response to an inference request."""
    descriptions: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for spec in mock.outputs:
        shape = compute_output_shape(spec, row_count)
        description: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": shape}
        if is_binary:
            blobs.append(bytes(prod(shape) * (4 if spec.datatype == "BYTES" else DTYPES[spec.datatype].itemsize)))
            description["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            description["data"] = [get_zero_value(spec)] * prod(shape)
        descriptions.append(description)
    json_bytes = msgspec.json.encode({"model_name": mock.model, "model_version": "1", "outputs": descriptions})
    fields = (f"Inference-Header-Content-Length: {len(json_bytes)}",) if is_binary else ()
    return json_bytes + b"".join(blobs), fields


class _TfServingRequest(msgspec.Struct, frozen=True):
    instances: list[msgspec.Raw] | None = None
    inputs: msgspec.Raw = msgspec.Raw()
    signature_name: str = "serving_default"


_decode_tf_serving = json_decoder(_TfServingRequest)


def build_tf_serving_handler(mock: TfServingMock) -> RequestHandler:
    """Build the request handler of a mock TensorFlow Serving server. Raises ValueError if a
    datatype of the mock model does not exist."""
    check_datatypes([*mock.inputs, *mock.outputs])
    path_pattern = re.compile(
        f"/v1/models/{re.escape(quote(mock.model, safe=''))}(/versions/[^/:]+)?(/metadata|:predict)?"
    )
    metadata = msgspec.json.encode(_build_metadata(mock))
    status_body = b'{"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}'
    predict = _build_predict_handler(mock)

    def handle(request: Request) -> ResponseScript | None:
        match = path_pattern.fullmatch(request.path)
        if match is None:
            return None
        if match[2] == ":predict":
            return predict(request)
        return build_json_response(0, metadata if match[2] else status_body)

    return handle


def _build_predict_handler(mock: TfServingMock) -> RequestHandler:
    service = FifoService(mock.service_model)

    @lru_cache(64)
    def encode_body(row_count: int, is_row_format: bool) -> bytes:
        return msgspec.json.encode(_build_tf_serving_outputs(mock, row_count, is_row_format))

    def predict(request: Request) -> ResponseScript:
        try:
            prediction_request = _decode_tf_serving(request.body)
        except msgspec.DecodeError:
            return build_error_response(400, "the body is not a valid prediction request")
        if (prediction_request.instances is None) == (
            not memoryview(prediction_request.inputs)
        ) or prediction_request.signature_name != mock.signature:
            return build_error_response(
                400, "the request must have either instances or inputs that match the model's signature"
            )
        row_count = 1 if prediction_request.instances is None else len(prediction_request.instances)
        if not 0 < row_count <= MAX_ROWS:
            return build_error_response(400, f"the number of rows must be from 1 to {MAX_ROWS:,} (got {row_count:,})")
        return build_json_response(
            sum(service.schedule(request.at_ns, row_count=row_count)),
            encode_body(row_count, prediction_request.instances is not None),
        )

    return predict


def _build_tf_serving_outputs(mock: TfServingMock, row_count: int, is_row_format: bool) -> dict[str, Any]:
    """Return the outputs of the mock model as JSON fields, by row (`predictions`) or by column
    (`outputs`). A single output has no name."""
    columns = {
        spec.name: build_nested_list(get_zero_value(spec), [row_count, *compute_output_shape(spec, row_count)[1:]])
        for spec in mock.outputs
    }
    single_output = next(iter(columns.values())) if len(columns) == 1 else None
    if not is_row_format:
        return {"outputs": columns if single_output is None else single_output}
    if single_output is None:
        single_output = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {"predictions": single_output}


_DTYPE_BY_DATATYPE = {"FP16": "DT_HALF", "FP32": "DT_FLOAT", "FP64": "DT_DOUBLE", "BYTES": "DT_STRING"}


def _build_metadata(mock: TfServingMock) -> dict[str, Any]:
    signature = {"inputs": _build_tensor_infos(mock.inputs), "outputs": _build_tensor_infos(mock.outputs)}
    return {
        "model_spec": {"name": mock.model, "signature_name": "", "version": "1"},
        "metadata": {"signature_def": {"signature_def": {mock.signature: signature}}},
    }


def _build_tensor_infos(specs: Sequence[TensorInput]) -> dict[str, Any]:
    return {
        spec.name: {
            "dtype": _DTYPE_BY_DATATYPE.get(spec.datatype, f"DT_{spec.datatype}"),
            "tensor_shape": {"dim": [{"size": str(size), "name": ""} for size in spec.shape], "unknown_rank": False},
        }
        for spec in specs
    }


def build_handler(mock: MockProtocol) -> RequestHandler:
    """Build the request handler of a mock protocol. Raises ValueError if the settings of the
    protocol are invalid."""
    match mock:
        case HttpMock():
            return _build_http_handler(mock)
        case OpenAiMock():
            return build_openai_handler(mock)
        case OipMock():
            return build_oip_handler(mock)
        case TfServingMock():
            return build_tf_serving_handler(mock)
        case TorchServeMock():
            return _build_torchserve_handler(mock)
        case _:
            assert_never(mock)


def _build_http_handler(mock: HttpMock) -> RequestHandler:
    service, body = FifoService(mock.service_model), msgspec.json.encode(mock.response)

    def handle(request: Request) -> ResponseScript | None:
        return _serve_json(service, request, body) if mock.path in (None, request.path) else None

    return handle


def _build_torchserve_handler(mock: TorchServeMock) -> RequestHandler:
    service, body = FifoService(mock.service_model), msgspec.json.encode(mock.response)
    path = f"/predictions/{quote(mock.model, safe='')}"

    def handle(request: Request) -> ResponseScript | None:
        if request.path == "/ping":
            return build_json_response(0, b'{"status": "Healthy"}')
        if request.path == path or request.path.startswith(f"{path}/"):
            return _serve_json(service, request, body)
        return None

    return handle


def _serve_json(service: FifoService, request: Request, body: bytes) -> ResponseScript:
    return build_json_response(sum(service.schedule(request.at_ns)), body)
