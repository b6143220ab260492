from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from typing import Any

import pytest

from app.errors import MeasurementError
from app.wiring.reference_server import ReferenceServer, find_mock_protocol, start_scripted
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
from tests.app.wiring.conftest import Written
from tests.fakes.program import wait_until

pytestmark = pytest.mark.process


def test_it_answers_until_it_is_closed() -> None:
    server = ReferenceServer("loadgen.reference.null", path="/any")
    with urllib.request.urlopen(server.url, timeout=10) as answer:
        assert answer.read() == b"{}"
    server.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(server.url, timeout=10)


def test_one_that_does_not_come_up_is_the_instruments_fault(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MeasurementError, match="did not start"):
        ReferenceServer("loadgen.reference.nothing")
    assert "No module named" in capfd.readouterr().err


PROMPTS = {"prompts": {"input_tokens": 5}}
SPECS = ((TensorInput("x", "FP32", (-1, 3)),), (TensorInput("output", "FP32", (-1, 2)),))


@pytest.mark.parametrize(
    ("protocol", "scripted", "workload", "face"),
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
def test_each_protocol_has_its_face(
    written: Written, protocol: str, scripted: dict[str, Any], workload: Any, face: MockProtocol
) -> None:
    assert find_mock_protocol(written({"protocol": protocol, "scripted": scripted}, workload)) == face


def test_what_is_not_scripted_has_none(written: Written) -> None:
    assert find_mock_protocol(written()) is None


def test_a_killed_server_reports_the_signal() -> None:
    server = start_scripted(HttpMock(ServiceModel()))
    try:
        assert server.end_reason() is None
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: server.end_reason() is not None)
        assert server.end_reason() == "was killed by SIGKILL"
    finally:
        server.close()


@pytest.mark.skipif(sys.platform != "linux", reason="whether a process is stopped is read from /proc")
def test_a_server_that_stays_stopped_has_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.child._MAX_SUSPENDED_S", 0.5)
    server = start_scripted(HttpMock(ServiceModel()))
    try:
        os.kill(server.pid, signal.SIGSTOP)
        wait_until(lambda: server.end_reason() is not None)
        os.kill(server.pid, signal.SIGCONT)
        assert server.end_reason() == "was suspended by a signal such as SIGSTOP"
    finally:
        server.close()


def test_the_server_answers_and_leaves() -> None:
    server = start_scripted(OpenAiMock(ServiceModel(tokens_per_s=1000.0), model="little"))
    try:
        assert server.url.endswith("/v1")
        request = urllib.request.Request(
            f"{server.url}/chat/completions",
            json.dumps({"model": "little", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["usage"]["completion_tokens"] == 3
    finally:
        server.close()
