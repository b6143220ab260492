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
RESPONSE_JSON = b'{"outputs": [{"name": "o", "datatype": "FP32", "shape": [1, 2], "data": [9, 1]}]}'
Respond = Callable[[bytes, str], tuple[int | None, bytes]]
Output = tuple[str, str, list[int], list[float]]
"""Name, datatype, shape and data."""


class Server:
    """Responds as the test specifies: with a status and a body, or without a status for a lost connection."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self.requests: list[bytes] = []

    def respond(self, request: bytes, method: str = "") -> tuple[int | None, bytes]:
        return self._respond(request, method)

    async def __call__(self, request: bytes, method: str = "", /) -> Exchange:
        self.requests.append(request)
        exchange = Exchange(0, 0, 0, request, lambda _: None, method=method)
        exchange.status, exchange.body = self._respond(request, method)
        exchange.error = "send" if exchange.status is None else None
        return exchange


def http(infer: Respond = lambda request, _: (200, RESPONSE_JSON)) -> Server:
    return Server(
        lambda request, method: (200, METADATA_JSON) if request.startswith(b"GET") else infer(request, method)
    )


def grpc(infer: Respond, shape: tuple[int, ...] = (-1, 2)) -> Server:
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


def test_binary_tensors_are_sent_after_successful_probe() -> None:
    server = http()
    prepared_workload = build(OipWorkload("m"), server)
    assert [request.split(b" ")[0] for request in server.requests] == [b"GET", b"POST"]
    assert all(map(is_binary, prepared_workload.requests))
    assert prepared_workload.notes == ()


@pytest.mark.parametrize("status", [400, 415, 500, 501])
def test_json_is_sent_with_note_when_server_rejects_binary_tensors(status: int) -> None:
    server = http(lambda request, _: (status, b"") if is_binary(request) else (200, RESPONSE_JSON))
    prepared_workload = build(OipWorkload("m"), server)
    assert not any(map(is_binary, prepared_workload.requests))
    (note,) = prepared_workload.notes
    assert "binary tensors" in note
    assert len(server.requests) == 3


def test_json_is_tried_again_after_rejection_that_closed_connection() -> None:
    responses = iter([(500, b""), (None, b""), (200, RESPONSE_JSON)])
    prepared_workload = build(OipWorkload("m"), http(lambda *_: next(responses)))
    assert not any(map(is_binary, prepared_workload.requests))


@pytest.mark.parametrize("responses", [[(500, b""), (500, b"")], [(None, b"")], [(500, b""), (None, b""), (None, b"")]])
def test_binary_is_sent_when_server_accepts_neither_encoding(
    responses: list[tuple[int | None, bytes]],
) -> None:
    remaining = iter(responses)
    prepared_workload = build(OipWorkload("m"), http(lambda *_: next(remaining)))
    assert all(map(is_binary, prepared_workload.requests))
    assert prepared_workload.notes == ()


def test_json_is_sent_without_probe_when_binary_is_disabled() -> None:
    server = http()
    prepared_workload = build(OipWorkload("m", binary=False), server)
    assert (len(server.requests), prepared_workload.notes) == (1, ())
    assert not any(map(is_binary, prepared_workload.requests))


def test_inputs_without_json_form_are_sent_as_binary(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.full((1, 2), np.nan))
    prepared_workload = build(OipWorkload("m", tensors=str(tmp_path / "t.npz")), http(lambda *_: (400, b"")))
    assert all(map(is_binary, prepared_workload.requests))


@pytest.mark.parametrize("streams", [False, True])
def test_typed_contents_are_sent_with_note_when_server_rejects_raw_tensors(streams: bool) -> None:
    def infer(request: bytes, method: str) -> tuple[int, bytes]:
        is_raw = bool(ModelInferRequest.FromString(request).raw_input_contents)
        if not streams:
            return (501, b"") if is_raw else (200, floats(0, 1).SerializeToString())
        refusal = ModelStreamInferResponse(error_message="no") if is_raw else None
        return 200, (refusal or ModelStreamInferResponse(infer_response=floats(0, 1))).SerializeToString()

    prepared_workload = build(OipWorkload("m", transport="grpc-stream" if streams else "grpc"), grpc(infer))
    sent = ModelInferRequest.FromString(prepared_workload.requests[0])
    assert len(sent.inputs[0].contents.fp32_contents) == 2
    assert "rejected raw tensors" in prepared_workload.notes[0]
    assert (prepared_workload.new_reader is not None) == streams


def test_requests_are_seeded_and_distinct() -> None:
    first, same_seed, other_seed = (build(OipWorkload("m", seed=seed)).requests for seed in (1, 1, 2))
    assert first == same_seed
    assert first != other_seed
    assert len(set(first)) == len(first) > 1


def test_popularity_sets_request_indices() -> None:
    assert build(OipWorkload("m")).request_indices is None
    indices = build(OipWorkload("m", popularity=Popularity("zipf"))).request_indices
    assert indices is not None
    assert 0 <= min(indices) < max(indices) < 32


def test_rows_that_fill_no_request_are_omitted(npz: str) -> None:
    assert len(build(OipWorkload("m", tensors=npz, rows_per_request=2)).requests) == 2
    with pytest.raises(WorkloadError, match="no request of 6 rows can be built"):
        build(OipWorkload("m", tensors=npz, rows_per_request=6))


def test_class_of_response_is_compared_with_label(npz: str) -> None:
    prepared_workload = build(OipWorkload("m", tensors=npz, labels="y"))
    exchange = Exchange(0, 1, 0, b"", lambda _: None)
    exchange.status, exchange.body = 200, RESPONSE_JSON
    assert prepared_workload.check(exchange) == ResponseCheck(None, 0)
    exchange.request_index = 0
    assert prepared_workload.check(exchange) == ResponseCheck(None, 1)


def respond_with_outputs(*outputs: Output) -> Server:
    """Return a server that responds to each request with these outputs as JSON."""
    output_objects = [
        {"name": name, "datatype": kind, "shape": shape, "data": data} for name, kind, shape, data in outputs
    ]
    return http(lambda request, _: (200, json.dumps({"outputs": output_objects}).encode()))


LABEL: Output = ("label", "INT64", [1, 1], [1])
SCORES: Output = ("probabilities", "FP32", [1, 4], [0.0, 0.0, 0.0, 1.0])


def check(prepared_workload: PreparedWorkload, status_and_body: tuple[int | None, bytes]) -> ResponseCheck:
    exchange = Exchange(0, 1, 0, b"", lambda _: None)
    exchange.status, exchange.body = status_and_body
    return prepared_workload.check(exchange)


@pytest.mark.parametrize(("output", "correct_count"), [(None, 1), ("label", 1), ("probabilities", 0)])
def test_labels_are_compared_with_class_output_or_scores(npz: str, output: str | None, correct_count: int) -> None:
    server = respond_with_outputs(LABEL, SCORES)
    prepared_workload = build(OipWorkload("m", tensors=npz, labels="y", output=output), server)
    assert check(prepared_workload, server.respond(b"POST")) == ResponseCheck(None, correct_count)


@pytest.mark.parametrize("output", [None, "nothing"])
def test_ambiguous_class_output_is_rejected_with_hint(npz: str, output: str | None) -> None:
    server = respond_with_outputs(("a", *SCORES[1:]), SCORES)
    with pytest.raises(WorkloadError, match="accuracy cannot be measured") as raised:
        build(OipWorkload("m", tensors=npz, labels="y", output=output), server)
    assert raised.value.hint is not None
    assert "workload.output" in raised.value.hint


@pytest.mark.parametrize("transport", ["grpc", "grpc-stream"])
def test_labels_are_compared_with_class_output_over_grpc(npz: str, transport: Literal["grpc", "grpc-stream"]) -> None:
    tensor = ModelInferResponse.InferOutputTensor
    outputs = [
        tensor(name="label", datatype="INT64", shape=(1, 1), contents=InferTensorContents(int64_contents=[1])),
        tensor(name="p", datatype="FP32", shape=(1, 4), contents=InferTensorContents(fp32_contents=[0, 0, 0, 1])),
    ]
    response = ModelInferResponse(model_name="m", outputs=outputs)
    message = ModelStreamInferResponse(infer_response=response) if transport == "grpc-stream" else response
    # several streamed responses to the probe request are read as one message
    body = message.SerializeToString() * (2 if transport == "grpc-stream" else 1)
    prepared_workload = build(
        OipWorkload("m", transport=transport, tensors=npz, labels="y"), grpc(lambda *_: (200, body))
    )
    exchange = Exchange(0, 1, 0, b"", lambda _: None)
    exchange.status = 200
    if prepared_workload.new_reader is None:
        exchange.body = body
    else:
        exchange.reader = prepared_workload.new_reader()
        assert exchange.reader.feed(message.SerializeToString(), 1) is None
    assert prepared_workload.check(exchange) == ResponseCheck(None, 1)


def test_requests_beyond_memory_limit_are_omitted_with_note(npz: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "MAX_REQUESTS_BYTES", 700)
    prepared_workload = build(OipWorkload("m", tensors=npz, labels="y"))
    assert 1 <= len(prepared_workload.requests) < 5
    assert f"only the first {len(prepared_workload.requests)} requests" in prepared_workload.notes[0]


@pytest.mark.parametrize("workload", [OipWorkload("m", labels="y"), OipWorkload("m", tensors="/nowhere.npz")])
def test_unavailable_tensors_are_workload_error(workload: OipWorkload) -> None:
    with pytest.raises(WorkloadError) as raised:
        build(workload)
    assert raised.value.hint is not None


@pytest.mark.parametrize(
    ("transport", "response", "error"),
    [
        ("http", (404, b""), "http-4xx"),
        ("http", (None, b""), "send"),
        ("http", (200, b"<html>"), "bad-payload"),
        ("grpc", (404, b""), "http-4xx"),
        ("grpc", (200, b"\xff"), "bad-payload"),
        ("grpc", (200, b""), "bad-payload"),
    ],
)
def test_missing_model_metadata_is_target_error(
    transport: Literal["http", "grpc"], response: tuple[int | None, bytes], error: str
) -> None:
    with pytest.raises(TargetError) as raised:
        build(OipWorkload("m", transport=transport), Server(lambda *_: response))
    assert (raised.value.error, raised.value.status) == (error, response[0])
