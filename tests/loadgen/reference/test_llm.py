"""The reference LLM server over HTTP: one server for most tests, and its log compared with a simulation."""

from __future__ import annotations

import http.client
import json
import random
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadgen.child import start_module
from loadgen.decoding import decode_json
from loadgen.reference import llm
from loadgen.reference.llm import decode_body, list_prompt_tokens
from loadgen.reference.llm_scheduler import EventKind, LlmConfig, LlmRequest, LlmScheduler, SchedulerEvent, ScriptShare
from tests.fakes.llm_server import ObservedLlmServer, llm_server

pytestmark = pytest.mark.process

CONFIG = LlmConfig(
    served_model_name="m",
    block_size=4,
    num_gpu_blocks=100,
    max_num_batched_tokens=64,
    step_ms=1,
    min_output_tokens=3,
    max_output_tokens=9,
    seed=5,
)
CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
PROMPT = "one two three four five six seven eight nine ten"


@pytest.fixture(scope="module")
def server() -> Iterator[ObservedLlmServer]:
    with llm_server(CONFIG) as running:
        yield running


def post(server: ObservedLlmServer, path: str, fields: dict[str, Any] | bytes, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        body = fields if isinstance(fields, bytes) else json.dumps(fields)
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def chat(*contents: str, **fields: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[at % 2], "content": text} for at, text in enumerate(contents)], **fields}


def read_events(body: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]
    assert lines.pop() == b"[DONE]"
    return [decode_json(line) for line in lines]


def read_metrics(server: ObservedLlmServer) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    label = 'model_name="m",engine="0"'
    samples = [line.replace(label, "").replace("{}", "").rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in samples}


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("the condition was not met within 10 s")


def wait_until_idle(server: ObservedLlmServer) -> dict[str, float]:
    pages: list[dict[str, float]] = []

    def is_idle() -> bool:
        pages.append(read_metrics(server))
        return pages[-1]["vllm:num_requests_running"] == pages[-1]["vllm:num_requests_waiting"] == 0

    wait_until(is_idle)
    return pages[-1]


def test_stream_has_same_words_as_complete_response_and_usage_counts_them(server: ObservedLlmServer) -> None:
    status, body = post(server, CHAT, chat(PROMPT, max_tokens=6, ignore_eos=True))
    complete = decode_json(body)
    text = complete["choices"][0]["message"]["content"]
    assert (status, len(text.split()), complete["choices"][0]["finish_reason"]) == (200, 6, "length")
    usage = complete["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (12, 6), "ten words, a role and the assistant's turn"
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *events, finish, last = read_events(post(server, CHAT, chat(PROMPT, max_tokens=6, ignore_eos=True, **options))[1])
    assert [event["choices"][0]["delta"] for event in events] == [
        {"role": "assistant", "content": ""},
        *({"content": f"{word} "} for word in text.split()),
    ]
    assert finish["choices"][0]["finish_reason"] == "length"
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 8}, "the last of three full blocks is computed"
    times = [last["usage"][name] for name in ("queue_time", "prompt_time", "completion_time", "total_time")]
    assert min(times) >= 0
    assert sum(times[:3]) == pytest.approx(times[3])


def test_previous_response_is_prefix_cache_hit_of_next_turn(server: ObservedLlmServer) -> None:
    first = decode_json(post(server, CHAT, chat(f"other {PROMPT}", max_tokens=20, min_tokens=20))[1])
    reply = first["choices"][0]["message"]["content"]
    assert len(reply.split()) == 20
    second = decode_json(post(server, CHAT, chat(f"other {PROMPT}", reply, "and then", max_tokens=1))[1])
    # 13 + 20 tokens, of which the last was not computed: 8 full blocks
    assert second["usage"]["prompt_tokens_details"] == {"cached_tokens": 32}


def test_response_is_determined_by_prompt_and_seed(server: ObservedLlmServer) -> None:
    choices = [
        decode_json(post(server, TEXT, {"prompt": prompt, "max_tokens": 50, "seed": seed})[1])["choices"][0]
        for prompt, seed in ((PROMPT, 1), (PROMPT, 1), (PROMPT, 2), (f"{PROMPT} more", 1))
    ]
    assert {choice["finish_reason"] for choice in choices} == {"stop"}
    assert all(3 <= len(choice["text"].split()) <= 9 for choice in choices)
    assert choices[0] == choices[1]
    assert len({choice["text"] for choice in choices}) == 3


