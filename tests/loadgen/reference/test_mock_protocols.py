"""Each face over HTTP, as a client of its protocol sees it."""

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


def ask(port: int, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, bytes, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
    connection.request("GET" if body is None else "POST", path, data, headers or {})
    answer = connection.getresponse()
    read = answer.status, answer.read(), answer.headers
    connection.close()
    return read


def reported(port: int, path: str, body: Any = None) -> Any:
    status, answer, _ = ask(port, path, body)
    assert status == 200, answer
    return msgspec.json.decode(answer)


def test_plain_http_and_torchserve_say_what_they_are_reported_to(port: int) -> None:
    assert reported(port, "/score", {}) == {"fraud": 0.5}
    assert reported(port, "/predictions/scripted/1.0", b"\xff") == [1, 2]
    assert reported(port, "/ping") == {"status": "Healthy"}
    assert ask(port, "/predictions/other", b"")[1] == b"{}"  # the script's own reply


def test_generations_are_as_long_as_asked(port: int) -> None:
    chat = reported(port, "/v1/chat/completions", {"model": "scripted", "messages": [], "max_tokens": 5})
    assert chat["choices"][0]["message"]["content"] == "tok " * 5
    assert chat["choices"][0]["finish_reason"] == "stop"
    assert chat["usage"]["completion_tokens"] == 5
    text = reported(port, "/v1/completions", {"model": "scripted", "prompt": "a b c"})
    assert (text["object"], text["choices"][0]["text"]) == ("text_completion", "tok " * 3)
    response = reported(port, "/v1/responses", {"model": "scripted", "input": "x", "max_output_tokens": 2})
    assert response["output"][0]["content"][0]["text"] == "tok tok "
    assert response["usage"]["output_tokens"] == 2


@pytest.mark.parametrize("api", ["chat/completions", "completions"])
def test_streams_end_with_usage_when_it_is_wanted(port: int, api: str) -> None:
    asked = {"model": "scripted", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 4}
    status, body, headers = ask(port, f"/v1/{api}", asked)
    events = body.split(b"\n\n")
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    assert sum(b'"tok "' in event for event in events) == 4
    assert b'"completion_tokens":4' in events[-3]
    assert events[-2:] == [b"data: [DONE]", b""]
    without = ask(port, f"/v1/{api}", {"model": "scripted", "stream": True})[1]
    assert b"usage" not in without


def test_a_streamed_response_is_completed(port: int) -> None:
    body = ask(port, "/v1/responses", {"model": "scripted", "stream": True, "input": "x"})[1]
    names = [event.split(b"\n")[0] for event in body.split(b"\n\n")[:-1]]
    assert names == [
        b"event: response.created",
        *[b"event: response.output_text.delta"] * 3,
        b"event: response.completed",
    ]


@pytest.mark.parametrize("is_streamed", [True, False])
def test_tokens_take_their_time(port: int, is_streamed: bool) -> None:
    before_s = perf_counter()
    ask(port, "/v1/chat/completions", {"model": "scripted", "stream": is_streamed, "max_tokens": 101})
    assert perf_counter() - before_s >= 0.1


def test_embeddings_and_ranks_are_one_for_each_text(port: int) -> None:
    made = reported(port, "/v1/embeddings", {"model": "scripted", "input": ["a", "b", "c"]})
    assert [len(one["embedding"]) for one in made["data"]] == [8, 8, 8]
    assert len(reported(port, "/v1/embeddings", {"model": "scripted", "input": [1, 2, 3]})["data"]) == 1
    ranked = reported(port, "/v1/rerank", {"model": "scripted", "query": "q", "documents": ["a", "b"]})
    assert [one["index"] for one in ranked["results"]] == [0, 1]


def test_the_open_inference_protocol_in_json_and_binary(port: int) -> None:
    base = "/v2/models/a%2Fb"
    assert reported(port, base)["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
    assert ask(port, f"{base}/ready")[0] == ask(port, "/v2/health/ready")[0] == 200
    given = {"name": "input", "datatype": "FP32", "shape": [3, 4], "data": [0] * 12}
    outputs = reported(port, f"{base}/versions/1/infer", {"inputs": [given]})["outputs"]
    assert [(one["shape"], len(one["data"])) for one in outputs] == [([3, 2], 6), ([3], 3)]
    head = msgspec.json.encode(
        {
            "inputs": [{**given, "data": None, "parameters": {"binary_data_size": 48}}],
            "parameters": {"binary_data_output": True},
        }
    )
    fields = {"Inference-Header-Content-Length": str(len(head))}
    _, body, headers = ask(port, f"{base}/infer", head + bytes(48), fields)
    at = int(headers["inference-header-content-length"])
    sizes = [one["parameters"]["binary_data_size"] for one in msgspec.json.decode(body[:at])["outputs"]]
    assert sizes == [24, 24]
    assert len(body) == at + 48


def test_tensorflow_serving_by_row_and_by_column(port: int) -> None:
    base = "/v1/models/scripted"
    signature = reported(port, f"{base}/metadata")["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["input"]["dtype"] == "DT_FLOAT"
    assert signature["outputs"]["b"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]
    assert reported(port, f"{base}:predict", {"instances": [[0] * 4] * 2}) == {
        "predictions": [{"a": [0, 0], "b": 0}] * 2
    }
    assert reported(port, f"{base}:predict", {"inputs": [[0] * 4]}) == {"outputs": {"a": [[0, 0]], "b": [0]}}
    assert reported(port, base)["model_version_status"][0]["state"] == "AVAILABLE"


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
def test_a_wrong_request_is_refused(port: int, path: str, body: Any, status: int) -> None:
    assert ask(port, path, body)[0] == status


def test_a_law_makes_requests_wait_for_a_server() -> None:
    with ScriptedServer(Script(protocols=(HttpMock(ServiceModel(delay_s=0.05, servers=1)),))) as server:
        connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=5) for _ in range(4)]
        before_s = perf_counter()
        for connection in connections:
            connection.request("GET", "/")
        for connection in connections:
            connection.getresponse().read()
            connection.close()
        assert perf_counter() - before_s >= 0.199


def test_a_datatype_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="FLOAT"):
        build_handler(OipMock(inputs=(TensorInput("x", "FLOAT", (1,)),)))


def test_a_child_speaks_a_script_given_as_json() -> None:
    script = '{"protocols": [{"type": "openai", "model": "m"}], "reply": {"type": "reply", "status": 404}}'
    with start_module("loadgen.reference.scripted", "--script", script, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        port = int(child.stdout.readline())
        assert reported(port, "/v1/models")["data"][0]["id"] == "m"
        assert ask(port, "/else")[0] == 404
        child.stdin.close()
        assert child.wait(30) == 0


def test_a_script_that_cannot_be_read_is_reported_in_one_line() -> None:
    given = ["--script", '{"protocols": [{"type": "none"}]}']
    with start_module("loadgen.reference.scripted", *given, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        _, complaint = child.communicate(timeout=10)
    assert child.returncode == 1
    assert complaint.startswith(b"the script cannot be used: ")
    assert complaint.count(b"\n") == 1


def test_a_server_may_take_its_time_to_be_ready() -> None:
    with ScriptedServer(Script(ready_after_s=0.3)) as server:
        seen = [ask(server.port, "/")[0]]
        deadline_s = perf_counter() + 5
        while seen[-1] != 200 and perf_counter() < deadline_s:
            seen.append(ask(server.port, "/")[0])
    assert (seen[0], seen[-1]) == (503, 200)
