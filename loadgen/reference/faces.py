"""Which face answers a request."""

from __future__ import annotations

from typing import assert_never
from urllib.parse import quote

import msgspec

from loadgen.reference.asked import Answer, Request, json_course
from loadgen.reference.courses import Course
from loadgen.reference.laws import Desk
from loadgen.reference.oip_face import oip_answer
from loadgen.reference.openai_face import openai_answer
from loadgen.reference.script import Face, HttpFace, OipFace, OpenAiFace, TfServingFace, TorchServeFace
from loadgen.reference.tf_serving_face import tf_serving_answer


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
