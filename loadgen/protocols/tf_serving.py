"""Prepare workloads for TensorFlow Serving's REST API: predictions for the rows of an .npz file, or
for inputs generated from the model's metadata."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from loadgen.decoding import decode_json, json_decoder
from loadgen.payloads.datasets import draw_indices
from loadgen.payloads.tensors import Tensor, TensorError, TensorInput, generate_inputs, read_npz, select_inputs
from loadgen.protocols.http import RequestParts, build_omitted_request_notes, encode_request, encode_within_memory
from loadgen.protocols.prepared import (
    MAX_REQUESTS_BYTES,
    RESPONSE_OK,
    PreparedWorkload,
    ResponseCheck,
    SendRequest,
    TargetError,
    WorkloadError,
    classify_status,
    request_or_raise,
)
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange
from loadgen.workloads import TfServingWorkload

_GENERATED_REQUEST_COUNT = 32
"""Number of generated requests. The requests differ, so that a cache in front of the model cannot
serve all of them."""

_DATATYPE_BY_DTYPE = {
    "DT_BOOL": "BOOL",
    "DT_UINT8": "UINT8",
    "DT_UINT16": "UINT16",
    "DT_UINT32": "UINT32",
    "DT_UINT64": "UINT64",
    "DT_INT8": "INT8",
    "DT_INT16": "INT16",
    "DT_INT32": "INT32",
    "DT_INT64": "INT64",
    "DT_HALF": "FP16",
    "DT_FLOAT": "FP32",
    "DT_DOUBLE": "FP64",
    "DT_STRING": "BYTES",
}


class _Dim(msgspec.Struct, frozen=True):
    size: str = "0"


class _Shape(msgspec.Struct, frozen=True):
    dim: tuple[_Dim, ...] = ()
    unknown_rank: bool = False


class _Input(msgspec.Struct, frozen=True):
    dtype: str
    tensor_shape: _Shape = _Shape()


class _Signature(msgspec.Struct, frozen=True):
    inputs: dict[str, _Input] = {}


class _Signatures(msgspec.Struct, frozen=True):
    signature_def: dict[str, _Signature]


class _MetadataContent(msgspec.Struct, frozen=True):
    signature_def: _Signatures


class _Metadata(msgspec.Struct, frozen=True):
    metadata: _MetadataContent


class _Response(msgspec.Struct, frozen=True):
    predictions: msgspec.Raw = msgspec.Raw()
    outputs: msgspec.Raw = msgspec.Raw()


async def build_tf_serving(
    workload: TfServingWorkload, endpoint: Endpoint, address: Address, send: SendRequest
) -> PreparedWorkload:
    """Prepare a TensorFlow Serving workload. Raises TargetError if the model's metadata cannot be
    read, and WorkloadError if the requests cannot be built."""
    model_path = _format_model_path(workload, address)
    metadata_request = encode_request("GET", f"{model_path}/metadata", address, endpoint.headers, None)
    metadata_label = f"GET {address.format_url(f'{model_path}/metadata')}"
    response = await request_or_raise(metadata_request, metadata_label, send)
    specs, notes = _read_specs(response, workload.signature)
    try:
        inputs = _load_inputs(workload, specs)
        request_parts = _build_request_parts(f"{model_path}:predict", workload, specs, inputs)
        requests, is_truncated = encode_within_memory(request_parts, "POST", endpoint, address)
    except TensorError as error:
        raise WorkloadError(
            str(error), hint="Use the input names as array names in the .npz file, with rows as the first axis."
        ) from error
    if not requests:
        raise WorkloadError(
            f"the tensors have too few rows for a request of {workload.rows_per_request} rows",
            hint="Set a smaller `rows_per_request`, or provide more rows.",
        )
    return PreparedWorkload(
        requests=requests,
        check=check_prediction,
        label=f"POST {address.format_url(f'{model_path}:predict')}",
        request_indices=draw_indices(workload.popularity, len(requests), workload.seed),
        notes=(*notes, *build_omitted_request_notes(requests, is_truncated)),
    )


_decode_response = json_decoder(_Response)


def check_prediction(exchange: Exchange) -> ResponseCheck:
    error = classify_status(exchange.status or 0)
    if error is not None:
        return ResponseCheck(error)
    try:
        response = _decode_response(exchange.body)
    except msgspec.DecodeError:
        # The server writes NaN, which is not valid JSON; then the output is wrong rather than the
        # message.
        return ResponseCheck("bad-output" if b"NaN" in exchange.body else "bad-payload")
    return (
        RESPONSE_OK
        if memoryview(response.predictions) or memoryview(response.outputs)
        else ResponseCheck("bad-payload")
    )


def _format_model_path(workload: TfServingWorkload, address: Address) -> str:
    version_path = "" if workload.version is None else f"/versions/{quote(workload.version, safe='')}"
    return f"{address.path.partition('?')[0].rstrip('/')}/v1/models/{quote(workload.model, safe='')}{version_path}"


def _read_specs(response: Exchange, signature: str) -> tuple[tuple[TensorInput, ...], tuple[str, ...]]:
    """Return the inputs of a model signature, ordered by name, and notes about inputs without a
    declared shape."""
    try:
        signatures = decode_json(response.body, _Metadata).metadata.signature_def.signature_def
    except msgspec.DecodeError as error:
        raise TargetError(f"the model's metadata cannot be read: {error}", "bad-payload", response.status) from error
    if signature not in signatures:
        available_names = ", ".join(sorted(signatures)[:10]) or "none"
        raise WorkloadError(
            f"the model has no signature {signature!r}", hint=f"The model has these signatures: {available_names}."
        )
    inputs = signatures[signature].inputs
    if not inputs:
        raise TargetError(f"the signature {signature!r} has no inputs", "bad-payload", response.status)
    try:
        specs = tuple(_build_spec(name, inputs[name]) for name in sorted(inputs))
    except ValueError as error:
        raise TargetError(
            "the model's metadata contains an axis size that is not an integer", "bad-payload", response.status
        ) from error
    unknown_rank_names = [name for name in sorted(inputs) if inputs[name].tensor_shape.unknown_rank]
    return specs, tuple(
        f"the model does not declare the shape of {name}, so one value per row was sent" for name in unknown_rank_names
    )


def _build_spec(name: str, tensor_info: _Input) -> TensorInput:
    shape = (
        (-1,) if tensor_info.tensor_shape.unknown_rank else tuple(int(dim.size) for dim in tensor_info.tensor_shape.dim)
    )
    return TensorInput(name, _DATATYPE_BY_DTYPE.get(tensor_info.dtype, tensor_info.dtype), shape)


def _load_inputs(workload: TfServingWorkload, specs: Sequence[TensorInput]) -> dict[str, Tensor]:
    """Load or generate the input arrays, by input name. The first axis of each array is the row
    axis, even for a scalar input."""
    if workload.tensors is None:
        row_specs = [msgspec.structs.replace(spec, shape=spec.shape or (-1,)) for spec in specs]
        return generate_inputs(
            row_specs,
            workload.rows_per_request,
            _GENERATED_REQUEST_COUNT,
            workload.seed,
            limit_bytes=MAX_REQUESTS_BYTES,
        )
    inputs = select_inputs(read_npz(workload.tensors), specs)
    non_finite_names = [
        name for name, tensor in inputs.items() if tensor.dtype.kind == "f" and not np.isfinite(tensor).all()
    ]
    if non_finite_names:
        raise TensorError(
            f"these inputs contain NaN or infinity, which JSON does not support: {', '.join(non_finite_names)}"
        )
    return inputs


def _build_request_parts(
    path: str, workload: TfServingWorkload, specs: Sequence[TensorInput], inputs: Mapping[str, Tensor]
) -> Iterator[RequestParts]:
    """Yield the parts of each request. The body has row format (`instances`), or column format
    (`inputs`) if an input is a scalar and therefore has no rows."""
    rows_per_request = workload.rows_per_request
    scalar_names = [spec.name for spec in specs if not spec.shape]
    row_count = len(inputs[specs[0].name])
    for start in range(0, row_count - rows_per_request + 1, rows_per_request):
        columns = {spec.name: _to_lists(inputs[spec.name][start : start + rows_per_request]) for spec in specs}
        inputs_field: dict[str, Any] = {"instances": _build_instances(columns)}
        if scalar_names:
            inputs_field = {"inputs": columns | {name: columns[name][0] for name in scalar_names}}
        body = msgspec.json.encode({"signature_name": workload.signature, **inputs_field})
        yield RequestParts(path, body, "application/json")


def _build_instances(columns: Mapping[str, list[Any]]) -> list[Any]:
    """Return the instances of a request: plain values if the model has a single input, otherwise
    objects with the values by input name."""
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _to_lists(tensor: Tensor) -> list[Any]:
    """Return a tensor as nested lists, one level per axis, for JSON. Strings that are not UTF-8
    become base64 objects in TensorFlow Serving's format."""
    if tensor.dtype.kind == "S":
        texts = [_encode_string(text) for text in tensor.ravel().tolist()]
        values = np.empty(tensor.size, object)
        values[:] = texts
        tensor = values.reshape(tensor.shape)
    nested_lists: list[Any] = tensor.tolist()
    return nested_lists


def _encode_string(text: bytes) -> str | dict[str, str]:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return {"b64": b64encode(text).decode()}
