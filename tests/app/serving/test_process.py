"""The endpoint as it really runs: a child process, HTTP over loopback, ONNX Runtime behind it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest

from app.errors import UnavailableError, UsageError
from app.inference.probe import DIGITS_MODEL, DIGITS_ROWS
from app.inference.providers import is_nvidia_driver_available
from app.inference.session import open_session
from app.serving.process import EndpointProcess
from app.serving.settings import ServingSettings
from loadgen.protocols.oip import build_oip
from loadgen.records import Endpoint
from loadgen.transport.address import parse_url
from loadgen.transport.exchange import Exchange
from loadgen.workloads import OipWorkload
from tests.fakes import onnx_models

pytestmark = pytest.mark.process

DIGITS = ServingSettings(model=str(DIGITS_MODEL), name="digits")
INFER = "/v2/models/digits/infer"


@pytest.fixture(scope="module")
def digits() -> Iterator[EndpointProcess]:
    with EndpointProcess(DIGITS) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def images() -> Any:
    return np.load(DIGITS_ROWS)["image"]


def asked(endpoint: EndpointProcess, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    address = urlsplit(endpoint.ready.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    try:
        fields = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def in_json(rows: Any) -> bytes:
    tensor = {"name": "image", "datatype": "FP32", "shape": rows.shape, "data": rows.ravel().tolist()}
    return json.dumps({"inputs": [tensor]}).encode()


def json_scores(endpoint: EndpointProcess, rows: Any) -> Any:
    status, body = asked(endpoint, "POST", INFER, in_json(rows))
    assert status == 200, body
    output = json.loads(body)["outputs"][0]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def binary_scores(endpoint: EndpointProcess, rows: Any) -> Any:
    parameters = {"binary_data_size": rows.nbytes}
    tensor = {"name": "image", "datatype": "FP32", "shape": rows.shape, "parameters": parameters}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference_Header_Content_Length": str(len(head))}
    status, body = asked(endpoint, "POST", INFER, head + rows.tobytes(), **length)
    assert status == 200, body
    return np.frombuffer(body[-40 * len(rows) :], np.float32).reshape(-1, 10)


def wait_until(is_so: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if is_so():
            return
        pause.wait(0.01)
    raise AssertionError("it never came true")


def test_ready_line_says_what_is_served(digits: EndpointProcess) -> None:
    ready = digits.ready
    assert ready.url.startswith("http://127.0.0.1:")
    assert (ready.model, ready.pid) == ("digits", digits.pid)
    assert (ready.provider_requested, ready.provider_used, ready.fallback_nodes) == ("cpu", "cpu", ())
    assert [(spec.name, spec.shape) for spec in ready.inputs] == [("image", (-1, 1, 8, 8))]


@pytest.mark.parametrize("scores_of", [json_scores, binary_scores])
def test_answers_are_those_of_the_runtime_itself(
    digits: EndpointProcess, images: Any, scores_of: Callable[[EndpointProcess, Any], Any]
) -> None:
    direct = open_session(DIGITS_MODEL, "cpu", threads=1)
    for rows in (images[:1], images[1:4]):
        np.testing.assert_allclose(scores_of(digits, rows), direct.run({"image": rows})[0], rtol=1e-5, atol=1e-5)


def test_batched_answers_go_to_their_requests(images: Any) -> None:
    """A long delay makes batches of what comes together; each client then checks the row it sent itself."""
    expected = open_session(DIGITS_MODEL, "cpu", threads=1).run({"image": images})[0]
    settings = msgspec.structs.replace(DIGITS, queue_delay_s=0.02)
    with EndpointProcess(settings) as endpoint, ThreadPoolExecutor(16) as clients:
        sizes = [1 + number % 3 for number in range(64)]
        starts = np.cumsum([0, *sizes[:-1]])
        answers = clients.map(
            lambda start, size: binary_scores(endpoint, images[start : start + size]), starts.tolist(), sizes
        )
        for start, size, scores in zip(starts, sizes, answers, strict=True):
            np.testing.assert_allclose(scores, expected[start : start + size], rtol=1e-3, atol=1e-3)
        _, metrics = asked(endpoint, "GET", "/metrics")
    batches = [line for line in metrics.decode().splitlines() if line.startswith("sizewise_endpoint_batch_rows_count")]
    assert int(batches[0].split()[1]) < 48


def test_garbage_on_the_wire_is_400_and_the_endpoint_lives_on(digits: EndpointProcess, images: Any) -> None:
    address = urlsplit(digits.ready.url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=30) as connection:
        connection.sendall(b"\x00\x01\x02 garbage\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")
    assert asked(digits, "POST", INFER, b"{")[0] == 400
    assert json_scores(digits, images[:1]).shape == (1, 10)


def test_stop_answers_what_waits_and_ends_with_0(images: Any) -> None:
    settings = msgspec.structs.replace(DIGITS, queue_delay_s=60.0)
    endpoint = EndpointProcess(settings)
    with endpoint, ThreadPoolExecutor(1) as client:
        answer = client.submit(json_scores, endpoint, images[:1])
        wait_until(lambda: b"queue_depth 1" in asked(endpoint, "GET", "/metrics")[1])
        assert endpoint.stop() == 0
        assert answer.result().shape == (1, 10)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
def test_a_killed_endpoint_reports_the_signal() -> None:
    with EndpointProcess(DIGITS) as endpoint:
        assert endpoint.end_reason() is None
        os.kill(endpoint.pid, signal.SIGKILL)
        wait_until(lambda: endpoint.end_reason() is not None)
        assert endpoint.end_reason() == "was killed by SIGKILL"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains_and_ends_with_0(images: Any, number: signal.Signals) -> None:
    settings = msgspec.structs.replace(DIGITS, queue_delay_s=60.0)
    endpoint = EndpointProcess(settings)
    with endpoint, ThreadPoolExecutor(1) as client:
        answer = client.submit(json_scores, endpoint, images[:1])
        wait_until(lambda: b"queue_depth 1" in asked(endpoint, "GET", "/metrics")[1])
        os.kill(endpoint.pid, number)
        assert answer.result().shape == (1, 10)
        assert endpoint.stop() == 0


def test_model_of_a_fixed_batch_is_served_one_by_one(tmp_path: Path) -> None:
    model = onnx_models.doubling(tmp_path / "one.onnx", rows=1)
    with EndpointProcess(ServingSettings(model=str(model), name="one")) as endpoint:
        assert endpoint.ready.max_batch == 1
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
        status, body = asked(endpoint, "POST", "/v2/models/one/infer", json.dumps({"inputs": [tensor]}).encode())
    assert (status, json.loads(body)["outputs"][0]["data"]) == (200, [2, 4, 6])


@pytest.mark.parametrize("provider", ["rocm", "cuda"])
def test_provider_that_cannot_exist_here_is_refused(provider: str) -> None:
    if provider == "cuda" and is_nvidia_driver_available():
        pytest.skip("there is an NVIDIA driver here")
    endpoint = EndpointProcess(msgspec.structs.replace(DIGITS, provider=provider))
    with pytest.raises(UnavailableError, match=provider) as caught:
        endpoint.start()
    assert caught.value.hint


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in is a Linux library")
def test_provider_that_falls_back_is_reported_in_the_ready_line(
    nvml_stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml_stand_in))
    with EndpointProcess(msgspec.structs.replace(DIGITS, provider="cuda")) as endpoint:
        ready = endpoint.ready
    assert (ready.provider_requested, ready.provider_used) == ("cuda", "cpu")
    assert "Gemm on CPUExecutionProvider" in ready.fallback_nodes
    assert ready.provider_reason is not None


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(UsageError, match="m\\.onnx is not a model"):
        EndpointProcess(ServingSettings(model=str(tmp_path / "m.onnx"), name="m")).start()


def test_port_in_use_is_unavailable(digits: EndpointProcess) -> None:
    port = urlsplit(digits.ready.url).port
    with pytest.raises(UnavailableError, match="cannot listen on"):
        EndpointProcess(msgspec.structs.replace(DIGITS, port=port)).start()


def test_endpoint_that_is_not_ready_in_time_is_stopped() -> None:
    with pytest.raises(UnavailableError, match=r"was not ready within 0\.05 s"):
        EndpointProcess(DIGITS, start_timeout_s=0.05).start()


@pytest.mark.parametrize("is_binary", [True, False])
def test_labels_are_compared_with_the_class_that_a_served_model_gives(tmp_path: Path, is_binary: bool) -> None:
    """A classifier as skl2onnx exports it: 30 of its 40 rows are labelled rightly."""
    model, rows = onnx_models.classifier(tmp_path / "m.onnx"), onnx_models.labelled(tmp_path / "r.npz")
    workload = OipWorkload("m", tensors=str(rows), labels="label", rows_per_request=4, binary=is_binary)
    with EndpointProcess(ServingSettings(model=str(model), name="m")) as endpoint:
        address = urlsplit(endpoint.ready.url)

        async def ask(request: bytes, _: str = "") -> Exchange:
            exchange = Exchange(0, 0, 0, request, lambda _: None)
            with socket.create_connection((str(address.hostname), address.port or 0), timeout=30) as connection:
                connection.sendall(request)
                response = http.client.HTTPResponse(connection)
                response.begin()
                exchange.status, exchange.body = response.status, response.read()
                exchange.headers = [(n.lower().encode(), v.encode()) for n, v in response.getheaders()]
            return exchange

        async def right() -> int:
            target = parse_url(endpoint.ready.url)
            built = await build_oip(workload, Endpoint((endpoint.ready.url,)), target, ask)
            total = 0
            for number, request in enumerate(built.requests):
                exchange = await ask(request)
                exchange.request_index = number
                total += built.check(exchange).correct_rows or 0
            return total

        assert asyncio.run(right()) == 30
