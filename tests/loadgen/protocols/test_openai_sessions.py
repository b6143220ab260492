from typing import Any

import msgspec
import pytest

from loadgen.protocols.openai import build_openai
from loadgen.protocols.openai_sessions import MAX_CALLS, CollectingReader, collect_body
from loadgen.protocols.openai_sessions import ResponseCollector as Collector
from loadgen.protocols.prepared import (
    CollectedResponse,
    LiveSessions,
    PreparedWorkload,
    ToolCallRecord,
    WorkloadError,
)
from loadgen.records import Endpoint
from loadgen.transport.address import parse_url
from loadgen.workloads import FixedLength, LiveHistory, OpenAiApi, OpenAiWorkload, SyntheticPrompts
from tests.fakes.llm_responses import LlmResponse, build_body, build_events

CALLS = (("a", "look", '{"at": [1, "é"]}'), ("b", "go", "{}"))
COLLECTED_CALLS = tuple(ToolCallRecord(*call) for call in CALLS)


def prepare(api: Any = "chat", **more: Any) -> tuple[PreparedWorkload, LiveSessions]:
    prompts = SyntheticPrompts(FixedLength(3), turns=FixedLength(2), live=LiveHistory(), unique=2)
    endpoint = Endpoint(("http://h:1/v1",), headers=(("Authorization", "Bearer old"),))
    workload = build_openai(OpenAiWorkload(api, "m", prompts, **more), endpoint, parse_url(endpoint.urls[0]))
    assert workload.live_sessions is not None
    return workload, workload.live_sessions


def collect(
    answer: LlmResponse, api: OpenAiApi = "chat", *, retains_reasoning: bool = False
) -> CollectedResponse | None:
    return collect_events(build_events(answer, api), api, retains_reasoning=retains_reasoning)


def collect_events(
    data: list[bytes], api: OpenAiApi = "chat", *, retains_reasoning: bool = False
) -> CollectedResponse | None:
    reader = CollectingReader(api, None, retains_reasoning=retains_reasoning)
    assert not any(reader.feed(b"data: " + event + b"\n\n", 1) for event in data)
    return reader.collect()


def test_streamed_response_is_collected_like_complete_response() -> None:
    answer = LlmResponse("é☃ text", CALLS, "be|cause")
    char_count = len("é☃ text" + '{"at": [1, "é"]}' + "{}")
    expected = CollectedResponse(
        20, 5, char_count + len("because"), "é☃ text", ("reasoning_content", "because"), COLLECTED_CALLS
    )
    assert collect(answer, retains_reasoning=True) == expected
    assert collect(answer) == msgspec.structs.replace(expected, reasoning=None, char_count=char_count)
    body = msgspec.json.encode(build_body(answer._replace(reasoning="because"), "chat"))
    assert collect_body(body, Collector(retains_reasoning=True)) == expected
    reader = CollectingReader("chat", None, retains_reasoning=True)
    reader.feed(body, 1)
    reader.end([])
    assert [reader.collect(), reader.collect()] == [expected, expected], "a server that does not stream"


def test_tool_calls_by_server_itself_are_not_collected() -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "server_tool_use", "id": "s", "name": "search", "input": {}},
        {"type": "text", "text": ""},
    ]
    deltas = [{"type": "input_json_delta", "partial_json": '{"q": 1}'}, {"type": "text_delta", "text": "found"}]
    data = [
        msgspec.json.encode({"type": kind, "index": index, key: part})
        for index, pair in enumerate(zip(blocks, deltas, strict=True))
        for kind, key, part in (
            ("content_block_start", "content_block", pair[0]),
            ("content_block_delta", "delta", pair[1]),
        )
    ]
    collected = collect_events([*data, b'{"type": "message_stop"}'], "messages")
    assert collected is not None
    assert (collected.text, collected.calls) == ("found", ())


def test_only_first_choice_is_collected() -> None:
    choices = [{"index": 1, "delta": {"content": "other"}}, {"index": 0, "delta": {"content": "first"}}]
    response = collect_events([msgspec.json.encode({"choices": [choice]}) for choice in choices])
    assert response is not None
    assert response.text == "first"


