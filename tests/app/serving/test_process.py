"""The endpoint in a child process with ONNX Runtime, over HTTP on loopback."""

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


def send_request(
    endpoint: EndpointProcess, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, bytes]:
    address = urlsplit(endpoint.ready.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    try:
        fields = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def encode_json_request(rows: Any) -> bytes:
    tensor = {"name": "image", "datatype": "FP32", "shape": rows.shape, "data": rows.ravel().tolist()}
    return json.dumps({"inputs": [tensor]}).encode()


def request_json_scores(endpoint: EndpointProcess, rows: Any) -> Any:
    status, body = send_request(endpoint, "POST", INFER, encode_json_request(rows))
    assert status == 200, body
    output = json.loads(body)["outputs"][0]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def request_binary_scores(endpoint: EndpointProcess, rows: Any) -> Any:
    parameters = {"binary_data_size": rows.nbytes}
    tensor = {"name": "image", "datatype": "FP32", "shape": rows.shape, "parameters": parameters}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference_Header_Content_Length": str(len(head))}
    status, body = send_request(endpoint, "POST", INFER, head + rows.tobytes(), **length)
    assert status == 200, body
    return np.frombuffer(body[-40 * len(rows) :], np.float32).reshape(-1, 10)


def wait_until(is_met: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if is_met():
            return
        pause.wait(0.01)
    raise AssertionError("the condition was not met in time")


def test_ready_record_describes_the_served_model(digits: EndpointProcess) -> None:
    ready = digits.ready
    assert ready.url.startswith("http://127.0.0.1:")
    assert (ready.model, ready.pid) == ("digits", digits.pid)
    assert (ready.provider_requested, ready.provider_used, ready.fallback_nodes) == ("cpu", "cpu", ())
    assert [(spec.name, spec.shape) for spec in ready.inputs] == [("image", (-1, 1, 8, 8))]


@pytest.mark.parametrize("request_scores", [request_json_scores, request_binary_scores])
def test_served_scores_equal_those_of_onnx_runtime(
    digits: EndpointProcess, images: Any, request_scores: Callable[[EndpointProcess, Any], Any]
) -> None:
    direct = open_session(DIGITS_MODEL, "cpu", threads=1)
    for rows in (images[:1], images[1:4]):
        np.testing.assert_allclose(request_scores(digits, rows), direct.run({"image": rows})[0], rtol=1e-5, atol=1e-5)


def test_batched_responses_are_returned_to_their_requests(images: Any) -> None:
    """A long queue delay batches concurrent requests; each client checks the rows that it sent."""
    expected = open_session(DIGITS_MODEL, "cpu", threads=1).run({"image": images})[0]
    settings = msgspec.structs.replace(DIGITS, queue_delay_s=0.02)
    with EndpointProcess(settings) as endpoint, ThreadPoolExecutor(16) as clients:
        sizes = [1 + number % 3 for number in range(64)]
        starts = np.cumsum([0, *sizes[:-1]])
        responses = clients.map(
            lambda start, size: request_binary_scores(endpoint, images[start : start + size]), starts.tolist(), sizes
        )
        for start, size, scores in zip(starts, sizes, responses, strict=True):
            np.testing.assert_allclose(scores, expected[start : start + size], rtol=1e-3, atol=1e-3)
        _, metrics = send_request(endpoint, "GET", "/metrics")
    batches = [line for line in metrics.decode().splitlines() if line.startswith("sizewise_endpoint_batch_rows_count")]
    assert int(batches[0].split()[1]) < 48


def test_invalid_http_is_400_and_the_endpoint_continues(digits: EndpointProcess, images: Any) -> None:
    address = urlsplit(digits.ready.url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=30) as connection:
        connection.sendall(b"\x00\x01\x02 garbage\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")
    assert send_request(digits, "POST", INFER, b"{")[0] == 400
    assert request_json_scores(digits, images[:1]).shape == (1, 10)


def test_stop_completes_waiting_requests_and_exits_with_0(images: Any) -> None:
    settings = msgspec.structs.replace(DIGITS, queue_delay_s=60.0)
    endpoint = EndpointProcess(settings)
    with endpoint, ThreadPoolExecutor(1) as client:
        response = client.submit(request_json_scores, endpoint, images[:1])
        wait_until(lambda: b"queue_depth 1" in send_request(endpoint, "GET", "/metrics")[1])
        assert endpoint.stop() == 0
        assert response.result().shape == (1, 10)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
def test_killed_endpoint_reports_its_signal() -> None:
    with EndpointProcess(DIGITS) as endpoint:
        assert endpoint.end_reason() is None
        os.kill(endpoint.pid, signal.SIGKILL)
        wait_until(lambda: endpoint.end_reason() is not None)
        assert endpoint.end_reason() == "was killed by SIGKILL"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_completes_waiting_requests_and_exits_with_0(images: Any, number: signal.Signals) -> None:
    settings = msgspec.structs.replace(DIGITS, queue_delay_s=60.0)
    endpoint = EndpointProcess(settings)
    with endpoint, ThreadPoolExecutor(1) as client:
        response = client.submit(request_json_scores, endpoint, images[:1])
        wait_until(lambda: b"queue_depth 1" in send_request(endpoint, "GET", "/metrics")[1])
        os.kill(endpoint.pid, number)
        assert response.result().shape == (1, 10)
        assert endpoint.stop() == 0


def test_model_with_fixed_batch_size_1_is_served_unbatched(tmp_path: Path) -> None:
    model = onnx_models.doubling(tmp_path / "one.onnx", rows=1)
    with EndpointProcess(ServingSettings(model=str(model), name="one")) as endpoint:
        assert endpoint.ready.max_batch == 1
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
        status, body = send_request(endpoint, "POST", "/v2/models/one/infer", json.dumps({"inputs": [tensor]}).encode())
    assert (status, json.loads(body)["outputs"][0]["data"]) == (200, [2, 4, 6])


@pytest.mark.parametrize("provider", ["rocm", "cuda"])
def test_provider_missing_on_this_machine_is_unavailable(provider: str) -> None:
    if provider == "cuda" and is_nvidia_driver_available():
        pytest.skip("there is an NVIDIA driver here")
    endpoint = EndpointProcess(msgspec.structs.replace(DIGITS, provider=provider))
    with pytest.raises(UnavailableError, match=provider) as error:
        endpoint.start()
    assert error.value.hint


@pytest.mark.skipif(sys.platform != "linux", reason="the mock driver is a Linux library")
def test_provider_fallback_is_in_the_ready_record(simulated_nvml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(simulated_nvml))
    with EndpointProcess(msgspec.structs.replace(DIGITS, provider="cuda")) as endpoint:
        ready = endpoint.ready
    assert (ready.provider_requested, ready.provider_used) == ("cuda", "cpu")
    assert "Gemm on CPUExecutionProvider" in ready.fallback_nodes
    assert ready.provider_reason is not None


def test_serving_an_invalid_model_file_is_rejected(tmp_path: Path) -> None:
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
def test_labels_are_compared_with_the_class_output_of_the_served_model(tmp_path: Path, is_binary: bool) -> None:
    """The classifier, as exported by skl2onnx, predicts 30 of its 40 rows correctly."""
    model, rows = onnx_models.classifier(tmp_path / "m.onnx"), onnx_models.labelled(tmp_path / "r.npz")
    workload = OipWorkload("m", tensors=str(rows), labels="label", rows_per_request=4, binary=is_binary)
    with EndpointProcess(ServingSettings(model=str(model), name="m")) as endpoint:
        address = urlsplit(endpoint.ready.url)

        async def exchange_request(request: bytes, _: str = "") -> Exchange:
            exchange = Exchange(0, 0, 0, request, lambda _: None)
            with socket.create_connection((str(address.hostname), address.port or 0), timeout=30) as connection:
                connection.sendall(request)
                response = http.client.HTTPResponse(connection)
                response.begin()
                exchange.status, exchange.body = response.status, response.read()
                exchange.headers = [(n.lower().encode(), v.encode()) for n, v in response.getheaders()]
            return exchange

        async def count_correct_rows() -> int:
            target = parse_url(endpoint.ready.url)
            built = await build_oip(workload, Endpoint((endpoint.ready.url,)), target, exchange_request)
            total = 0
            for number, request in enumerate(built.requests):
                exchange = await exchange_request(request)
                exchange.request_index = number
                total += built.check(exchange).correct_rows or 0
            return total

        assert asyncio.run(count_correct_rows()) == 30
