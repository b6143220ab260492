"""Each mock protocol over HTTP, as its clients see it."""

import http.client
import subprocess
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import msgspec
import pytest

from loadgen.child import start_module
from loadgen.payloads.tensors import TensorInput
from loadgen.reference.mock_protocols import build_handler
from loadgen.reference.script import (
    HttpMock,
    OipMock,
    OpenAiMock,
    Script,
    ServiceModel,
    TfServingMock,
    TorchServeMock,
)
from loadgen.reference.scripted import ScriptedServer

pytestmark = pytest.mark.timing

TWO = (TensorInput("a", "FP32", (-1, 2)), TensorInput("b", "INT64", (-1,)))
SCRIPT = Script(
    protocols=(
        HttpMock(path="/score", response={"fraud": 0.5}),
        OpenAiMock(ServiceModel(tokens_per_s=1_000), output_tokens=3),
        OipMock(model="a/b", outputs=TWO),
        TfServingMock(outputs=TWO),
        TorchServeMock(response=[1, 2]),
    )
)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ScriptedServer(SCRIPT) as server:
        yield server.port


def send(port: int, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, bytes, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
    connection.request("GET" if body is None else "POST", path, data, headers or {})
    response = connection.getresponse()
    result = response.status, response.read(), response.headers
    connection.close()
    return result


def fetch_json(port: int, path: str, body: Any = None) -> Any:
    status, response_body, _ = send(port, path, body)
    assert status == 200, response_body
    return msgspec.json.decode(response_body)


def test_http_and_torchserve_mocks_return_configured_responses(port: int) -> None:
    assert fetch_json(port, "/score", {}) == {"fraud": 0.5}
    assert fetch_json(port, "/predictions/scripted/1.0", b"\xff") == [1, 2]
    assert fetch_json(port, "/ping") == {"status": "Healthy"}
    assert send(port, "/predictions/other", b"")[1] == b"{}"  # the script's own reply


def test_generated_text_has_requested_token_count(port: int) -> None:
    chat = fetch_json(port, "/v1/chat/completions", {"model": "scripted", "messages": [], "max_tokens": 5})
    assert chat["choices"][0]["message"]["content"] == "tok " * 5
    assert chat["choices"][0]["finish_reason"] == "stop"
    assert chat["usage"]["completion_tokens"] == 5
    text = fetch_json(port, "/v1/completions", {"model": "scripted", "prompt": "a b c"})
    assert (text["object"], text["choices"][0]["text"]) == ("text_completion", "tok " * 3)
    response = fetch_json(port, "/v1/responses", {"model": "scripted", "input": "x", "max_output_tokens": 2})
    assert response["output"][0]["content"][0]["text"] == "tok tok "
    assert response["usage"]["output_tokens"] == 2


@pytest.mark.parametrize("api", ["chat/completions", "completions"])
def test_streams_end_with_usage_if_requested(port: int, api: str) -> None:
    request_body = {"model": "scripted", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 4}
    status, body, headers = send(port, f"/v1/{api}", request_body)
    events = body.split(b"\n\n")
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    assert sum(b'"tok "' in event for event in events) == 4
    assert b'"completion_tokens":4' in events[-3]
    assert events[-2:] == [b"data: [DONE]", b""]
    body_without_usage = send(port, f"/v1/{api}", {"model": "scripted", "stream": True})[1]
    assert b"usage" not in body_without_usage


def test_responses_stream_ends_with_completed_event(port: int) -> None:
    body = send(port, "/v1/responses", {"model": "scripted", "stream": True, "input": "x"})[1]
    names = [event.split(b"\n")[0] for event in body.split(b"\n\n")[:-1]]
    assert names == [
        b"event: response.created",
        *[b"event: response.output_text.delta"] * 3,
        b"event: response.completed",
    ]


@pytest.mark.parametrize("is_streamed", [True, False])
def test_duration_of_generation_depends_on_token_count(port: int, is_streamed: bool) -> None:
    before_s = perf_counter()
    send(port, "/v1/chat/completions", {"model": "scripted", "stream": is_streamed, "max_tokens": 101})
    assert perf_counter() - before_s >= 0.1


def test_embeddings_and_ranks_have_one_entry_per_text(port: int) -> None:
    response = fetch_json(port, "/v1/embeddings", {"model": "scripted", "input": ["a", "b", "c"]})
    assert [len(item["embedding"]) for item in response["data"]] == [8, 8, 8]
    assert len(fetch_json(port, "/v1/embeddings", {"model": "scripted", "input": [1, 2, 3]})["data"]) == 1
    ranking = fetch_json(port, "/v1/rerank", {"model": "scripted", "query": "q", "documents": ["a", "b"]})
    assert [item["index"] for item in ranking["results"]] == [0, 1]


def test_open_inference_mock_supports_json_and_binary(port: int) -> None:
    base = "/v2/models/a%2Fb"
    assert fetch_json(port, base)["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
    assert send(port, f"{base}/ready")[0] == send(port, "/v2/health/ready")[0] == 200
    tensor = {"name": "input", "datatype": "FP32", "shape": [3, 4], "data": [0] * 12}
    outputs = fetch_json(port, f"{base}/versions/1/infer", {"inputs": [tensor]})["outputs"]
    assert [(item["shape"], len(item["data"])) for item in outputs] == [([3, 2], 6), ([3], 3)]
    head = msgspec.json.encode(
        {
            "inputs": [{**tensor, "data": None, "parameters": {"binary_data_size": 48}}],
            "parameters": {"binary_data_output": True},
        }
    )
    fields = {"Inference-Header-Content-Length": str(len(head))}
    _, body, headers = send(port, f"{base}/infer", head + bytes(48), fields)
    head_size = int(headers["inference-header-content-length"])
    sizes = [item["parameters"]["binary_data_size"] for item in msgspec.json.decode(body[:head_size])["outputs"]]
    assert sizes == [24, 24]
    assert len(body) == head_size + 48


def test_tf_serving_mock_supports_row_and_column_format(port: int) -> None:
    base = "/v1/models/scripted"
    signature = fetch_json(port, f"{base}/metadata")["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["input"]["dtype"] == "DT_FLOAT"
    assert signature["outputs"]["b"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]
    assert fetch_json(port, f"{base}:predict", {"instances": [[0] * 4] * 2}) == {
        "predictions": [{"a": [0, 0], "b": 0}] * 2
    }
    assert fetch_json(port, f"{base}:predict", {"inputs": [[0] * 4]}) == {"outputs": {"a": [[0, 0]], "b": [0]}}
    assert fetch_json(port, base)["model_version_status"][0]["state"] == "AVAILABLE"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", b"[" * 100_000, 400),
        ("/v1/chat/completions", {"model": "other"}, 404),
        ("/v1/chat/completions", {"model": "scripted", "max_tokens": 0}, 400),
        ("/v1/chat/completions", {"model": "scripted", "max_tokens": 10**12}, 400),
        ("/v2/models/a%2Fb/infer", b"\xff", 400),
        ("/v2/models/a%2Fb/infer", {"inputs": []}, 400),
        ("/v2/models/a%2Fb/infer", {"inputs": [{"name": "input", "datatype": "FP32", "shape": [10**9, 4]}]}, 400),
        ("/v1/models/scripted:predict", {}, 400),
        ("/v1/models/scripted:predict", {"instances": [], "signature_name": "serving_default"}, 400),
    ],
)
def test_invalid_request_gets_error_status(port: int, path: str, body: Any, status: int) -> None:
    assert send(port, path, body)[0] == status


def test_service_model_queues_requests_for_its_only_server() -> None:
    with ScriptedServer(Script(protocols=(HttpMock(ServiceModel(delay_s=0.05, servers=1)),))) as server:
        connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=5) for _ in range(4)]
        before_s = perf_counter()
        for connection in connections:
            connection.request("GET", "/")
        for connection in connections:
            connection.getresponse().read()
            connection.close()
        assert perf_counter() - before_s >= 0.199


