"""Which face answers a request.

What a scripted model answers: zeros of the right type and shape.

A server of the Open Inference Protocol over HTTP as a face.

TensorFlow Serving's REST API as a face.
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
from loadgen.reference.asked import Answer, Request, json_course, refused
from loadgen.reference.courses import Course
from loadgen.reference.openai_face import openai_answer
from loadgen.reference.script import Desk, Face, HttpFace, OipFace, OpenAiFace, TfServingFace, TorchServeFace

MAX_ROWS = 65_536


def shape_of(spec: TensorInput, rows: int) -> list[int]:
    if not spec.shape:
        return []
    return [rows if spec.shape[0] < 0 else spec.shape[0], *(1 if size < 0 else size for size in spec.shape[1:])]


def zero_of(spec: TensorInput) -> str | float | bool:
    if spec.datatype == "BYTES":
        return ""
    if spec.datatype == "BOOL":
        return False
    return 0.0 if spec.datatype.startswith("FP") else 0


def nested(value: object, shape: Sequence[int]) -> Any:
    for size in reversed(shape):
        value = [value] * size
    return value


def check_datatypes(specs: Sequence[TensorInput]) -> None:
    """Raises ValueError."""
    unknown = [spec.datatype for spec in specs if spec.datatype not in DTYPES and spec.datatype != "BYTES"]
    if unknown:
        raise ValueError(f"no datatype is called {unknown[0]}: they are {', '.join([*DTYPES, 'BYTES'])}")


_HEAD_SIZE = re.compile(rb"\r\ninference-header-content-length: *(\d+)", re.IGNORECASE)


class _Parameters(msgspec.Struct, frozen=True):
    binary_data_output: bool = False
    binary_data_size: int | None = None


class _Input(msgspec.Struct, frozen=True):
    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: _Parameters = _Parameters()


class _OipRequest(msgspec.Struct, frozen=True):
    inputs: tuple[_Input, ...]
    parameters: _Parameters = _Parameters()


_decode_oip = json_decoder(_OipRequest)


def oip_answer(face: OipFace) -> Answer:
    """Raises ValueError when the face has a datatype that is none."""
    check_datatypes([*face.inputs, *face.outputs])
    base = re.compile(f"/v2/models/{re.escape(quote(face.model, safe=''))}(/versions/[^/]+)?(/ready|/infer)?")
    described = {"name": face.model, "versions": ["1"], "platform": "scripted"}
    metadata = msgspec.json.encode({**described, "inputs": face.inputs, "outputs": face.outputs})
    infer = _inference(face)

    def answer(request: Request) -> Course | None:
        if request.path in ("/v2", "/v2/health/ready", "/v2/health/live"):
            return json_course(0, b'{"name": "scripted", "version": "1", "extensions": ["binary_tensor_data"]}')
        found = base.fullmatch(request.path)
        if found is None:
            return None
        if found[2] == "/infer":
            return infer(request)
        return json_course(0, b"{}" if found[2] else metadata)

    return answer


def _inference(face: OipFace) -> Answer:
    desk = Desk(face.law)

    @lru_cache(64)
    def made(rows: int, is_binary: bool) -> tuple[bytes, tuple[str, ...]]:
        return _oip_outputs(face, rows, is_binary)

    def infer(request: Request) -> Course:
        found = _HEAD_SIZE.search(request.head)
        try:
            asked = _decode_oip(request.body[: int(found[1])] if found else request.body)
        except msgspec.DecodeError:
            return refused(400, "the body cannot be read")
        wrong = _wrong_inputs(face.inputs, asked.inputs)
        if wrong is not None:
            return refused(400, wrong)
        rows = asked.inputs[0].shape[0] if asked.inputs and asked.inputs[0].shape else 1
        body, fields = made(rows, asked.parameters.binary_data_output)
        return json_course(sum(desk.take(request.at_ns, rows=rows)), body, fields=fields)

    return infer


def _wrong_inputs(specs: Sequence[TensorInput], given: Sequence[_Input]) -> str | None:
    by_name = {one.name: one for one in given}
    if by_name.keys() != {spec.name for spec in specs}:
        return "the inputs are not those of the model"
    for spec in specs:
        shape = by_name[spec.name].shape
        is_fit = len(shape) == len(spec.shape) and all(
            want in (-1, have) for want, have in zip(spec.shape, shape, strict=True)
        )
        if by_name[spec.name].datatype != spec.datatype or not is_fit or not 0 < (shape or (1,))[0] <= MAX_ROWS:
            return f"{spec.name} has the wrong datatype or shape"
    return None


def _oip_outputs(face: OipFace, rows: int, is_binary: bool) -> tuple[bytes, tuple[str, ...]]:
    """A body and the header fields that go with it."""
    described: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for spec in face.outputs:
        shape = shape_of(spec, rows)
        one: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": shape}
        if is_binary:
            blobs.append(bytes(prod(shape) * (4 if spec.datatype == "BYTES" else DTYPES[spec.datatype].itemsize)))
            one["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            one["data"] = [zero_of(spec)] * prod(shape)
        described.append(one)
    head = msgspec.json.encode({"model_name": face.model, "model_version": "1", "outputs": described})
    fields = (f"Inference-Header-Content-Length: {len(head)}",) if is_binary else ()
    return head + b"".join(blobs), fields


class _TfServingRequest(msgspec.Struct, frozen=True):
    instances: list[msgspec.Raw] | None = None
    inputs: msgspec.Raw = msgspec.Raw()
    signature_name: str = "serving_default"


_decode_tf_serving = json_decoder(_TfServingRequest)


def tf_serving_answer(face: TfServingFace) -> Answer:
    """Raises ValueError when the face has a datatype that is none."""
    check_datatypes([*face.inputs, *face.outputs])
    base = re.compile(f"/v1/models/{re.escape(quote(face.model, safe=''))}(/versions/[^/:]+)?(/metadata|:predict)?")
    metadata = msgspec.json.encode(_metadata(face))
    state = b'{"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}'
    predict = _prediction(face)

    def answer(request: Request) -> Course | None:
        found = base.fullmatch(request.path)
        if found is None:
            return None
        if found[2] == ":predict":
            return predict(request)
        return json_course(0, metadata if found[2] else state)

    return answer


def _prediction(face: TfServingFace) -> Answer:
    desk = Desk(face.law)

    @lru_cache(64)
    def made(rows: int, is_by_row: bool) -> bytes:
        return msgspec.json.encode(_tf_serving_outputs(face, rows, is_by_row))

    def predict(request: Request) -> Course:
        try:
            asked = _decode_tf_serving(request.body)
        except msgspec.DecodeError:
            return refused(400, "the body cannot be read")
        if (asked.instances is None) == (not memoryview(asked.inputs)) or asked.signature_name != face.signature:
            return refused(400, "give instances or inputs, of the model's signature")
        rows = 1 if asked.instances is None else len(asked.instances)
        if not 0 < rows <= MAX_ROWS:
            return refused(400, "so many rows cannot be taken")
        return json_course(sum(desk.take(request.at_ns, rows=rows)), made(rows, asked.instances is not None))

    return predict


def _tf_serving_outputs(face: TfServingFace, rows: int, is_by_row: bool) -> dict[str, Any]:
    """A lone output has no name."""
    columns = {spec.name: nested(zero_of(spec), [rows, *shape_of(spec, rows)[1:]]) for spec in face.outputs}
    lone = next(iter(columns.values())) if len(columns) == 1 else None
    if not is_by_row:
        return {"outputs": columns if lone is None else lone}
    if lone is None:
        lone = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {"predictions": lone}


_DTYPES = {"FP16": "DT_HALF", "FP32": "DT_FLOAT", "FP64": "DT_DOUBLE", "BYTES": "DT_STRING"}


def _metadata(face: TfServingFace) -> dict[str, Any]:
    signature = {"inputs": _tensors(face.inputs), "outputs": _tensors(face.outputs)}
    return {
        "model_spec": {"name": face.model, "signature_name": "", "version": "1"},
        "metadata": {"signature_def": {"signature_def": {face.signature: signature}}},
    }


def _tensors(specs: Sequence[TensorInput]) -> dict[str, Any]:
    return {
        spec.name: {
            "dtype": _DTYPES.get(spec.datatype, f"DT_{spec.datatype}"),
            "tensor_shape": {"dim": [{"size": str(size), "name": ""} for size in spec.shape], "unknown_rank": False},
        }
        for spec in specs
    }


def answer_of(face: Face) -> Answer:
    """Raises ValueError when the face cannot be."""
    match face:
        case HttpFace():
            return _http_answer(face)
        case OpenAiFace():
            return openai_answer(face)
        case OipFace():
            return oip_answer(face)
        case TfServingFace():
            return tf_serving_answer(face)
        case TorchServeFace():
            return _torchserve_answer(face)
        case _:
            assert_never(face)


def _http_answer(face: HttpFace) -> Answer:
    desk, body = Desk(face.law), msgspec.json.encode(face.answer)

    def answer(request: Request) -> Course | None:
        return _in_turn(desk, request, body) if face.path in (None, request.path) else None

    return answer


def _torchserve_answer(face: TorchServeFace) -> Answer:
    desk, body = Desk(face.law), msgspec.json.encode(face.answer)
    path = f"/predictions/{quote(face.model, safe='')}"

    def answer(request: Request) -> Course | None:
        if request.path == "/ping":
            return json_course(0, b'{"status": "Healthy"}')
        if request.path == path or request.path.startswith(f"{path}/"):
            return _in_turn(desk, request, body)
        return None

    return answer


def _in_turn(desk: Desk, request: Request, body: bytes) -> Course:
    return json_course(sum(desk.take(request.at_ns)), body)
