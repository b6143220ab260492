from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from typing import Any

import pytest

from app.errors import MeasurementError
from app.wiring.reference_server import ReferenceServer, start_scripted
from loadgen.payloads.tensors import TensorInput
from loadgen.reference.script import (
    HttpMock,
    MockProtocol,
    OipMock,
    OpenAiMock,
    ServiceModel,
    TfServingMock,
    TorchServeMock,
)
from tests.app.wiring.conftest import MakeProfile
from tests.fakes.program import wait_until

pytestmark = pytest.mark.process


def test_reference_server_responds_until_it_is_closed() -> None:
    server = ReferenceServer("loadgen.reference.null", path="/any")
    with urllib.request.urlopen(server.url, timeout=10) as response:
        assert response.read() == b"{}"
    server.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(server.url, timeout=10)


def test_reference_server_that_fails_to_start_is_a_measurement_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MeasurementError, match="did not start"):
        ReferenceServer("loadgen.reference.nothing")
    assert "No module named" in capfd.readouterr().err


PROMPTS = {"prompts": {"input_tokens": 5}}
SPECS = ((TensorInput("x", "FP32", (-1, 3)),), (TensorInput("output", "FP32", (-1, 2)),))


@pytest.mark.parametrize(
    ("protocol", "scripted", "workload", "mock"),
    [
        ("http", {"delay": "5ms", "response": [1]}, None, HttpMock(ServiceModel(0.005), response=[1])),
        (
            "openai-chat",
            {"delay": "5ms", "spread": 0.5, "parallel": 4, "tokens": "50/s"},
            PROMPTS,
            OpenAiMock(ServiceModel(0.005, 0.5, 4, 50.0), output_tokens=64),
        ),
        ("openai-embeddings", {"row": "1ms"}, PROMPTS, OpenAiMock(ServiceModel(row_s=0.001))),
        (
            "oip",
            {"row": "1ms", "inputs": {"x": "FP32[-1, 3]"}},
            None,
            OipMock(ServiceModel(row_s=0.001), "scripted", *SPECS),
        ),
        (
            "tf-serving",
            {"inputs": {"x": "FP32[-1, 3]"}},
            None,
            TfServingMock(ServiceModel(), "scripted", *SPECS, "serving_default"),
        ),
        ("torchserve", {"seed": 3}, {"body": 1}, TorchServeMock(ServiceModel(seed=3))),
    ],
)
def test_scripted_target_has_the_mock_protocol_of_its_protocol(
    make_profile: MakeProfile, protocol: str, scripted: dict[str, Any], workload: Any, mock: MockProtocol
) -> None:
    assert make_profile({"protocol": protocol, "scripted": scripted}, workload).target.build_mock() == mock


def test_target_that_is_not_scripted_has_no_mock_protocol(make_profile: MakeProfile) -> None:
    assert make_profile().target.build_mock() is None


def test_killed_scripted_server_reports_the_signal() -> None:
    server = start_scripted(HttpMock(ServiceModel()))
    try:
        assert server.end_reason() is None
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: server.end_reason() is not None)
        assert server.end_reason() == "was killed by SIGKILL"
    finally:
        server.close()


@pytest.mark.skipif(sys.platform != "linux", reason="whether a process is stopped is read from /proc")
def test_suspended_scripted_server_has_an_end_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.child._MAX_SUSPENDED_S", 0.5)
    server = start_scripted(HttpMock(ServiceModel()))
    try:
        os.kill(server.pid, signal.SIGSTOP)
        wait_until(lambda: server.end_reason() is not None)
        os.kill(server.pid, signal.SIGCONT)
        assert server.end_reason() == "was suspended by a signal such as SIGSTOP"
    finally:
        server.close()


def test_scripted_server_responds_to_chat_completions() -> None:
    server = start_scripted(OpenAiMock(ServiceModel(tokens_per_s=1000.0), model="little"))
    try:
        assert server.url.endswith("/v1")
        request = urllib.request.Request(
            f"{server.url}/chat/completions",
            json.dumps({"model": "little", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            assert json.load(response)["usage"]["completion_tokens"] == 3
    finally:
        server.close()
