"""The endpoint with a language model in a child process, over HTTP on loopback."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil
import pytest

from app.errors import MeasurementError, UsageError
from app.inference.generation.decoder_shape import PagedCache
from app.inference.generation.engine import TokenEvent
from app.inference.generation.model_folder import read_model_folder
from app.serving.generation.server import build_batch_limits, run_language_model
from app.serving.process import EndpointProcess
from app.serving.settings import EndpointReady, LanguageModelReady, ServingSettings
from app.telemetry.metrics_page import parse_samples
from tests.fakes import decoders

pytestmark = pytest.mark.process
TIMEOUT_S = 60.0
CACHE = PagedCache(block_tokens=16, blocks=128, max_batch=8, max_step_tokens=128)
TEXT = "/v1/completions"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoders.paged(tmp_path_factory.mktemp("model") / "paged", cache=CACHE)


@pytest.fixture(scope="module")
def settings(folder: Path) -> ServingSettings:
    return ServingSettings(model=str(folder), name="m")


@pytest.fixture(scope="module")
def endpoint(settings: ServingSettings) -> Iterator[EndpointProcess]:
    with EndpointProcess(settings) as endpoint:
        yield endpoint


JSON = {"Content-Type": "application/json"}


def request(ready: EndpointReady, path: str, document: Any = None) -> http.client.HTTPResponse:
    """Send a request and return its response; the connection closes when the response is read or closed."""
    address = urlsplit(ready.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=TIMEOUT_S)
    body = None if document is None else json.dumps({"model": "m", **document})
    connection.request("GET" if body is None else "POST", path, body, {"Connection": "close", **JSON})
    return connection.getresponse()


def start_stream(ready: EndpointReady, tokens: int = 1900) -> http.client.HTTPResponse:
    """Request a stream and return its response after the first event."""
    response = request(ready, TEXT, {"prompt": "a", "max_tokens": tokens, "ignore_eos": True, "stream": True})
    assert response.status == 200
    assert response.readline().startswith(b"data: {")
    return response


def sum_metric(ready: EndpointReady, name: str) -> float:
    page = request(ready, "/metrics").read().decode()
    return sum(sample.value for sample in parse_samples(page) if sample.name == name)


def wait_until(is_met: Callable[[], bool]) -> None:
    end_s = time.monotonic() + TIMEOUT_S
    while not is_met():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_ready_record_describes_the_language_model(endpoint: EndpointProcess) -> None:
    ready = endpoint.ready
    assert (ready.model, ready.provider_used, ready.max_batch, ready.inputs) == ("m", "cpu", 8, ())
    assert ready.language_model == LanguageModelReady(batching="continuous", max_length=2048)
    assert ready.base_url == f"{ready.url}/v1"


def test_batch_limits_depend_on_model_and_requested_batch(folder: Path, tmp_path: Path) -> None:
    paged, static = read_model_folder(folder), read_model_folder(decoders.contiguous(tmp_path / "static"))
    limits = [build_batch_limits(model, batch) for model in (paged, static) for batch in (None, 3)]
    assert [limit.max_batch for limit in limits] == [8, 3, 8, 3]
    assert [limit.batching for limit in limits] == ["continuous", "continuous", "static", "static"]


def test_closed_connection_cancels_its_generation_request(endpoint: EndpointProcess) -> None:
    response = start_stream(endpoint.ready)
    assert sum_metric(endpoint.ready, "vllm:num_requests_running") == 1
    response.close()
    wait_until(lambda: sum_metric(endpoint.ready, "vllm:num_requests_running") == 0)
    assert sum_metric(endpoint.ready, "vllm:kv_cache_usage_perc") == 0
    assert sum_metric(endpoint.ready, "vllm:generation_tokens_total") < 1900


def test_cached_prompt_tokens_are_counted(endpoint: EndpointProcess) -> None:
    before = sum_metric(endpoint.ready, "vllm:prefix_cache_hits_total")
    prompt = [5 + number % 100 for number in range(1000)]
    usages = [
        json.loads(request(endpoint.ready, TEXT, {"prompt": prompt, "max_tokens": 2}).read())["usage"] for _ in range(2)
    ]
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    assert cached == [0, 992]
    assert sum_metric(endpoint.ready, "vllm:prefix_cache_hits_total") - before == 992


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
def test_killed_endpoint_interrupts_its_streams(settings: ServingSettings) -> None:
    with EndpointProcess(settings) as endpoint:
        response = start_stream(endpoint.ready)
        os.kill(endpoint.pid, signal.SIGKILL)
        with response, pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
def test_sigterm_completes_running_streams_and_exits_with_0(settings: ServingSettings) -> None:
    with EndpointProcess(settings) as endpoint:
        response = start_stream(endpoint.ready, tokens=500)
        os.kill(endpoint.pid, signal.SIGTERM)
        assert response.read().endswith(b"data: [DONE]\n\n")
        assert endpoint.stop() == 0


class BrokenEngine:
    def __init__(self, *_: object) -> None: ...

    def start(self, *_: object) -> None: ...

    def step(self) -> None:
        raise MeasurementError("the engine failed: no memory")


def test_engine_failure_ends_the_endpoint_with_its_error(
    settings: ServingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.serving.generation.server.GenerationEngine", BrokenEngine)
    statuses: list[int] = []
    clients: list[threading.Thread] = []

    def on_ready(ready: EndpointReady) -> None:
        def post_request() -> None:
            with request(ready, TEXT, {"prompt": "a"}) as response:
                statuses.append(response.status)

        clients.append(threading.Thread(target=post_request))
        clients[0].start()

    with pytest.raises(MeasurementError, match="no memory"):
        run_language_model(settings, on_ready)
    clients[0].join(TIMEOUT_S)
    assert statuses == [500]


class EndlessEngine:
    """An engine that generates tokens until the test ends and ignores cancellations."""

    def __init__(self, *_: object) -> None:
        self._started: list[int] = []

    def start(self, request_id: int, _: object) -> None:
        self._started.append(request_id)

    def cancel(self, _: int) -> None: ...

    def step(self) -> list[TokenEvent]:
        time.sleep(0.005)
        return [TokenEvent(request_id, 100) for request_id in self._started]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
@pytest.mark.parametrize(("drain_timeout_s", "signals"), [(0.05, 1), (TIMEOUT_S, 2)])
def test_stream_interrupted_by_a_stop_ends_with_an_error(
    settings: ServingSettings, monkeypatch: pytest.MonkeyPatch, drain_timeout_s: float, signals: int
) -> None:
    monkeypatch.setattr("app.serving.generation.server.GenerationEngine", EndlessEngine)
    monkeypatch.setattr("app.serving.server.DRAIN_TIMEOUT_S", drain_timeout_s)
    bodies: list[bytes] = []
    clients: list[threading.Thread] = []

    def on_ready(ready: EndpointReady) -> None:
        def post_request() -> None:
            with start_stream(ready) as response:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(signals - 1):
                    wait_until(lambda: request(ready, "/health").status == 503)
                    os.kill(os.getpid(), signal.SIGINT)
                bodies.append(response.read())

        clients.append(threading.Thread(target=post_request))
        clients[0].start()

    run_language_model(settings, on_ready)
    clients[0].join(TIMEOUT_S)
    (body,) = bodies
    assert b"[DONE]" not in body
    last = json.loads(body.rstrip().rpartition(b"data: ")[2])
    assert (last["error"]["code"], last["error"]["type"]) == ("stopped", "server_error")
    assert "stopped before the response was complete" in last["error"]["message"]


def test_queue_delay_with_a_language_model_is_rejected(settings: ServingSettings) -> None:
    with pytest.raises(UsageError, match="--queue-delay"):
        run_language_model(msgspec.structs.replace(settings, queue_delay_s=0.1), lambda _: None)


def test_folder_without_a_language_model_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no genai_config\.json"):
        run_language_model(ServingSettings(model=str(tmp_path), name="m"), lambda _: None)


@pytest.mark.soak
def test_thousand_requests_do_not_leak_memory_or_kv_cache(endpoint: EndpointProcess) -> None:
    def send_request(number: int) -> None:
        if number % 10 == 0:
            start_stream(endpoint.ready).close()
            return
        document = {"prompt": [3 + number % 500, 7, number % 300], "max_tokens": 20, "stream": number % 2 == 0}
        assert request(endpoint.ready, TEXT, document).read()

    process = psutil.Process(endpoint.pid)
    with ThreadPoolExecutor(12) as clients:
        [*clients.map(send_request, range(300))]
        rss_bytes = process.memory_info().rss
        [*clients.map(send_request, range(300, 1300))]
    wait_until(lambda: sum_metric(endpoint.ready, "vllm:num_requests_running") == 0)
    assert sum_metric(endpoint.ready, "vllm:kv_cache_usage_perc") == 0
    assert process.memory_info().rss - rss_bytes < 10 * 2**20
    long_request = {"prompt": "a", "max_tokens": 2040, "ignore_eos": True}
    assert json.loads(request(endpoint.ready, TEXT, long_request).read())["usage"]["completion_tokens"] == 2040
