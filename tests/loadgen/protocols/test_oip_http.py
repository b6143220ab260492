import json
import tracemalloc

import msgspec
import numpy as np
import pytest

from loadgen.payloads.tensors import TensorError, TensorInput
from loadgen.protocols import oip_http
from loadgen.protocols.oip_http import OipHttp, format_model_path, read_metadata, read_outputs
from loadgen.protocols.oip_tensors import ResponseError, check_outputs
from loadgen.protocols.prepared import ResponseCheck, TargetError
from loadgen.records import Endpoint
from loadgen.transport.address import parse_url
from loadgen.transport.exchange import Exchange, Headers
from loadgen.workloads import OipWorkload


def json_response(data: str, datatype: str = "FP32", shape: str = "[1, 2]") -> bytes:
    return f'{{"outputs": [{{"name": "o", "datatype": "{datatype}", "shape": {shape}, "data": {data}}}]}}'.encode()


def binary_response(blob: bytes, size: int, datatype: str = "FP32", shape: str = "[1, 2]") -> tuple[Headers, bytes]:
    head = (
        f'{{"outputs": [{{"name": "o", "datatype": "{datatype}", "shape": {shape}, '
        f'"parameters": {{"binary_data_size": {size}}}}}]}}'
    ).encode()
    return [(b"inference-Header-Content-Length", str(len(head)).encode())], head + blob


def test_flat_and_nested_numbers_are_decoded() -> None:
    for data in ("[1.5, 2]", "[[1.5, 2]]"):
        (tensor,) = read_outputs([], json_response(data))
        assert tensor.dtype == np.float32
        assert tensor.tolist() == [[1.5, 2.0]]


def test_binary_outputs_are_decoded_in_order_after_json_header() -> None:
    head = (
        b'{"outputs": [{"datatype": "FP32", "shape": [1, 1], "parameters": {"binary_data_size": 4}},'
        b'{"datatype": "INT64", "shape": [1], "data": [5]},'
        b'{"datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 10}},'
        b'{"datatype": "INT16", "shape": [2], "parameters": {"binary_data_size": 4}}]}'
    )
    body = head + np.float32(2.5).tobytes() + b"\x01\0\0\0a\x01\0\0\0b" + np.array([7, 8], "<i2").tobytes()
    outputs = read_outputs([(b"Inference-Header-Content-Length", str(len(head)).encode())], body)
    assert [output.tolist() for output in outputs] == [[[2.5]], [5], [], [7, 8]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"{}",
        b'{"outputs": []}',
        b'{"outputs": [{"datatype": "FP32", "shape": [1]}]}',
        json_response("[1]"),
        json_response("[1, 2, 3]"),
        json_response('["a", "b"]'),
        json_response("[1, null]", datatype="INT64"),
        json_response("[[1], [2, 3]]"),
        json_response("[1, 2]", datatype="COMPLEX"),
        json_response("[1, 300]", datatype="UINT8"),
        json_response("[]", shape="[-1, 0]"),
        json_response("NaN, oops"),
        json_response("[1]", shape=str([1] * 65)),
        json_response("[1]", datatype="BYTES", shape=str([1] * 65)),
        json_response("[]", shape=f"[0, {10**30}]"),
        json_response("[" * 90 + "]" * 90, shape="[0]"),
        json_response("[" * 100_000),
        json_response("[" * 100_000 + "NaN"),
        json_response("[1, 2]", datatype="BYTES"),
        json_response('[["a"], ["b", "c"]]', datatype="BYTES"),
    ],
)
def test_invalid_json_outputs_are_rejected(body: bytes) -> None:
    with pytest.raises(ResponseError):
        read_outputs([], body)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        binary_response(b"\0" * 7, 7),
        binary_response(b"\0" * 7, 8),
        binary_response(b"\0" * 9, 8),
        binary_response(b"\0" * 8, -8),
        binary_response(b"", 0, shape=f"[0, {10**30}]"),
        binary_response(b"\0" * 4, 4, shape=str([1] * 65)),
        binary_response(b"\x05\0\0\0ab", 6, "BYTES", "[1]"),
        binary_response(b"\x01\0\0\0ab", 6, "BYTES", "[1]"),
        ([(b"Inference-Header-Content-Length", b"99")], b"{}"),
        ([(b"Inference-Header-Content-Length", b"-1")], b"{}"),
        ([(b"Inference-Header-Content-Length", b"two")], b"{}"),
    ],
)
def test_inconsistent_binary_sizes_are_rejected(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    with pytest.raises(ResponseError):
        read_outputs(headers, body)


def test_nan_is_bad_output_in_binary_and_json() -> None:
    headers, body = binary_response(np.array([1, np.nan], np.float32).tobytes(), 8)
    assert check_outputs(read_outputs(headers, body), None) == ResponseCheck("bad-output")
    assert check_outputs(read_outputs([], json_response("[1, NaN]")), None) == ResponseCheck("bad-output")
    assert check_outputs(read_outputs([], json_response("[1, null]")), None) == ResponseCheck("bad-output")
    assert check_outputs(read_outputs([], json_response("[1, Infinity]")), None) == ResponseCheck()


def test_long_string_does_not_multiply_memory_of_short_strings() -> None:
    texts = ["x" * 20_000] + ["a"] * 20_000
    body = json_response(json.dumps(texts), datatype="BYTES", shape=f"[{len(texts)}]")
    tracemalloc.start()
    try:
        read_outputs([], body)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10 * 2**20


ADDRESS = parse_url("http://h:1/base/")
ENDPOINT = Endpoint(("http://h:1/base/",), headers=(("X-A", "1"),))
X = TensorInput("x", "FP32", (-1, 2))


def make_protocol(workload: OipWorkload) -> OipHttp:
    return OipHttp(workload, ENDPOINT, ADDRESS)


def make_exchange(body: bytes = b"", status: int | None = 200, error: str | None = None, number: int = 0) -> Exchange:
    exchange = Exchange(0, number, 0, b"", lambda _: None)
    exchange.status, exchange.body, exchange.error = status, body, error
    return exchange


def split_request(request: bytes) -> tuple[bytes, bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"\r\nContent-Length: {len(body)}".encode() in head
    return head, body


def test_model_name_and_version_are_percent_encoded_in_path() -> None:
    assert format_model_path(ADDRESS, "a/b c", None) == "/base/v2/models/a%2Fb%20c"
    assert format_model_path(ADDRESS, "m", "2/1") == "/base/v2/models/m/versions/2%2F1"


def test_binary_request_is_json_header_followed_by_tensors() -> None:
    tensors = [(X, np.array([[4, 5], [6, 7]], np.float32)), (TensorInput("t", "BYTES", ()), np.array("é"))]
    head, body = split_request(make_protocol(OipWorkload("m")).encode_request(tensors, True))
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


def test_json_request_contains_tensor_data() -> None:
    tensors = [(X, np.array([[0, 1]], np.float32)), (TensorInput("t", "BYTES", (-1,)), np.array(["é".encode()]))]
    head, body = split_request(make_protocol(OipWorkload("m")).encode_request(tensors, False))
    assert b"\r\nContent-Type: application/json" in head
    assert msgspec.json.decode(body) == {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.0, 1.0]},
            {"name": "t", "datatype": "BYTES", "shape": [1], "data": ["é"]},
        ]
    }


