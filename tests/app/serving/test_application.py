"""The whole HTTP surface on a model that runs at once, or not until it is told to."""

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
from tests.fakes.asgi import Reply, ask
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


class Served:
    """Each row of `product` is the row of `x` times its `k`; `k2` is 2 k."""

    def __init__(self, *, is_held: bool = False, is_broken: bool = False, limit: int = 10) -> None:
        self._is_held = is_held
        self._is_broken = is_broken
        self._held: list[Callable[[], None]] = []
        self.batcher = Batcher(
            BatchQueue(1, 0, limit), self._submit, now_ns=FakeClock(), call_later=lambda _delay_s, _call: None
        )
        self.app = build_application(MODEL, self.batcher, EndpointMetrics(1))

    async def infer(self, document: Any, path: str = INFER) -> Reply:
        return await ask(self.app, "POST", path, [json.dumps(document).encode()])

    def release(self) -> None:
        while self._held:
            self._held.pop(0)()

    def _submit(self, batch: list[QueuedRequest], done: Callable[[Sequence[BatchResult]], None]) -> None:
        answers = run_batch(self._run, batch)
        if self._is_held:
            self._held.append(lambda: done(answers))
        else:
            asyncio.get_running_loop().call_soon(done, answers)

    def _run(self, feeds: Feeds) -> Outputs:
        if self._is_broken:
            raise MeasurementError("the inference failed: no memory")
        return [feeds["x"] * feeds["k"][:, None].astype(np.float32), feeds["k"] * 2]


def tensor(name: str, datatype: str, shape: list[Any], **rest: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, **rest}


X = tensor("x", "FP32", [1, 2], data=[3, 4.5])
K = tensor("k", "INT64", [1], data=[2])
GOOD = {"inputs": [X, K]}


async def test_answer_in_json() -> None:
    reply = await Served().infer({**GOOD, "id": "42"})
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


