import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from loadgen.protocols import prepared
from loadgen.protocols.oip import build_oip
from loadgen.protocols.oip_grpc import METADATA_METHOD
from loadgen.protocols.open_inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from loadgen.protocols.prepared import PreparedWorkload, ResponseCheck, TargetError, WorkloadError
from loadgen.records import Endpoint
from loadgen.transport.address import parse_grpc_url
from loadgen.transport.exchange import Exchange
from loadgen.workloads import OipWorkload, Popularity
from tests.fakes.open_inference import floats, inputs

METADATA_JSON = b'{"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}'
ANSWER_JSON = b'{"outputs": [{"name": "o", "datatype": "FP32", "shape": [1, 2], "data": [9, 1]}]}'
Answers = Callable[[bytes, str], tuple[int | None, bytes]]
Output = tuple[str, str, list[int], list[float]]
"""Name, datatype, shape and data."""


class Server:
    """Answers what is asked as the test says: a status and a body, or no status for a lost connection."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.asked: list[bytes] = []

    def answer(self, request: bytes, method: str = "") -> tuple[int | None, bytes]:
        return self._answers(request, method)

    async def __call__(self, request: bytes, method: str = "", /) -> Exchange:
        self.asked.append(request)
        exchange = Exchange(0, 0, 0, request, lambda _: None, method=method)
        exchange.status, exchange.body = self._answers(request, method)
        exchange.error = "send" if exchange.status is None else None
        return exchange


def http(infer: Answers = lambda request, _: (200, ANSWER_JSON)) -> Server:
    return Server(
        lambda request, method: (200, METADATA_JSON) if request.startswith(b"GET") else infer(request, method)
    )


def grpc(infer: Answers, shape: tuple[int, ...] = (-1, 2)) -> Server:
    metadata = inputs(("x", "FP32", shape)).SerializeToString()
    return Server(lambda request, method: (200, metadata) if method == METADATA_METHOD else infer(request, method))


def build(workload: OipWorkload, server: Server | None = None) -> PreparedWorkload:
    url = "http://h:1/"
    return asyncio.run(build_oip(workload, Endpoint((url,)), parse_grpc_url(url), server or http()))


@pytest.fixture
def npz(tmp_path: Path) -> str:
    np.savez(tmp_path / "t.npz", x=np.arange(10, dtype=np.float64).reshape(5, 2), y=np.array([0, 1, 1, 0, 1]))
    return str(tmp_path / "t.npz")


def is_binary(request: bytes) -> bool:
    return b"Inference-Header-Content-Length" in request


def test_a_server_that_takes_binary_tensors_is_asked_once_and_gets_them() -> None:
    server = http()
    built = build(OipWorkload("m"), server)
    assert [request.split(b" ")[0] for request in server.asked] == [b"GET", b"POST"]
    assert all(map(is_binary, built.requests))
    assert built.notes == ()


@pytest.mark.parametrize("status", [400, 415, 500, 501])
def test_a_server_that_refuses_binary_tensors_gets_json_and_a_note(status: int) -> None:
    server = http(lambda request, _: (status, b"") if is_binary(request) else (200, ANSWER_JSON))
    built = build(OipWorkload("m"), server)
    assert not any(map(is_binary, built.requests))
    assert built.notes == ("The server rejected binary tensors, so JSON was sent.",)
    assert len(server.asked) == 3


def test_a_connection_closed_behind_the_refusal_is_no_answer() -> None:
    answers = iter([(500, b""), (None, b""), (200, ANSWER_JSON)])
    built = build(OipWorkload("m"), http(lambda *_: next(answers)))
    assert not any(map(is_binary, built.requests))


@pytest.mark.parametrize("answers", [[(500, b""), (500, b"")], [(None, b"")], [(500, b""), (None, b""), (None, b"")]])
def test_a_server_that_answers_neither_is_asked_for_binary_to_show_what_it_says(
    answers: list[tuple[int | None, bytes]],
) -> None:
    left = iter(answers)
    built = build(OipWorkload("m"), http(lambda *_: next(left)))
    assert all(map(is_binary, built.requests))
    assert built.notes == ()


def test_json_is_sent_unasked_when_binary_is_not_wanted() -> None:
    server = http()
    built = build(OipWorkload("m", binary=False), server)
    assert (len(server.asked), built.notes) == (1, ())
    assert not any(map(is_binary, built.requests))


def test_inputs_that_json_cannot_hold_stay_binary(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.full((1, 2), np.nan))
    built = build(OipWorkload("m", tensors=str(tmp_path / "t.npz")), http(lambda *_: (400, b"")))
    assert all(map(is_binary, built.requests))


@pytest.mark.parametrize("streams", [False, True])
def test_a_server_that_refuses_raw_tensors_gets_numbers_and_a_note(streams: bool) -> None:
    def infer(request: bytes, method: str) -> tuple[int, bytes]:
        is_raw = bool(ModelInferRequest.FromString(request).raw_input_contents)
        if not streams:
            return (501, b"") if is_raw else (200, floats(0, 1).SerializeToString())
        refusal = ModelStreamInferResponse(error_message="no") if is_raw else None
        return 200, (refusal or ModelStreamInferResponse(infer_response=floats(0, 1))).SerializeToString()

    built = build(OipWorkload("m", transport="grpc-stream" if streams else "grpc"), grpc(infer))
    sent = ModelInferRequest.FromString(built.requests[0])
    assert len(sent.inputs[0].contents.fp32_contents) == 2
    assert "rejected raw tensors" in built.notes[0]
    assert (built.new_reader is not None) == streams


def test_a_workload_is_the_same_for_a_seed_and_different_for_another() -> None:
    first, again, other = (build(OipWorkload("m", seed=seed)).requests for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(set(first)) == len(first) > 1


def test_popularity_picks_among_the_requests() -> None:
    assert build(OipWorkload("m")).request_indices is None
    picks = build(OipWorkload("m", popularity=Popularity("zipf"))).request_indices
    assert picks is not None
    assert 0 <= min(picks) < max(picks) < 32


def test_rows_that_fill_no_request_are_left_out(npz: str) -> None:
    assert len(build(OipWorkload("m", tensors=npz, rows_per_request=2)).requests) == 2
    with pytest.raises(WorkloadError, match="no request of 6 rows can be built"):
        build(OipWorkload("m", tensors=npz, rows_per_request=6))


def test_the_answer_is_held_against_the_labels(npz: str) -> None:
    built = build(OipWorkload("m", tensors=npz, labels="y"))
    exchange = Exchange(0, 1, 0, b"", lambda _: None)
    exchange.status, exchange.body = 200, ANSWER_JSON
    assert built.check(exchange) == ResponseCheck(None, 0)
    exchange.request_index = 0
    assert built.check(exchange) == ResponseCheck(None, 1)


def _classified(*outputs: Output) -> Server:
    """Answers each request with these outputs, in JSON."""
    described = [{"name": name, "datatype": kind, "shape": shape, "data": data} for name, kind, shape, data in outputs]
    return http(lambda request, _: (200, json.dumps({"outputs": described}).encode()))


LABEL: Output = ("label", "INT64", [1, 1], [1])
SCORES: Output = ("probabilities", "FP32", [1, 4], [0.0, 0.0, 0.0, 1.0])


def _judged(built: PreparedWorkload, status_and_body: tuple[int | None, bytes]) -> ResponseCheck:
    exchange = Exchange(0, 1, 0, b"", lambda _: None)
    exchange.status, exchange.body = status_and_body
    return built.check(exchange)


@pytest.mark.parametrize(("output", "right"), [(None, 1), ("label", 1), ("probabilities", 0)])
def test_labels_are_compared_with_the_class_that_a_model_gives(npz: str, output: str | None, right: int) -> None:
    server = _classified(LABEL, SCORES)
    built = build(OipWorkload("m", tensors=npz, labels="y", output=output), server)
    assert _judged(built, server.answer(b"POST")) == ResponseCheck(None, right)


@pytest.mark.parametrize("output", [None, "nothing"])
def test_an_unclear_output_is_refused_before_the_run(npz: str, output: str | None) -> None:
    server = _classified(("a", *SCORES[1:]), SCORES)
    with pytest.raises(WorkloadError, match="accuracy cannot be measured") as refused:
        build(OipWorkload("m", tensors=npz, labels="y", output=output), server)
    assert refused.value.hint is not None
    assert "workload.output" in refused.value.hint


@pytest.mark.parametrize("transport", ["grpc", "grpc-stream"])
def test_over_grpc_too(npz: str, transport: Literal["grpc", "grpc-stream"]) -> None:
    tensor = ModelInferResponse.InferOutputTensor
    outputs = [
        tensor(name="label", datatype="INT64", shape=(1, 1), contents=InferTensorContents(int64_contents=[1])),
        tensor(name="p", datatype="FP32", shape=(1, 4), contents=InferTensorContents(fp32_contents=[0, 0, 0, 1])),
    ]
    response = ModelInferResponse(model_name="m", outputs=outputs)
    whole = ModelStreamInferResponse(infer_response=response) if transport == "grpc-stream" else response
    # several streamed answers to the one request that is tried are read as one message
    body = whole.SerializeToString() * (2 if transport == "grpc-stream" else 1)
    built = build(OipWorkload("m", transport=transport, tensors=npz, labels="y"), grpc(lambda *_: (200, body)))
    exchange = Exchange(0, 1, 0, b"", lambda _: None)
    exchange.status = 200
    if built.new_reader is None:
        exchange.body = body
    else:
        exchange.reader = built.new_reader()
        assert exchange.reader.feed(whole.SerializeToString(), 1) is None
    assert built.check(exchange) == ResponseCheck(None, 1)


def test_tensors_beyond_the_memory_for_them_are_left_out_and_said_so(npz: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "MAX_REQUESTS_BYTES", 700)
    built = build(OipWorkload("m", tensors=npz, labels="y"))
    assert 1 <= len(built.requests) < 5
    assert f"only the first {len(built.requests)} requests" in built.notes[0]


@pytest.mark.parametrize("workload", [OipWorkload("m", labels="y"), OipWorkload("m", tensors="/nowhere.npz")])
def test_tensors_that_cannot_be_had_are_the_workloads_fault(workload: OipWorkload) -> None:
    with pytest.raises(WorkloadError) as refused:
        build(workload)
    assert refused.value.hint is not None


@pytest.mark.parametrize(
    ("transport", "answer", "error"),
    [
        ("http", (404, b""), "http-4xx"),
        ("http", (None, b""), "send"),
        ("http", (200, b"<html>"), "bad-payload"),
        ("grpc", (404, b""), "http-4xx"),
        ("grpc", (200, b"\xff"), "bad-payload"),
        ("grpc", (200, b""), "bad-payload"),
    ],
)
def test_a_model_that_does_not_report_its_inputs_is_the_targets_fault(
    transport: Literal["http", "grpc"], answer: tuple[int | None, bytes], error: str
) -> None:
    with pytest.raises(TargetError) as refused:
        build(OipWorkload("m", transport=transport), Server(lambda *_: answer))
    assert (refused.value.error, refused.value.status) == (error, answer[0])