@pytest.mark.parametrize("values", [np.array([np.nan]), np.array([-np.inf]), np.array([b"\xff"])])
def test_values_without_json_form_are_rejected(values: np.ndarray) -> None:
    with pytest.raises(TensorError, match="JSON"):
        make_protocol(OipWorkload("m")).encode_request([(X, values)], False)


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
def test_invalid_metadata_is_target_error(body: bytes) -> None:
    with pytest.raises(TargetError, match="metadata") as raised:
        read_metadata(make_exchange(body))
    assert (raised.value.error, raised.value.status) == ("bad-payload", 200)


def test_metadata_lists_model_inputs() -> None:
    body = b'{"name": "m", "versions": null, "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}'
    assert read_metadata(make_exchange(body)) == (X,)


def test_response_is_compared_with_labels_of_its_rows() -> None:
    check = make_protocol(OipWorkload("m")).build_check(np.array([[0, 1], [1, 0]]))
    response = b'{"outputs": [{"name": "o", "datatype": "FP32", "shape": [2, 2], "data": [9, 1, 2, 8]}]}'
    assert check(make_exchange(response, number=0)) == ResponseCheck(None, 2)
    assert check(make_exchange(response, number=1)) == ResponseCheck(None, 0)
    assert check(make_exchange(response, status=500)) == ResponseCheck("http-5xx")
    assert check(make_exchange(b"{}")) == ResponseCheck("bad-payload")


@pytest.mark.parametrize("error", [ValueError, OverflowError, RecursionError, MemoryError])
def test_exception_in_response_reader_is_bad_payload(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(oip_http, "read_outputs", fail)
    assert make_protocol(OipWorkload("m")).build_check(None)(make_exchange(b"{}")) == ResponseCheck("bad-payload")
