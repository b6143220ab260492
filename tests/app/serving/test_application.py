"""The HTTP API of an endpoint with a model that responds at once or when the test releases it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from app.errors import MeasurementError
from app.inference.rows import Feeds
from app.inference.tensor_spec import TensorSpec
from app.serving.application import BODY_LIMIT_BYTES, ServedModel, build_application
from app.serving.batching import Batcher, BatchQueue, BatchResult, Outputs, QueuedRequest
from app.serving.counters import EndpointMetrics
from app.serving.execution import run_batch
from tests.fakes.asgi import Reply, send_request
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.anyio
INFER = "/v2/models/pair/infer"
MODEL = ServedModel(
    name="pair",
    inputs=(TensorSpec("x", "float32", (-1, 2)), TensorSpec("k", "int64", (-1,))),
    outputs=(TensorSpec("product", "float32", (-1, 2)), TensorSpec("k2", "int64", (-1,))),
    is_batchable=True,
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class InProcessEndpoint:
    """An endpoint whose `product` has the rows of `x` times their `k`, and whose `k2` is 2 `k`."""

    def __init__(self, *, is_paused: bool = False, is_broken: bool = False, limit: int = 10) -> None:
        self._is_paused = is_paused
        self._is_broken = is_broken
        self._paused_responses: list[Callable[[], None]] = []
        self.batcher = Batcher(
            BatchQueue(1, 0, limit), self._submit, now_ns=FakeClock(), call_later=lambda _delay_s, _call: None
        )
        self.app = build_application(MODEL, self.batcher, EndpointMetrics(1))

    async def infer(self, document: Any, path: str = INFER) -> Reply:
        return await send_request(self.app, "POST", path, [json.dumps(document).encode()])

    def release(self) -> None:
        while self._paused_responses:
            self._paused_responses.pop(0)()

    def _submit(self, batch: list[QueuedRequest], done: Callable[[Sequence[BatchResult]], None]) -> None:
        results = run_batch(self._run, batch)
        if self._is_paused:
            self._paused_responses.append(lambda: done(results))
        else:
            asyncio.get_running_loop().call_soon(done, results)

    def _run(self, feeds: Feeds) -> Outputs:
        if self._is_broken:
            raise MeasurementError("the inference failed: no memory")
        return [feeds["x"] * feeds["k"][:, None].astype(np.float32), feeds["k"] * 2]


def build_tensor(name: str, datatype: str, shape: list[Any], **rest: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, **rest}


X = build_tensor("x", "FP32", [1, 2], data=[3, 4.5])
K = build_tensor("k", "INT64", [1], data=[2])
VALID_DOCUMENT = {"inputs": [X, K]}


async def test_inference_response_in_json_has_all_outputs() -> None:
    reply = await InProcessEndpoint().infer({**VALID_DOCUMENT, "id": "42"})
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json == {
        "model_name": "pair",
        "model_version": "1",
        "id": "42",
        "outputs": [
            {"name": "product", "datatype": "FP32", "shape": [1, 2], "data": [6.0, 9.0]},
            {"name": "k2", "datatype": "INT64", "shape": [1], "data": [4]},
        ],
    }


async def test_binary_tensors_are_received_and_sent() -> None:
    head = json.dumps(
        {
            "inputs": [
                build_tensor("x", "FP32", [1, 2], parameters={"binary_data_size": 8}),
                build_tensor("k", "INT64", [1], parameters={"binary_data_size": 8}),
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    tail = np.array([3, 4.5], np.float32).tobytes() + np.array([2]).tobytes()
    body = head + tail
    reply = await send_request(
        InProcessEndpoint().app,
        "POST",
        INFER,
        [body[:5], body[5:]],
        {"Inference-Header-Content-Length": str(len(head))},
    )
    length = int(reply.headers["inference-header-content-length"])
    outputs = json.loads(reply.body[:length])["outputs"]
    assert reply.headers["content-type"] == "application/octet-stream"
    assert [output["parameters"]["binary_data_size"] for output in outputs] == [8, 8]
    assert np.frombuffer(reply.body[length:], np.float32, 2).tolist() == [6, 9]
    assert np.frombuffer(reply.body[length + 8 :], np.int64).tolist() == [4]


async def test_requested_outputs_are_sent_in_requested_order_and_format() -> None:
    outputs = [{"name": "k2"}, {"name": "product", "parameters": {"binary_data": True}}]
    reply = await InProcessEndpoint().infer({**VALID_DOCUMENT, "outputs": outputs})
    document = json.loads(reply.body[: int(reply.headers["inference-header-content-length"])])
    assert [output["name"] for output in document["outputs"]] == ["k2", "product"]
    assert document["outputs"][0]["data"] == [4]
    assert np.frombuffer(reply.body[-8:], np.float32).tolist() == [6, 9]


async def test_only_version_1_is_served() -> None:
    endpoint = InProcessEndpoint()
    assert (await endpoint.infer(VALID_DOCUMENT, "/v2/models/pair/versions/1/infer")).status == 200
    assert (await endpoint.infer(VALID_DOCUMENT, "/v2/models/pair/versions/2/infer")).status == 404


def encode_changed_body(inputs: list[Any] | None = None, **rest: Any) -> bytes:
    return json.dumps({**VALID_DOCUMENT, **({} if inputs is None else {"inputs": inputs}), **rest}).encode()


BAD_BODIES = {
    "empty": b"",
    "no JSON": b"{",
    "not UTF-8": b'{"inputs": "\xff"}',
    "nested without end": b"[" * 200_000,
    "a list": b"[]",
    "no inputs": b"{}",
    "inputs empty": encode_changed_body([]),
    "input missing": encode_changed_body([X]),
    "input twice": encode_changed_body([X, X, K]),
    "input unknown": encode_changed_body([X, K, build_tensor("z", "FP32", [1], data=[1])]),
    "datatype wrong": encode_changed_body([{**X, "datatype": "FP64"}, K]),
    "datatype unknown": encode_changed_body([{**X, "datatype": "FLOAT"}, K]),
    "datatype a number": encode_changed_body([{**X, "datatype": 3}, K]),
    "rank wrong": encode_changed_body([{**X, "shape": [2]}, K]),
    "axis wrong": encode_changed_body([{**X, "shape": [1, 3], "data": [1, 2, 3]}, K]),
    "no rows": encode_changed_body([{**X, "shape": [0, 2], "data": []}, K]),
    "negative rows": encode_changed_body([{**X, "shape": [-1, 2]}, K]),
    "rows a fraction": encode_changed_body([{**X, "shape": [1.5, 2]}, K]),
    "rows huge": encode_changed_body([{**X, "shape": [10**30, 2]}, K]),
    "data short": encode_changed_body([{**X, "data": [1]}, K]),
    "data no numbers": encode_changed_body([{**X, "data": ["a", "b"]}, K]),
    "data missing": encode_changed_body([build_tensor("x", "FP32", [1, 2]), K]),
    "data and bytes": encode_changed_body([{**X, "parameters": {"binary_data_size": 0}}, K]),
    "bytes that are not there": encode_changed_body(
        [build_tensor("x", "FP32", [1, 2], parameters={"binary_data_size": 8}), K]
    ),
    "bytes below zero": encode_changed_body(
        [build_tensor("x", "FP32", [1, 2], parameters={"binary_data_size": -8}), K]
    ),
    "bytes huge": encode_changed_body([build_tensor("x", "FP32", [1, 2], parameters={"binary_data_size": 10**30}), K]),
    "output unknown": encode_changed_body(outputs=[{"name": "nothing"}]),
    "outputs no list": encode_changed_body(outputs={"name": "k2"}),
    "id a number": encode_changed_body(id=7),
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_invalid_body_is_rejected_with_400_and_counted(body: bytes) -> None:
    endpoint = InProcessEndpoint()
    reply = await send_request(endpoint.app, "POST", INFER, [body])
    assert (reply.status, list(reply.json)) == (400, ["error"])
    assert len(reply.json["error"]) > 10
    metrics = (await send_request(endpoint.app, "GET", "/metrics")).body.decode()
    assert 'requests_total{outcome="bad_request"} 1' in metrics
    assert "in_flight 0" in metrics


@pytest.mark.parametrize("length", ["-1", "x", "", "9" * 30, "100000"])
async def test_invalid_header_length_is_rejected_with_400(length: str) -> None:
    reply = await send_request(
        InProcessEndpoint().app, "POST", INFER, [encode_changed_body()], {"Inference-Header-Content-Length": length}
    )
    assert reply.status == 400


async def test_extra_bytes_after_the_inputs_are_rejected_with_400() -> None:
    body = encode_changed_body()
    reply = await send_request(
        InProcessEndpoint().app, "POST", INFER, [body + b"more"], {"Inference-Header-Content-Length": str(len(body))}
    )
    assert (reply.status, reply.json) == (400, {"error": "the body has 4 extra bytes after the last input"})


async def test_request_without_a_complete_body_is_rejected_with_400() -> None:
    reply = await send_request(InProcessEndpoint().app, "POST", INFER, [])
    assert reply.status == 400


async def test_body_above_the_limit_is_413_with_or_without_content_length() -> None:
    declared = await send_request(
        InProcessEndpoint().app, "POST", INFER, [b""], {"Content-Length": str(BODY_LIMIT_BYTES + 1)}
    )
    part = bytes(BODY_LIMIT_BYTES // 2)
    undeclared = await send_request(InProcessEndpoint().app, "POST", INFER, [part, part, b"!"])
    assert (declared.status, undeclared.status) == (413, 413)


async def test_full_queue_is_429_with_retry_after() -> None:
    endpoint = InProcessEndpoint(is_paused=True, limit=1)
    accepted = [asyncio.ensure_future(endpoint.infer(VALID_DOCUMENT)) for _ in range(2)]
    await asyncio.sleep(0)
    rejected = await endpoint.infer(VALID_DOCUMENT)
    assert (rejected.status, rejected.headers["retry-after"]) == (429, "1")
    assert "queue_depth 1" in (await send_request(endpoint.app, "GET", "/metrics")).body.decode()
    endpoint.release()
    await asyncio.sleep(0)
    endpoint.release()
    assert [(await reply).status for reply in accepted] == [200, 200]


async def test_draining_endpoint_completes_accepted_requests_and_rejects_new_ones() -> None:
    endpoint = InProcessEndpoint(is_paused=True)
    accepted = asyncio.ensure_future(endpoint.infer(VALID_DOCUMENT))
    await asyncio.sleep(0)
    draining = asyncio.ensure_future(endpoint.batcher.drain())
    await asyncio.sleep(0)
    assert (await endpoint.infer(VALID_DOCUMENT)).status == 503
    assert (await send_request(endpoint.app, "GET", "/v2/health/ready")).status == 503
    assert (await send_request(endpoint.app, "GET", "/v2/models/pair/ready")).status == 503
    assert (await send_request(endpoint.app, "GET", "/v2/health/live")).status == 200
    endpoint.release()
    await draining
    assert (await accepted).status == 200


async def test_failed_inference_is_500_with_a_message() -> None:
    reply = await InProcessEndpoint(is_broken=True).infer(VALID_DOCUMENT)
    assert (reply.status, reply.json) == (500, {"error": "the inference failed: no memory"})


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/pair/ready", {"name": "pair", "ready": True}),
        (
            "/v2/models/pair",
            {
                "name": "pair",
                "versions": ["1"],
                "platform": "onnxruntime_onnx",
                "inputs": [build_tensor("x", "FP32", [-1, 2]), build_tensor("k", "INT64", [-1])],
                "outputs": [build_tensor("product", "FP32", [-1, 2]), build_tensor("k2", "INT64", [-1])],
            },
        ),
    ],
)
async def test_health_and_model_metadata_are_served(path: str, document: Any) -> None:
    reply = await send_request(InProcessEndpoint().app, "GET", path)
    assert (reply.status, reply.json) == (200, document)


async def test_server_metadata_has_the_binary_data_extension() -> None:
    assert (await send_request(InProcessEndpoint().app, "GET", "/v2")).json["extensions"] == ["binary_tensor_data"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", INFER, 405),
        ("POST", "/v2", 405),
    ],
)
async def test_unknown_path_model_or_method_is_a_protocol_error(method: str, path: str, status: int) -> None:
    reply = await send_request(InProcessEndpoint().app, method, path)
    assert (reply.status, list(reply.json)) == (status, ["error"])
