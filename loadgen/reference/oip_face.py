"""A server of the Open Inference Protocol over HTTP as a face."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any
from urllib.parse import quote

import msgspec

from loadgen.decoding import json_decoder
from loadgen.payloads.tensors import DTYPES, TensorInput
from loadgen.reference.asked import Answer, Request, json_course, refused
from loadgen.reference.courses import Course
from loadgen.reference.laws import Desk
from loadgen.reference.script import OipFace
from loadgen.reference.zeros import MAX_ROWS, check_datatypes, shape_of, zero_of

_HEAD_SIZE = re.compile(rb"\r\ninference-header-content-length: *(\d+)", re.IGNORECASE)


class _Parameters(msgspec.Struct, frozen=True):
    binary_data_output: bool = False
    binary_data_size: int | None = None


class _Input(msgspec.Struct, frozen=True):
    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: _Parameters = _Parameters()


class _Asked(msgspec.Struct, frozen=True):
    inputs: tuple[_Input, ...]
    parameters: _Parameters = _Parameters()


_decode = json_decoder(_Asked)


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
        return _outputs(face, rows, is_binary)

    def infer(request: Request) -> Course:
        found = _HEAD_SIZE.search(request.head)
        try:
            asked = _decode(request.body[: int(found[1])] if found else request.body)
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


def _outputs(face: OipFace, rows: int, is_binary: bool) -> tuple[bytes, tuple[str, ...]]:
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
