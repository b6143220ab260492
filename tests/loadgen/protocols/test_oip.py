from pathlib import Path

import msgspec
import numpy as np
import pytest

from loadgen.payloads.tensors import TensorSpec
from loadgen.protocols import oip
from loadgen.protocols.built import WorkloadError
from loadgen.protocols.oip import ModelMetadata, OipRequests, build_oip, read_metadata
from loadgen.protocols.oip_answers import AnswerError
from loadgen.records import Endpoint, OipWorkload
from loadgen.transport.address import address_of

URL = "http://h:1/base/"
METADATA = read_metadata(b'{"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}')


def build(workload: OipWorkload, metadata: ModelMetadata = METADATA) -> OipRequests:
    return build_oip(workload, metadata, Endpoint(URL, headers=(("X-A", "1"),)), address_of(URL))


@pytest.fixture
def npz(tmp_path: Path) -> str:
    np.savez(tmp_path / "t.npz", x=np.arange(10, dtype=np.float64).reshape(5, 2), y=np.array([0, 1, 1, 0, 1]))
    return str(tmp_path / "t.npz")


def split(request: bytes) -> tuple[bytes, bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"\r\nContent-Length: {len(body)}".encode() in head
    return head, body


def test_a_binary_request_is_a_json_head_and_the_tensors(npz: str) -> None:
    head, body = split(build(OipWorkload("a/b c", npz, rows_per_request=2)).requests[1])
    assert head.startswith(b"POST /base/v2/models/a%2Fb%20c/infer HTTP/1.1\r\n")
    assert b"\r\nX-A: 1" in head
    size = int(head.partition(b"Inference-Header-Content-Length: ")[2].split(b"\r\n")[0])
    assert msgspec.json.decode(body[:size]) == {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}],
        "parameters": {"binary_data_output": True},
    }
    assert np.frombuffer(body[size:], np.float32).tolist() == [4, 5, 6, 7]


def test_a_json_request_has_its_data_inside(npz: str) -> None:
    head, body = split(build(OipWorkload("m", npz, binary=False)).requests[0])
    assert b"\r\nContent-Type: application/json" in head
    assert msgspec.json.decode(body) == {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.0, 1.0]}]
    }


def test_rows_that_fill_no_request_are_left_out(npz: str) -> None:
    assert len(build(OipWorkload("m", npz, rows_per_request=2)).requests) == 2
    with pytest.raises(WorkloadError, match="no request of 6 rows"):
        build(OipWorkload("m", npz, rows_per_request=6))


def test_without_tensors_seeded_inputs_are_made_up() -> None:
    first, again, other = (build(OipWorkload("m", seed=seed)).requests for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(set(first)) == len(first) > 1


def test_tensors_beyond_the_memory_for_them_are_left_out(npz: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oip, "MAX_BUILT_BYTES", 400)
    built = build(OipWorkload("m", npz, labels="y"))
    assert 1 <= len(built.requests) < 5


@pytest.mark.parametrize("shape", [(-1, 2**40), (-1, 0, 10**30), (-1, *[1] * 70), (-1, 2**31, 2**31)])
def test_inputs_of_any_size_a_server_may_name_are_refused_before_they_are_made(shape: tuple[int, ...]) -> None:
    with pytest.raises(WorkloadError, match=r"MiB|no values"):
        build(OipWorkload("m"), ModelMetadata((TensorSpec("x", "FP32", shape),)))


def test_large_inputs_make_fewer_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oip, "MAX_BUILT_BYTES", 1_000_000)
    built = build(OipWorkload("m"), ModelMetadata((TensorSpec("x", "FP32", (-1, 50_000)),)))
    assert len(built.requests) == 4  # five would fit without their heads


@pytest.mark.parametrize("error", [ValueError, OverflowError, RecursionError, MemoryError])
def test_an_answer_that_breaks_its_reader_is_a_bad_payload(
    npz: str, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(oip, "read_outputs", fail)
    assert build(OipWorkload("m", npz)).judge(0, 200, [], b"{}") == ("bad-payload", None)


def test_the_answer_is_held_against_the_labels_of_its_rows(npz: str) -> None:
    built = build(OipWorkload("m", npz, labels="y", rows_per_request=2))
    answer = b'{"outputs": [{"name": "o", "datatype": "FP32", "shape": [2, 2], "data": [9, 1, 2, 8]}]}'
    assert built.judge(0, 200, [], answer) == (None, 2)  # the labels are 0, 1
    assert built.judge(1, 200, [], answer) == (None, 0)  # 1, 0
    assert built.judge(0, 500, [], answer) == ("http-5xx", None)
    assert built.judge(0, 200, [], b"{}") == ("bad-payload", None)


@pytest.mark.parametrize("labels", ["nothing", "x"])
def test_labels_must_be_one_whole_number_a_row(npz: str, labels: str) -> None:
    with pytest.raises(WorkloadError, match="5 whole numbers"):
        build(OipWorkload("m", npz, labels=labels))


def test_made_up_inputs_have_no_labels() -> None:
    with pytest.raises(WorkloadError, match="labels need tensors"):
        build(OipWorkload("m", labels="y"))


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"inputs": []}', b'{"inputs": [{"name": "x"}]}', b'{"a":' + b"[" * 100_000],
)
def test_metadata_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(AnswerError, match="metadata"):
        read_metadata(body)