async def test_binary_tensors_both_ways() -> None:
    head = json.dumps(
        {
            "inputs": [
                tensor("x", "FP32", [1, 2], parameters={"binary_data_size": 8}),
                tensor("k", "INT64", [1], parameters={"binary_data_size": 8}),
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    tail = np.array([3, 4.5], np.float32).tobytes() + np.array([2]).tobytes()
    body = head + tail
    reply = await ask(
        Served().app, "POST", INFER, [body[:5], body[5:]], {"Inference-Header-Content-Length": str(len(head))}
    )
    length = int(reply.headers["inference-header-content-length"])
    outputs = json.loads(reply.body[:length])["outputs"]
    assert reply.headers["content-type"] == "application/octet-stream"
    assert [output["parameters"]["binary_data_size"] for output in outputs] == [8, 8]
    assert np.frombuffer(reply.body[length:], np.float32, 2).tolist() == [6, 9]
    assert np.frombuffer(reply.body[length + 8 :], np.int64).tolist() == [4]


async def test_outputs_asked_for_come_in_the_asked_order_and_form() -> None:
    outputs = [{"name": "k2"}, {"name": "product", "parameters": {"binary_data": True}}]
    reply = await Served().infer({**GOOD, "outputs": outputs})
    document = json.loads(reply.body[: int(reply.headers["inference-header-content-length"])])
    assert [output["name"] for output in document["outputs"]] == ["k2", "product"]
    assert document["outputs"][0]["data"] == [4]
    assert np.frombuffer(reply.body[-8:], np.float32).tolist() == [6, 9]


async def test_versioned_path_serves_the_same() -> None:
    served = Served()
    assert (await served.infer(GOOD, "/v2/models/pair/versions/1/infer")).status == 200
    assert (await served.infer(GOOD, "/v2/models/pair/versions/2/infer")).status == 404


def changed(inputs: list[Any] | None = None, **rest: Any) -> bytes:
    return json.dumps({**GOOD, **({} if inputs is None else {"inputs": inputs}), **rest}).encode()


BAD_BODIES = {
    "empty": b"",
    "no JSON": b"{",
    "not UTF-8": b'{"inputs": "\xff"}',
    "nested without end": b"[" * 200_000,
    "a list": b"[]",
    "no inputs": b"{}",
    "inputs empty": changed([]),
    "input missing": changed([X]),
    "input twice": changed([X, X, K]),
    "input unknown": changed([X, K, tensor("z", "FP32", [1], data=[1])]),
    "datatype wrong": changed([{**X, "datatype": "FP64"}, K]),
    "datatype unknown": changed([{**X, "datatype": "FLOAT"}, K]),
    "datatype a number": changed([{**X, "datatype": 3}, K]),
    "rank wrong": changed([{**X, "shape": [2]}, K]),
    "axis wrong": changed([{**X, "shape": [1, 3], "data": [1, 2, 3]}, K]),
    "no rows": changed([{**X, "shape": [0, 2], "data": []}, K]),
    "negative rows": changed([{**X, "shape": [-1, 2]}, K]),
    "rows a fraction": changed([{**X, "shape": [1.5, 2]}, K]),
    "rows huge": changed([{**X, "shape": [10**30, 2]}, K]),
    "data short": changed([{**X, "data": [1]}, K]),
    "data no numbers": changed([{**X, "data": ["a", "b"]}, K]),
    "data missing": changed([tensor("x", "FP32", [1, 2]), K]),
    "data and bytes": changed([{**X, "parameters": {"binary_data_size": 0}}, K]),
    "bytes that are not there": changed([tensor("x", "FP32", [1, 2], parameters={"binary_data_size": 8}), K]),
    "bytes below zero": changed([tensor("x", "FP32", [1, 2], parameters={"binary_data_size": -8}), K]),
    "bytes huge": changed([tensor("x", "FP32", [1, 2], parameters={"binary_data_size": 10**30}), K]),
    "output unknown": changed(outputs=[{"name": "nothing"}]),
    "outputs no list": changed(outputs={"name": "k2"}),
    "id a number": changed(id=7),
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_bad_body_is_400_with_a_sentence(body: bytes) -> None:
    served = Served()
    reply = await ask(served.app, "POST", INFER, [body])
    assert (reply.status, list(reply.json)) == (400, ["error"])
    assert len(reply.json["error"]) > 10
    metrics = (await ask(served.app, "GET", "/metrics")).body.decode()
    assert 'requests_total{outcome="bad_request"} 1' in metrics
    assert "in_flight 0" in metrics


@pytest.mark.parametrize("length", ["-1", "x", "", "9" * 30, "100000"])
async def test_bad_length_header_is_400(length: str) -> None:
    reply = await ask(Served().app, "POST", INFER, [changed()], {"Inference-Header-Content-Length": length})
    assert reply.status == 400


async def test_bytes_of_no_input_are_400() -> None:
    body = changed()
    reply = await ask(
        Served().app, "POST", INFER, [body + b"more"], {"Inference-Header-Content-Length": str(len(body))}
    )
    assert (reply.status, reply.json) == (400, {"error": "the body has 4 extra bytes after the last input"})


async def test_request_that_ends_before_its_body_is_counted_and_over() -> None:
    reply = await ask(Served().app, "POST", INFER, [])
    assert reply.status == 400


async def test_body_over_the_limit_is_413_reported_or_not() -> None:
    reported = await ask(Served().app, "POST", INFER, [b""], {"Content-Length": str(BODY_LIMIT_BYTES + 1)})
    part = bytes(BODY_LIMIT_BYTES // 2)
    untold = await ask(Served().app, "POST", INFER, [part, part, b"!"])
    assert (reported.status, untold.status) == (413, 413)


async def test_full_queue_is_429_with_retry_after() -> None:
    served = Served(is_held=True, limit=1)
    taken = [asyncio.ensure_future(served.infer(GOOD)) for _ in range(2)]
    await asyncio.sleep(0)
    refused = await served.infer(GOOD)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert "queue_depth 1" in (await ask(served.app, "GET", "/metrics")).body.decode()
    served.release()
    await asyncio.sleep(0)
    served.release()
    assert [(await reply).status for reply in taken] == [200, 200]


async def test_draining_endpoint_answers_what_it_has_and_refuses_the_rest() -> None:
    served = Served(is_held=True)
    taken = asyncio.ensure_future(served.infer(GOOD))
    await asyncio.sleep(0)
    draining = asyncio.ensure_future(served.batcher.drain())
    await asyncio.sleep(0)
    assert (await served.infer(GOOD)).status == 503
    assert (await ask(served.app, "GET", "/v2/health/ready")).status == 503
    assert (await ask(served.app, "GET", "/v2/models/pair/ready")).status == 503
    assert (await ask(served.app, "GET", "/v2/health/live")).status == 200
    served.release()
    await draining
    assert (await taken).status == 200


async def test_failing_model_is_500_with_a_sentence() -> None:
    reply = await Served(is_broken=True).infer(GOOD)
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
                "inputs": [tensor("x", "FP32", [-1, 2]), tensor("k", "INT64", [-1])],
                "outputs": [tensor("product", "FP32", [-1, 2]), tensor("k2", "INT64", [-1])],
            },
        ),
    ],
)
async def test_health_and_metadata(path: str, document: Any) -> None:
    reply = await ask(Served().app, "GET", path)
    assert (reply.status, reply.json) == (200, document)


async def test_server_metadata_names_the_extension() -> None:
    assert (await ask(Served().app, "GET", "/v2")).json["extensions"] == ["binary_tensor_data"]


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
async def test_what_is_not_there_is_an_error_of_the_protocol(method: str, path: str, status: int) -> None:
    reply = await ask(Served().app, method, path)
    assert (reply.status, list(reply.json)) == (status, ["error"])