def test_unknown_datatype_is_rejected() -> None:
    with pytest.raises(ValueError, match="FLOAT"):
        build_handler(OipMock(inputs=(TensorInput("x", "FLOAT", (1,)),)))


def test_scripted_server_process_uses_script_passed_as_json() -> None:
    script = '{"protocols": [{"type": "openai", "model": "m"}], "reply": {"type": "reply", "status": 404}}'
    with start_module("loadgen.reference.scripted", "--script", script, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        port = int(child.stdout.readline())
        assert fetch_json(port, "/v1/models")["data"][0]["id"] == "m"
        assert send(port, "/else")[0] == 404
        child.stdin.close()
        assert child.wait(30) == 0


def test_unreadable_script_is_reported_in_one_line() -> None:
    options = ["--script", '{"protocols": [{"type": "none"}]}']
    with start_module("loadgen.reference.scripted", *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        _, error_output = child.communicate(timeout=10)
    assert child.returncode == 1
    assert error_output.startswith(b"the script cannot be used: ")
    assert error_output.count(b"\n") == 1


def test_server_responds_with_503_until_ready() -> None:
    with ScriptedServer(Script(ready_after_s=0.3)) as server:
        statuses = [send(server.port, "/")[0]]
        deadline_s = perf_counter() + 5
        while statuses[-1] != 200 and perf_counter() < deadline_s:
            statuses.append(send(server.port, "/")[0])
    assert (statuses[0], statuses[-1]) == (503, 200)
