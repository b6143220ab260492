"""TensorFlow Serving's REST API as a face."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec

from loadgen.decoding import json_decoder
from loadgen.payloads.tensors import TensorInput
from loadgen.reference.asked import Answer, Request, json_course, refused
from loadgen.reference.courses import Course
from loadgen.reference.laws import Desk
from loadgen.reference.script import TfServingFace
from loadgen.reference.zeros import MAX_ROWS, check_datatypes, nested, shape_of, zero_of


class _Asked(msgspec.Struct, frozen=True):
    instances: list[msgspec.Raw] | None = None
    inputs: msgspec.Raw = msgspec.Raw()
    signature_name: str = "serving_default"


_decode = json_decoder(_Asked)


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
        return msgspec.json.encode(_outputs(face, rows, is_by_row))

    def predict(request: Request) -> Course:
        try:
            asked = _decode(request.body)
        except msgspec.DecodeError:
            return refused(400, "the body cannot be read")
        if (asked.instances is None) == (not memoryview(asked.inputs)) or asked.signature_name != face.signature:
            return refused(400, "give instances or inputs, of the model's signature")
        rows = 1 if asked.instances is None else len(asked.instances)
        if not 0 < rows <= MAX_ROWS:
            return refused(400, "so many rows cannot be taken")
        return json_course(sum(desk.take(request.at_ns, rows=rows)), made(rows, asked.instances is not None))

    return predict


def _outputs(face: TfServingFace, rows: int, is_by_row: bool) -> dict[str, Any]:
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