def test_reasoning_comes_first_and_tool_call_arguments_are_json(server: ObservedLlmServer) -> None:
    script = {"vllm_xargs": {"reasoning_tokens": 2, "is_tool_call": True}}
    complete = decode_json(post(server, CHAT, chat("look it up", min_tokens=5, max_tokens=50, **script))[1])
    message, usage = complete["choices"][0]["message"], complete["usage"]
    assert complete["choices"][0]["finish_reason"] == "tool_calls"
    arguments = decode_json(message["tool_calls"][0]["function"]["arguments"])["input"].split()
    assert len(message["reasoning_content"].split()) == 2
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 2}
    assert usage["completion_tokens"] == 2 + len(arguments)
    streamed = read_events(
        post(server, CHAT, chat("look it up", min_tokens=5, max_tokens=50, stream=True, **script))[1]
    )
    deltas = [event["choices"][0]["delta"] for event in streamed]
    calls = [delta["tool_calls"][0]["function"] for delta in deltas if "tool_calls" in delta]
    assert "".join(call["arguments"] for call in calls) == message["tool_calls"][0]["function"]["arguments"]
    assert [call.get("name") for call in calls] == ["lookup", *[None] * (len(calls) - 1)]
    response = decode_json(post(server, RESPONSES, {"input": "look it up", "max_output_tokens": 4, **script})[1])
    assert [item["type"] for item in response["output"]] == ["reasoning", "function_call"]
    assert response["usage"]["output_tokens"] == 4


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[" * 50_000, 400),
        (b'{"messages": [{"role": "a b", "content": "x"}]}', 400),
        (b'{"messages": []}', 400),
        (b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}', 400),
        (json.dumps(chat("x", max_tokens=0)).encode(), 400),
        (json.dumps(chat("x", max_tokens=1600)).encode(), 400),
        (json.dumps(chat("x", min_tokens=9, max_tokens=8)).encode(), 400),
        (json.dumps(chat("x", n=2)).encode(), 400),
        (json.dumps(chat("x", vllm_xargs={"stall": 1})).encode(), 400),
        (json.dumps(chat("x", vllm_xargs={"error_status": 529})).encode(), 529),
        (json.dumps(chat("x", model="other")).encode(), 404),
        (b" " * 200_000, 413),
    ],
)
def test_invalid_request_body_gets_error_status(server: ObservedLlmServer, body: bytes, status: int) -> None:
    actual_status, error = post(server, CHAT, body)
    assert actual_status == status
    assert decode_json(error)["error"]["message"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\nGET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 20_000, 431),
        (b"GET /health HTTP/1.1\r\n" + b"".join(b"a%d: b\r\n" % at for at in range(2000)) + b"\r\n", 431),
        (b"GET /health HTTP/1.0\r\n\r\n", 505),
        (b"GET /none HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
        (b"GET /v1/completions HTTP/1.1\r\nConnection: close\r\n\r\n", 405),
        (b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n", 200),
    ],
)
def test_malformed_http_request_gets_error_and_connection_is_closed(
    server: ObservedLlmServer, data: bytes, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as client:
        client.sendall(data)
        response = b"".join(iter(lambda: client.recv(65_536), b""))
    assert response.startswith(b"HTTP/1.1 %d " % status)


def test_bodies_beyond_total_buffer_limit_are_rejected(
    server: ObservedLlmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "MAX_BUFFERED_BYTES", 50_000)
    head = b"POST /v1/completions HTTP/1.1\r\nContent-Length: 60000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as first:
        first.sendall(head + b" " * 40_000)
        wait_until(lambda: server.buffered_bytes >= 40_000)
        assert post(server, TEXT, b" " * 20_000)[0] == 503
    wait_until(lambda: not server.buffered_bytes)
    assert post(server, TEXT, {"prompt": " " * 20_000 + "a", "max_tokens": 1})[0] == 200


def test_disconnected_client_and_cut_stream_free_their_blocks(server: ObservedLlmServer) -> None:
    before = wait_until_idle(server)
    stall = {"stall_after_token": 2, "stall_ms": 600_000}
    body = json.dumps(chat("stay", max_tokens=9, ignore_eos=True, stream=True, vllm_xargs=stall)).encode()
    with socket.create_connection(("127.0.0.1", server.port), 10) as client:
        client.sendall(b"POST %b HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (CHAT.encode(), len(body), body))
        assert client.recv(100)
        assert read_metrics(server)["vllm:num_requests_running"] == 1
    cut = chat("stay", max_tokens=50, ignore_eos=True, stream=True, vllm_xargs={"cut_after_token": 2})
    with pytest.raises(http.client.IncompleteRead) as raised:
        post(server, CHAT, cut)
    assert raised.value.partial.count(b'"content"') == 3, "the role and two tokens"
    after = wait_until_idle(server)
    aborted = 'vllm:request_success_total{,finished_reason="abort"}'
    assert after[aborted] - before[aborted] == 2
    assert after["vllm:kv_cache_usage_perc"] == 0


def test_log_of_concurrent_requests_matches_simulated_scheduler() -> None:
    prompts = [f"{PROMPT} {PROMPT if at % 3 else ''} {at % 7} {at}" for at in range(60)]
    bodies = [chat(text, max_tokens=12, min_tokens=10, stream=at % 2 == 0) for at, text in enumerate(prompts)]
    config = msgspec.structs.replace(
        CONFIG,
        num_gpu_blocks=16,
        max_model_len=60,
        step_sigma=0.2,
        scripts=(
            ScriptShare(share=0.3, extra_queue_ms=7, stall_after_token=3, stall_ms=11),
            ScriptShare(share=0.2, extra_decode_ms=5),
        ),
    )
    with llm_server(config) as server, ThreadPoolExecutor(12) as pool:
        send = lambda at: post(server, CHAT, bodies[at], **{"X-Request-Id": str(at)})  # noqa: E731
        assert {status for status, _ in pool.map(send, range(60))} == {200}
        metrics = wait_until_idle(server)
        log = server.events
    arrivals = [event for event in log if event.kind == EventKind.ARRIVED]
    generator = random.Random(config.seed)
    scheduler = LlmScheduler(config)
    for arrival in arrivals:
        prompt = list_prompt_tokens("chat", decode_body(json.dumps(bodies[int(arrival.request_id)])))
        position = generator.random()
        script = config.scripts[0] if position < 0.3 else config.scripts[1] if position < 0.5 else None
        request = LlmRequest(arrival.request_id, prompt, arrival.at_ns, seed=config.seed, script=script)
        natural = max(10, 3 + request.word_base % 7)
        request.output_count, request.finish_reason = natural, "stop"
        scheduler.add(request)
    simulated: list[SchedulerEvent] = []
    while scheduler.next_ns is not None:
        simulated += [event for event, _ in scheduler.advance(scheduler.next_ns)]
    assert [msgspec.structs.replace(event, sent_ns=None) for event in log] == [
        event for event in simulated if event.kind != EventKind.TOKEN or event.token == 1
    ]
    kinds = Counter(event.kind for event in log)
    assert kinds[EventKind.PREEMPTED] == scheduler.preemption_count == metrics["vllm:num_preemptions_total"] > 0
    assert kinds[EventKind.EVICTED] > 0
    assert metrics["vllm:prefix_cache_hits_total"] == scheduler.prefix_hit_count > 0
    assert metrics["vllm:prefix_cache_queries_total"] == scheduler.prefix_query_count
    assert metrics["vllm:prompt_tokens_total"] == sum(event.prompt_tokens or 0 for event in arrivals)
    assert metrics["vllm:generation_tokens_total"] == sum(e.token or 0 for e in log if e.kind == EventKind.FINISHED)
    for name in ("time_to_first_token", "e2e_request_latency", "request_queue_time", "request_prefill_time"):
        assert metrics[f"vllm:{name}_seconds_count"] == 60
    assert all(event.sent_ns >= event.at_ns for event in log if event.sent_ns is not None)
    first_ns = {event.request_id: event.sent_ns or 0 for event in log if event.kind == EventKind.TOKEN}
    waits_s = sum(first_ns[event.request_id] - event.at_ns for event in arrivals) / 1e9
    assert metrics["vllm:time_to_first_token_seconds_sum"] == pytest.approx(waits_s)
    latencies_s = sum((event.sent_ns or 0) for event in log if event.kind == EventKind.FINISHED) / 1e9
    latencies_s -= sum(event.at_ns for event in arrivals) / 1e9
    assert metrics["vllm:e2e_request_latency_seconds_sum"] == pytest.approx(latencies_s, abs=1e-3)


def test_command_serves_until_stdin_closes_and_writes_event_log(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    options = [
        "--log",
        str(log),
        "--max-num-seqs",
        "1",
        "--num-gpu-blocks",
        "null",
        "--config",
        '{"step_ms": 1}',
        "--exit-with-stdin",
    ]
    with start_module("loadgen.reference.llm", *options, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        port = int(child.stdout.readline())
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", TEXT, '{"prompt": [1, 2, 3], "max_tokens": 2}', {"X-Request-Id": "r"})
        response = connection.getresponse()
        assert response.headers["X-Request-Id"] == "r"
        assert [part.partition(";dur=")[0] for part in response.headers["Server-Timing"].split(", ")] == [
            "queue", "prompt", "completion", "total",
        ]  # fmt: skip
        assert decode_json(response.read())["usage"]["prompt_tokens"] == 3
        connection.close()
        second_server = start_module(
            "loadgen.reference.llm", "--port", str(port), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert b"cannot listen" in second_server.communicate(timeout=30)[1]
        assert second_server.returncode == 3
        child.stdin.close()
        assert child.wait(30) == 0
    events = [decode_json(line, SchedulerEvent) for line in log.read_bytes().splitlines()]
    assert [event.kind for event in events if event.kind != EventKind.STEP] == [
        EventKind.ARRIVED, EventKind.ADMITTED, EventKind.TOKEN, EventKind.FINISHED,
    ]  # fmt: skip
