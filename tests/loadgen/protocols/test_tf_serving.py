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
    """Responds as the mock protocol does, without a network; `requests` are the requests it received."""

    def __init__(self, mock: TfServingMock) -> None:
        self._handler = build_tf_serving_handler(mock)
        self.requests: list[bytes] = []

    async def send(self, request: bytes) -> Exchange:
        self.requests.append(request)
        return self.respond(request)

    def respond(self, request: bytes) -> Exchange:
        response = self._handler(parse_request(request.replace(b" /base", b" ", 1), 0))
        assert response is not None
        head, _, body = b"".join(response.pieces).partition(b"\r\n\r\n")
        return Exchange(0, 0, 0, request, lambda _: None, status=int(head.split()[1]), body=body)


def build(workload: TfServingWorkload, model: Model) -> PreparedWorkload:
    return asyncio.run(build_tf_serving(workload, ENDPOINT, ADDRESS, model.send))


def decode_body(request: bytes) -> Any:
    return msgspec.json.decode(request.partition(b"\r\n\r\n")[2])


def make_exchange(body: bytes, status: int = 200) -> Exchange:
    return Exchange(0, 0, 0, b"", lambda _: None, status=status, body=body)


def test_requests_are_generated_from_model_signature() -> None:
    model = Model(SEVERAL)
    workload = TfServingWorkload("m", version="3", rows_per_request=2, popularity=Popularity("zipf"))
    prepared = build(workload, model)
    assert model.requests[0].startswith(b"GET /base/v1/models/m/versions/3/metadata HTTP/1.1\r\n")
    assert b"\r\nX-Key: k\r\n" in model.requests[0]
    assert prepared.requests[0].startswith(b"POST /base/v1/models/m/versions/3:predict HTTP/1.1\r\n")
    body = decode_body(prepared.requests[0])
    assert body["signature_name"] == "serving_default"
    first, _ = body["instances"]
    assert (len(first["x"]), len(first["ids"]), type(first["t"])) == (2, 1, str)
    assert len(set(prepared.requests)) > 1
    assert prepared.request_indices is not None
    assert prepared.check(model.respond(prepared.requests[0])).error is None


def test_single_input_is_sent_without_name(tmp_path: Path) -> None:
    file = tmp_path / "rows.npz"
    np.savez(file, input=np.arange(12, dtype=np.float64).reshape(3, 4))
    model = Model(TfServingMock(model="a/b"))
    prepared = build(TfServingWorkload("a/b", tensors=str(file)), model)
    assert b" /base/v1/models/a%2Fb:predict " in prepared.requests[0]
    assert [decode_body(request)["instances"] for request in prepared.requests] == [
        [[0, 1, 2, 3]],
        [[4, 5, 6, 7]],
        [[8, 9, 10, 11]],
    ]
    assert prepared.check(model.respond(prepared.requests[0])).error is None


def test_text_that_is_not_utf8_is_sent_as_base64(tmp_path: Path) -> None:
    file = tmp_path / "rows.npz"
    np.savez(file, t=np.array([b"\xff\xfe", "é".encode()]))
    prepared = build(
        TfServingWorkload("m", tensors=str(file), rows_per_request=2),
        Model(TfServingMock(model="m", inputs=(TensorInput("t", "BYTES", (-1,)),))),
    )
    assert decode_body(prepared.requests[0])["instances"] == [{"b64": "//4="}, "é"]


def test_inputs_with_scalar_are_sent_in_column_format(tmp_path: Path) -> None:
    mock = TfServingMock(model="m", inputs=(TensorInput("rate", "FP32", ()), TensorInput("x", "INT32", (-1, 1))))
    file = tmp_path / "rows.npz"
    np.savez(file, rate=np.array([0.5, 0.25]), x=np.array([[1], [2]]))
    first, second = build(TfServingWorkload("m", tensors=str(file)), Model(mock)).requests
    assert decode_body(first)["inputs"] == {"rate": 0.5, "x": [[1]]}
    assert decode_body(second)["inputs"] == {"rate": 0.25, "x": [[2]]}
    model = Model(mock)
    generated = build(TfServingWorkload("m", rows_per_request=3), model)
    body = decode_body(generated.requests[0])["inputs"]
    assert (type(body["rate"]), len(body["x"])) == (float, 3)
    assert generated.check(model.respond(generated.requests[0])).error is None


def test_input_of_unknown_rank_is_one_value_per_row_with_note() -> None:
    async def send(_: bytes) -> Exchange:
        return make_exchange(
            b'{"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs":'
            b' {"t": {"dtype": "DT_STRING", "tensor_shape": {"dim": [], "unknown_rank": true}}}}}}}}'
        )

    prepared = asyncio.run(build_tf_serving(TfServingWorkload("m"), ENDPOINT, ADDRESS, send))
    assert len(decode_body(prepared.requests[0])["instances"]) == 1
    assert "shape of t" in prepared.notes[0]


@pytest.mark.parametrize("metadata", [b"", b"[]", b"[" * 100_000, b'{"metadata": 1}', b"\xff"])
def test_unreadable_metadata_is_target_error(metadata: bytes) -> None:
    async def send(_: bytes) -> Exchange:
        return make_exchange(metadata)

    with pytest.raises(TargetError) as raised:
        asyncio.run(build_tf_serving(TfServingWorkload("m"), ENDPOINT, ADDRESS, send))
    assert raised.value.error == "bad-payload"


def test_missing_model_or_signature_is_reported() -> None:
    async def send(_: bytes) -> Exchange:
        return make_exchange(b"{}", 404)

    with pytest.raises(TargetError) as raised:
        asyncio.run(build_tf_serving(TfServingWorkload("m"), ENDPOINT, ADDRESS, send))
    assert (raised.value.error, raised.value.status) == ("http-4xx", 404)
    with pytest.raises(WorkloadError, match="no signature 'other'") as raised_for_signature:
        build(TfServingWorkload("m", signature="other"), Model(SEVERAL))
    assert raised_for_signature.value.hint == "The model has these signatures: serving_default."


def test_nan_input_is_rejected(tmp_path: Path) -> None:
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
def test_prediction_response_is_checked(body: bytes, status: int, error: str | None) -> None:
    assert check_prediction(make_exchange(body, status)).error == error
