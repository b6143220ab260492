import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from loadgen.payloads.tensors import TensorInput
from loadgen.protocols.prepared import PreparedWorkload, TargetError, WorkloadError
from loadgen.protocols.tf_serving import build_tf_serving, check_prediction
from loadgen.records import Endpoint
from loadgen.reference.mock_protocols import build_tf_serving_handler
from loadgen.reference.requests import parse_request
from loadgen.reference.script import TfServingMock
from loadgen.transport.address import parse_url
from loadgen.transport.exchange import Exchange
from loadgen.workloads import Popularity, TfServingWorkload

URL = "http://h:8501/base"
ADDRESS = parse_url(URL)
ENDPOINT = Endpoint((URL,), headers=(("X-Key", "k"),))
SEVERAL = TfServingMock(
    model="m",
    inputs=(TensorInput("x", "FP32", (-1, 2)), TensorInput("ids", "INT64", (-1, -1)), TensorInput("t", "BYTES", (-1,))),
)


class Model:
    """Answers from a scripted face, without a network; `asked` is what it was asked."""

    def __init__(self, face: TfServingMock) -> None:
        self._answer = build_tf_serving_handler(face)
        self.asked: list[bytes] = []

    async def ask(self, request: bytes) -> Exchange:
        self.asked.append(request)
        return self.answered(request)

    def answered(self, request: bytes) -> Exchange:
        course = self._answer(parse_request(request.replace(b" /base", b" ", 1), 0))
        assert course is not None
        head, _, body = b"".join(course.pieces).partition(b"\r\n\r\n")
        return Exchange(0, 0, 0, request, lambda _: None, status=int(head.split()[1]), body=body)


def build(workload: TfServingWorkload, model: Model) -> PreparedWorkload:
    return asyncio.run(build_tf_serving(workload, ENDPOINT, ADDRESS, model.ask))


def body_of(request: bytes) -> Any:
    return msgspec.json.decode(request.partition(b"\r\n\r\n")[2])


def answering(body: bytes, status: int = 200) -> Exchange:
    return Exchange(0, 0, 0, b"", lambda _: None, status=status, body=body)


def test_inputs_are_made_up_from_the_signature() -> None:
    model = Model(SEVERAL)
    workload = TfServingWorkload("m", version="3", rows_per_request=2, popularity=Popularity("zipf"))
    built = build(workload, model)
    assert model.asked[0].startswith(b"GET /base/v1/models/m/versions/3/metadata HTTP/1.1\r\n")
    assert b"\r\nX-Key: k\r\n" in model.asked[0]
    assert built.requests[0].startswith(b"POST /base/v1/models/m/versions/3:predict HTTP/1.1\r\n")
    body = body_of(built.requests[0])
    assert body["signature_name"] == "serving_default"
    first, _ = body["instances"]
    assert (len(first["x"]), len(first["ids"]), type(first["t"])) == (2, 1, str)
    assert len(set(built.requests)) > 1
    assert built.request_indices is not None
    assert built.check(model.answered(built.requests[0])).error is None


def test_a_lone_input_needs_no_name(tmp_path: Path) -> None:
    file = tmp_path / "rows.npz"
    np.savez(file, input=np.arange(12, dtype=np.float64).reshape(3, 4))
    model = Model(TfServingMock(model="a/b"))
    built = build(TfServingWorkload("a/b", tensors=str(file)), model)
    assert b" /base/v1/models/a%2Fb:predict " in built.requests[0]
    assert [body_of(request)["instances"] for request in built.requests] == [
        [[0, 1, 2, 3]],
        [[4, 5, 6, 7]],
        [[8, 9, 10, 11]],
    ]
    assert built.check(model.answered(built.requests[0])).error is None


def test_text_that_is_not_utf8_goes_as_base64(tmp_path: Path) -> None:
    file = tmp_path / "rows.npz"
    np.savez(file, t=np.array([b"\xff\xfe", "é".encode()]))
    built = build(
        TfServingWorkload("m", tensors=str(file), rows_per_request=2),
        Model(TfServingMock(model="m", inputs=(TensorInput("t", "BYTES", (-1,)),))),
    )
    assert body_of(built.requests[0])["instances"] == [{"b64": "//4="}, "é"]


def test_beside_a_scalar_everything_goes_by_column(tmp_path: Path) -> None:
    face = TfServingMock(model="m", inputs=(TensorInput("rate", "FP32", ()), TensorInput("x", "INT32", (-1, 1))))
    file = tmp_path / "rows.npz"
    np.savez(file, rate=np.array([0.5, 0.25]), x=np.array([[1], [2]]))
    first, second = build(TfServingWorkload("m", tensors=str(file)), Model(face)).requests
    assert body_of(first)["inputs"] == {"rate": 0.5, "x": [[1]]}
    assert body_of(second)["inputs"] == {"rate": 0.25, "x": [[2]]}
    model = Model(face)
    made_up = build(TfServingWorkload("m", rows_per_request=3), model)
    body = body_of(made_up.requests[0])["inputs"]
    assert (type(body["rate"]), len(body["x"])) == (float, 3)
    assert made_up.check(model.answered(made_up.requests[0])).error is None


def test_an_unknown_rank_is_one_value_a_row_and_reported() -> None:
    async def ask(_: bytes) -> Exchange:
        return answering(
            b'{"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs":'
            b' {"t": {"dtype": "DT_STRING", "tensor_shape": {"dim": [], "unknown_rank": true}}}}}}}}'
        )

    built = asyncio.run(build_tf_serving(TfServingWorkload("m"), ENDPOINT, ADDRESS, ask))
    assert len(body_of(built.requests[0])["instances"]) == 1
    assert "shape of t" in built.notes[0]


@pytest.mark.parametrize("metadata", [b"", b"[]", b"[" * 100_000, b'{"metadata": 1}', b"\xff"])
def test_metadata_that_cannot_be_read_is_reported(metadata: bytes) -> None:
    async def ask(_: bytes) -> Exchange:
        return answering(metadata)

    with pytest.raises(TargetError) as refused:
        asyncio.run(build_tf_serving(TfServingWorkload("m"), ENDPOINT, ADDRESS, ask))
    assert refused.value.error == "bad-payload"


def test_a_missing_model_and_a_missing_signature_are_reported() -> None:
    async def ask(_: bytes) -> Exchange:
        return answering(b"{}", 404)

    with pytest.raises(TargetError) as refused:
        asyncio.run(build_tf_serving(TfServingWorkload("m"), ENDPOINT, ADDRESS, ask))
    assert (refused.value.error, refused.value.status) == ("http-4xx", 404)
    with pytest.raises(WorkloadError, match="no signature 'other'") as wrong:
        build(TfServingWorkload("m", signature="other"), Model(SEVERAL))
    assert wrong.value.hint == "The model has these signatures: serving_default."


def test_numbers_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.npz"
    np.savez(file, input=np.array([[1, 2, 3, np.nan]]))
    with pytest.raises(WorkloadError, match="NaN"):
        build(TfServingWorkload("m", tensors=str(file)), Model(TfServingMock(model="m")))


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b'{"predictions": [[0.5]]}', 200, None),
        (b'{"outputs": {"a": 1}}', 200, None),
        (b'{"predictions": [[NaN]]}', 200, "bad-output"),
        (b'{"error": "no"}', 200, "bad-payload"),
        (b"[]", 200, "bad-payload"),
        (b"not", 200, "bad-payload"),
        (b'{"error": "no"}', 400, "http-4xx"),
    ],
)
def test_an_answer_is_evaluated(body: bytes, status: int, error: str | None) -> None:
    assert check_prediction(answering(body, status)).error == error