def test_token_count_without_usage_is_estimated_from_text() -> None:
    response = collect(LlmResponse("four" * 10, usage=None))
    assert response is not None
    assert (response.tokens_in, response.tokens_out) == (None, 10)


def test_responses_api_text_is_collected_from_deltas() -> None:
    deltas = [{"type": "response.output_text.delta", "delta": text} for text in ("a ", "b")]
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    done = [{"type": "response.output_item.done", "item": call}]
    plain = collect_events([msgspec.json.encode(event) for event in deltas], "responses")
    assert plain is not None
    assert (plain.text, plain.items) == ("a b", ())
    called = collect_events([msgspec.json.encode(event) for event in (*deltas, *done)], "responses")
    assert called is not None
    assert [msgspec.json.decode(item) for item in called.items] == [{"role": "assistant", "content": "a b"}, call]


@pytest.mark.parametrize(
    "event",
    [
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": 5, "function": {"name": "f"}}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"id": "a"}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": n, "id": "a"} for n in range(MAX_CALLS + 1)]}}]},
    ],
)
def test_response_with_invalid_tool_calls_is_not_collected(event: Any) -> None:
    more = msgspec.json.encode({"choices": [{"delta": {"content": "more"}}]})
    assert collect_events([msgspec.json.encode(event), more]) is None


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"choices": [{"message": {"content": 5}}]}', b'{"output": [{"type": 1}]}']
)
def test_invalid_response_body_is_not_collected(body: bytes) -> None:
    assert collect_body(body, Collector(retains_reasoning=False)) is None


def test_response_beyond_size_limit_is_dropped_from_memory() -> None:
    reader = CollectingReader("chat", None, retains_reasoning=False)
    event = b"data: " + msgspec.json.encode({"choices": [{"delta": {"content": "x" * 100_000}}]}) + b"\n\n"
    for _ in range(30):
        assert reader.feed(event, 1) is None
    assert reader.collect() is None
    assert not reader._collector._texts


def test_renewed_key_replaces_old_key_in_built_requests() -> None:
    workload, sessions = prepare()
    first = sessions.build_first(0, "s")
    built_before = sessions.build_next(0, 1, [(first, CollectedResponse(1, 1, 4, "said"))])
    assert sessions.renew(0, built_before) == built_before.data
    workload.requests[:] = [request.replace(b"Bearer old", b"Bearer renewed") for request in workload.requests]
    renewed = sessions.renew(0, built_before)
    assert renewed == built_before.data.replace(b"Bearer old", b"Bearer renewed")
    built_after = sessions.build_next(0, 1, [(sessions.build_first(0, "s"), CollectedResponse(1, 1, 4, "said"))])
    assert built_after.data == renewed


@pytest.mark.parametrize(("api", "key"), [("chat", "messages"), ("responses", "input"), ("completions", "prompt")])
def test_extra_body_cannot_set_conversation(api: str, key: str) -> None:
    with pytest.raises(WorkloadError, match=f"must not contain `{key}`"):
        prepare(api, extra_body=msgspec.json.encode({key: "mine"}))


def test_extra_body_is_in_every_request_of_live_session() -> None:
    workload, sessions = prepare(extra_body=b'{"temperature": 0, "stream_options": null, "max_tokens": 9}')
    later = sessions.build_next(0, 1, [(sessions.build_first(0, "s"), CollectedResponse(1, 1, 4, "said"))])
    for request in (workload.requests[0], later.data):
        body = msgspec.json.decode(request.partition(b"\r\n\r\n")[2])
        assert (body.pop("messages")[0]["role"], body) == (
            "user", {"model": "m", "stream": True, "temperature": 0, "max_tokens": 9},
        )  # fmt: skip
    assert workload.max_output_tokens == [9, 9, 9, 9]
    assert workload.requests[1::2] == [b"", b""]
    assert workload.distinct_prompts == 4


def test_sessions_require_generating_api() -> None:
    with pytest.raises(WorkloadError, match="multi-turn sessions"):
        prepare("embeddings")
