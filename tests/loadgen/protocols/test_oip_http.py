import msgspec
import numpy as np
import pytest

from loadgen.payloads.tensors import TensorError, TensorInput
from loadgen.protocols import oip_http
from loadgen.protocols.asking import TargetError
from loadgen.protocols.built import ResponseCheck
from loadgen.protocols.oip_http import OipHttp, model_path, read_metadata
from loadgen.records import Endpoint
from loadgen.transport.address import address_of
from loadgen.transport.exchange import Exchange
from loadgen.workloads import OipWorkload

ADDRESS = address_of("http://h:1/base/")
ENDPOINT = Endpoint(("http://h:1/base/",), headers=(("X-A", "1"),))
X = TensorInput("x", "FP32", (-1, 2))


def spoken(workload: OipWorkload) -> OipHttp:
    return OipHttp(workload, ENDPOINT, ADDRESS)


def answered(body: bytes = b"", status: int | None = 200, error: str | None = None, number: int = 0) -> Exchange:
    exchange = Exchange(0, number, 0, b"", lambda _: None)
    exchange.status, exchange.body, exchange.error = status, body, error
    return exchange


def split(request: bytes) -> tuple[bytes, bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"\r\nContent-Length: {len(body)}".encode() in head
    return head, body


def test_names_are_quoted_and_a_version_has_its_place() -> None:
    assert model_path(ADDRESS, "a/b c", None) == "/base/v2/models/a%2Fb%20c"
    assert model_path(ADDRESS, "m", "2/1") == "/base/v2/models/m/versions/2%2F1"


def test_a_binary_request_is_a_json_head_and_the_tensors() -> None:
    part = [(X, np.array([[4, 5], [6, 7]], np.float32)), (TensorInput("t", "BYTES", ()), np.array("é"))]
    head, body = split(spoken(OipWorkload("m")).request(part, True))
    assert head.startswith(b"POST /base/v2/models/m/infer HTTP/1.1\r\n")
    assert b"\r\nX-A: 1" in head
    size = int(head.partition(b"Inference-Header-Content-Length: ")[2].split(b"\r\n")[0])
    assert msgspec.json.decode(body[:size]) == {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}},
            {"name": "t", "datatype": "BYTES", "shape": [], "parameters": {"binary_data_size": 6}},
        ],
        "parameters": {"binary_data_output": True},
    }
    assert np.frombuffer(body[size:-6], np.float32).tolist() == [4, 5, 6, 7]
    assert body[-6:] == b"\x02\0\0\0" + "é".encode()


def test_a_json_request_has_its_data_inside() -> None:
    part = [(X, np.array([[0, 1]], np.float32)), (TensorInput("t", "BYTES", (-1,)), np.array(["é".encode()]))]
    head, body = split(spoken(OipWorkload("m")).request(part, False))
    assert b"\r\nContent-Type: application/json" in head
    assert msgspec.json.decode(body) == {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.0, 1.0]},
            {"name": "t", "datatype": "BYTES", "shape": [1], "data": ["é"]},
        ]
    }


@pytest.mark.parametrize("values", [np.array([np.nan]), np.array([-np.inf]), np.array([b"\xff"])])
def test_what_json_has_no_form_for_is_refused(values: np.ndarray) -> None:
    with pytest.raises(TensorError, match="JSON"):
        spoken(OipWorkload("m")).request([(X, values)], False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"inputs": []}',
        b'{"inputs": [{"name": "x"}]}',
        b'{"a":' + b"[" * 100_000,
        b'{"inputs": "\xff',
    ],
)
def test_metadata_that_is_none_is_the_targets_fault(body: bytes) -> None:
    with pytest.raises(TargetError, match="metadata") as refused:
        read_metadata(answered(body))
    assert (refused.value.error, refused.value.status) == ("bad-payload", 200)


def test_metadata_tells_the_inputs() -> None:
    body = b'{"name": "m", "versions": null, "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}'
    assert read_metadata(answered(body)) == (X,)


def test_the_answer_is_held_against_the_labels_of_its_rows() -> None:
    judge = spoken(OipWorkload("m")).judge(np.array([[0, 1], [1, 0]]))
    answer = b'{"outputs": [{"name": "o", "datatype": "FP32", "shape": [2, 2], "data": [9, 1, 2, 8]}]}'
    assert judge(answered(answer, number=0)) == ResponseCheck(None, 2)
    assert judge(answered(answer, number=1)) == ResponseCheck(None, 0)
    assert judge(answered(answer, status=500)) == ResponseCheck("http-5xx")
    assert judge(answered(b"{}")) == ResponseCheck("bad-payload")


@pytest.mark.parametrize("error", [ValueError, OverflowError, RecursionError, MemoryError])
def test_an_answer_that_breaks_its_reader_is_a_bad_payload(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(oip_http, "read_outputs", fail)
    assert spoken(OipWorkload("m")).judge(None)(answered(b"{}")) == ResponseCheck("bad-payload")
