from __future__ import annotations

from pathlib import Path

import pytest

from app.profiles.loading import load_profile
from app.records.server import MeasuredServer
from app.wiring.measured_server import describe_server

LOADS = {
    "local": "",
    "locust": "load: {stages: [{concurrency: 2, duration: 5s}]}\n",
    "other": "load: {stages: [{rate: 5/s, duration: 5s}]}\n",
}


def describe(folder: Path, target: str, workload: str = "") -> MeasuredServer:
    path = folder / "profile.yaml"
    load = next(load for protocol, load in LOADS.items() if protocol in target or protocol == "other")
    path.write_text(f"sizewise: 1\nname: Fraud-2\ntarget: {target}\n{workload}{load}")
    return describe_server(load_profile(path, files_must_exist=False))


CHAT, ROWS = "workload: {prompts: {input_tokens: 10, output_tokens: 5}}\n", "workload: {body: {}}\n"


@pytest.mark.parametrize(
    ("target", "workload", "expected"),
    [
        (
            "{protocol: oip, model: m, url: 'http://host:8000'}",
            "",
            MeasuredServer("Fraud-2", 8000, "/v2/health/ready", None, "/v2/health/live"),
        ),
        (
            "{protocol: oip, model: m, url: 'http://host/models/'}",
            "",
            MeasuredServer("Fraud-2", 80, "/models/v2/health/ready", None, "/models/v2/health/live"),
        ),
        (
            "{protocol: oip, serve: {model: m.onnx}}",
            "",
            MeasuredServer("Fraud-2", None, "/v2/health/ready", None, "/v2/health/live"),
        ),
        ("{protocol: openai-chat, serve: {model: m}}", CHAT, MeasuredServer("Fraud-2", None, "/v1/models")),
        ("{protocol: oip-grpc, model: m, url: 'grpc://host:8001'}", "", MeasuredServer("Fraud-2", 8001)),
        (
            "{protocol: openai-chat, model: m, urls: ['http://a:8000/v1', 'http://b:8000/v1']}",
            CHAT,
            MeasuredServer("Fraud-2", 8000, "/v1/models"),
        ),
        (
            "{protocol: anthropic-messages, model: m, url: 'http://a:8000', headers: {anthropic-version: x}}",
            CHAT,
            MeasuredServer("Fraud-2", 8000, "/v1/models"),
        ),
        (
            "{protocol: anthropic-messages, model: m, url: 'http://a:8000/v1/'}",
            CHAT,
            MeasuredServer("Fraud-2", 8000, "/v1/models"),
        ),
        (
            "{protocol: openai-chat, model: m, url: 'https://host/v1', api_key: 'env:KEY'}",
            CHAT,
            MeasuredServer("Fraud-2", None),
        ),
        (
            "{protocol: openai-chat, model: m, url: 'http://host:1/v1', headers: {AUTHORIZATION: 'env:KEY'}}",
            CHAT,
            MeasuredServer("Fraud-2", 1),
        ),
        (
            "{protocol: openai-chat, model: m, url: 'http://host:1/v1', headers: {api-key: 'env:KEY'}}",
            CHAT,
            MeasuredServer("Fraud-2", 1),
        ),
        (
            "{protocol: openai-chat, model: m, url: 'http://host:1/v1', headers: {Accept-Language: en}}",
            CHAT,
            MeasuredServer("Fraud-2", 1, "/v1/models"),
        ),
        (
            "{protocol: tf-serving, model: a b, version: '3', url: 'http://host:8501'}",
            "workload: {tensors: rows.npz}\n",
            MeasuredServer("Fraud-2", 8501, "/v1/models/a%20b/versions/3/metadata"),
        ),
        (
            "{protocol: torchserve, model: m, url: 'http://host:8080'}",
            ROWS,
            MeasuredServer("Fraud-2", 8080, "/ping"),
        ),
        ("{protocol: http, url: 'http://host:8000/score'}", ROWS, MeasuredServer("Fraud-2", 8000)),
        ("{protocol: locust, file: test.py, url: 'http://host:8000'}", "", MeasuredServer("Fraud-2", 8000)),
        ("{protocol: local, model: m.onnx}", "", MeasuredServer("Fraud-2")),
    ],
)
def test_port_and_health_paths_follow_the_protocol(
    target: str, workload: str, expected: MeasuredServer, tmp_path: Path
) -> None:
    assert describe(tmp_path, target, workload) == expected


@pytest.mark.parametrize(
    ("ready", "path", "port"),
    [
        ("/health", "/health", None),
        ("/health?deep=1", "/health?deep=1", None),
        ("http://127.0.0.1:8000/up", "/up", None),
        ("http://127.0.0.1:8001", "/", 8001),
        ("http://127.0.0.1/health", "/health", 80),
        ("https://127.0.0.1/health", "/health", 443),
    ],
)
def test_ready_path_of_the_profile_overrides_that_of_the_protocol(
    ready: str, path: str, port: int | None, tmp_path: Path
) -> None:
    start = f"start: {{command: [serve], ready: '{ready}'}}"
    plain = describe(tmp_path, f"{{protocol: http, url: 'http://127.0.0.1:8000/score', {start}}}", ROWS)
    assert plain == MeasuredServer("Fraud-2", 8000, path, port)
    oip = describe(tmp_path, f"{{protocol: oip, model: m, url: 'http://127.0.0.1:8000', {start}}}")
    assert oip == MeasuredServer("Fraud-2", 8000, path, port, "/v2/health/live")
