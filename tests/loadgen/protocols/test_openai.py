import json
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadgen.protocols import openai
from loadgen.protocols.openai import build_openai
from loadgen.protocols.prepared import OutputCheck, PreparedWorkload, WorkloadError, check_response, get_tokens
from loadgen.records import Endpoint
from loadgen.transport.address import parse_url
from loadgen.transport.exchange import Exchange, Tokens
from loadgen.workloads import (
    AudioClips,
    CacheBust,
    Dataset,
    DatasetPrompts,
    ExponentialDelay,
    FixedLength,
    Images,
    JsonFormat,
    LiveHistory,
    OpenAiWorkload,
    Popularity,
    Prompts,
    RequestOptions,
    SyntheticPrompts,
    TracePrompts,
    UniformLength,
)

URL = "http://h:1/v1"
FEW = SyntheticPrompts(FixedLength(5), FixedLength(3), unique=4)


def build(api: Any = "chat", prompts: Prompts = FEW, url: str = URL, **more: Any) -> PreparedWorkload:
    endpoint = Endpoint((url,), headers=(("Authorization", "Bearer s3cret"),))
    return build_openai(OpenAiWorkload(api, "m", prompts, **more), endpoint, parse_url(url))


def decode_bodies(prepared: PreparedWorkload) -> list[dict[str, Any]]:
    return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in prepared.requests]


def write_dataset(path: Path, *rows: Any, **more: Any) -> DatasetPrompts:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DatasetPrompts(Dataset(str(file), "jsonl"), **more)


# paths


@pytest.mark.parametrize(
    ("api", "path"),
    [("chat", "/chat/completions"), ("completions", "/completions"), ("responses", "/responses"),
     ("embeddings", "/embeddings"), ("rerank", "/rerank")],
)  # fmt: skip
def test_requests_are_sent_to_api_path_below_base_url(api: str, path: str) -> None:
    prepared = build(api)
    head = prepared.requests[0].partition(b"\r\n\r\n")[0].decode()
    assert head.startswith(f"POST /v1{path} HTTP/1.1\r\n")
    assert "\r\nContent-Type: application/json\r\n" in head
    assert "\r\nAuthorization: Bearer s3cret\r\n" in head
    assert prepared.label == f"POST http://h:1/v1{path}"
    assert (len(prepared.requests), prepared.request_indices, prepared.sessions) == (4, None, None)


def test_base_url_may_end_in_slash_and_have_query() -> None:
    assert build(url="http://h:1/v1/?api-version=2").requests[0].startswith(b"POST /v1/chat/completions?api-version=2 ")
    assert build(url="http://h:1").requests[0].startswith(b"POST /chat/completions ")


# request bodies


def test_chat_request_body_has_prompt_output_length_and_streaming_options() -> None:
    first, second, *_ = decode_bodies(build())
    text = first["messages"][0]["content"]
    assert len(text.split()) == 5
    assert first == {
        "model": "m",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert second["messages"] != first["messages"]


def test_completions_responses_embeddings_and_rerank_have_their_own_bodies() -> None:
    bodies_by_api = {
        api: decode_bodies(build(api, documents=2))[0] for api in ("completions", "responses", "embeddings", "rerank")
    }
    text = bodies_by_api["completions"]["prompt"]
    streamed = {"model": "m", "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}}
    assert bodies_by_api["completions"] == {**streamed, "prompt": text}
    assert bodies_by_api["responses"] == {"model": "m", "input": text, "max_output_tokens": 3, "stream": True}
    assert bodies_by_api["embeddings"] == {"model": "m", "input": text}
    assert [*bodies_by_api["rerank"]] == ["model", "query", "documents"]
    assert [
        len(text_of_query.split())
        for text_of_query in (bodies_by_api["rerank"]["query"], *bodies_by_api["rerank"]["documents"])
    ] == [5, 5, 5]


def test_body_without_streaming_and_output_length_has_model_and_messages_only() -> None:
    body = decode_bodies(build(prompts=SyntheticPrompts(FixedLength(5), unique=1), stream=False))[0]
    assert [*body] == ["model", "messages"]


def test_requests_are_reproducible_with_seed() -> None:
    assert build(seed=3).requests == build(seed=3).requests != build(seed=4).requests


def test_extra_body_is_merged_and_null_removes_fields() -> None:
    extra = {"temperature": 0, "max_tokens": None, "max_completion_tokens": 9, "model": "other",
             "stream_options": {"continuous_usage_stats": True}, "nested": {"a": {"b": 1, "c": None}}}  # fmt: skip
    body = decode_bodies(build(extra_body=json.dumps(extra).encode()))[0]
    assert body.pop("messages")
    assert body == {
        "model": "other", "stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "temperature": 0, "max_completion_tokens": 9, "nested": {"a": {"b": 1}},
    }  # fmt: skip
    assert "stream_options" not in decode_bodies(build(extra_body=b'{"stream_options": null}'))[0]


@pytest.mark.parametrize("extra", [b"", b"[]", b"{", b"[" * 100_000, b'{"a": NaN}'])
def test_extra_body_must_be_json_object(extra: bytes) -> None:
    with pytest.raises(WorkloadError, match="extra_body must be a JSON object"):
        build(extra_body=extra)


def test_max_output_tokens_are_read_from_request_body(tmp_path: Path) -> None:
    rows = write_dataset(tmp_path, {"p": "a", "n": 5}, {"p": "b", "n": 6}, prompt="p", output_tokens="n")
    for api in ("chat", "completions", "responses"):
        assert build(api, rows).max_output_tokens == [5, 6]
    assert build(prompts=rows, extra_body=b'{"max_completion_tokens": 9}').max_output_tokens == [9, 9]
    assert build(prompts=rows, extra_body=b'{"max_tokens": null}').max_output_tokens is None
    for no_count in (b'"5"', b"true", b"-1", b"5000000000", b"2.5"):
        assert build(prompts=rows, extra_body=b'{"max_tokens": %s}' % no_count).max_output_tokens is None


def test_distinct_prompts_are_counted_regardless_of_output_length(tmp_path: Path) -> None:
    assert build().distinct_prompts == 4
    rows = ({"prompt": "hi", "n": 3}, {"prompt": "hi", "n": 4}, {"prompt": "ho", "n": 3}, {"prompt": "hi", "n": 3})
    assert build(prompts=write_dataset(tmp_path, *rows, output_tokens="n")).distinct_prompts == 2
    assert build("embeddings", prompts=write_dataset(tmp_path, *rows)).distinct_prompts == 2
    assert build(extra_body=b'{"messages": [{"role": "user", "content": "hi"}]}').distinct_prompts == 1
    assert (
        build(prompts=SyntheticPrompts(FixedLength(5), FixedLength(3), turns=FixedLength(2), unique=4)).distinct_prompts
        == 8
    )


def test_response_reader_is_created_only_for_streaming_requests() -> None:
    assert build().new_reader is not None
    assert build(stream=False).new_reader is build("embeddings").new_reader is None
    assert build(extra_body=b'{"stream": false}').new_reader is None
    assert build(stream=False, extra_body=b'{"stream": true}').new_reader is not None


# prefixes, sessions, popularity


def test_prefixes_are_shared_by_prefix_groups() -> None:
    prompts = SyntheticPrompts(FixedLength(2), prefix_groups=2, prefix_tokens=3, unique=6)
    chats = [[message["content"] for message in body["messages"]] for body in decode_bodies(build(prompts=prompts))]
    prefixes = [prefix for prefix, _ in chats]
    assert prefixes == prefixes[:2] * 3
    assert {len(prefix.split()) for prefix in prefixes} == {3}
    assert len({text for _, text in chats}) == 6
    texts = [body["prompt"] for body in decode_bodies(build("completions", prompts))]
    assert [text.split()[:3] for text in texts] == [prefix.split() for prefix in prefixes]
    assert [message["role"] for message in decode_bodies(build("responses", prompts))[0]["input"]] == ["system", "user"]


def test_popularity_applies_to_prompts_and_prefixes() -> None:
    prompts = SyntheticPrompts(FixedLength(2), prefix_groups=50, prefix_tokens=3, unique=200)
    prepared = build(prompts=prompts, popularity=Popularity("zipf", 1.5))
    prefixes = [body["messages"][0]["content"] for body in decode_bodies(prepared)]
    assert max(prefixes.count(prefix) for prefix in prefixes) > 50
    assert prepared.request_indices is not None
    indices = list(prepared.request_indices)
    assert max(indices.count(number) for number in set(indices)) > len(indices) / 5


SESSIONS = SyntheticPrompts(
    FixedLength(2), FixedLength(3), turns=UniformLength(2, 3), think_time=ExponentialDelay(2.0), unique=40
)


def test_session_requests_contain_all_previous_turns() -> None:
    prepared = build(prompts=SESSIONS)
    request_bodies = decode_bodies(prepared)
    assert prepared.sessions is not None
    assert prepared.request_indices is not None
    starts = list(prepared.request_indices)
    assert len(starts) == 40
    following, think_times_ns = prepared.sessions.next_request_indices, prepared.sessions.think_times_ns
    assert len(following) == len(think_times_ns) == len(request_bodies)
    reached = []
    for start in starts:
        number: int | None = start
        history: list[dict[str, Any]] = []
        while number is not None:
            reached.append(number)
            messages = request_bodies[number]["messages"]
            roles = [message["role"] for message in messages]
            assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
            assert roles[-1] == "user"
            assert messages[: len(history)] == history
            assert len(messages) == len(history) + (2 if history else 1)
            assert [len(message["content"].split()) for message in messages[-2:]] == [3, 2][-len(messages) :]
            number, history = following[number], messages
    assert reached == list(range(len(request_bodies)))
    assert 1.2e9 < sum(think_times_ns) / len(think_times_ns) < 3e9


def test_popularity_applies_to_whole_sessions() -> None:
    starts = set(build(prompts=SESSIONS).request_indices or ())
    assert set(build(prompts=SESSIONS, popularity=Popularity("uniform")).request_indices or ()) == starts


def test_completions_session_is_one_growing_text() -> None:
    first, second, *_ = (body["prompt"] for body in decode_bodies(build("completions", SESSIONS)))
    assert second.startswith(f"{first}\n")
    assert [len(line.split()) for line in second.splitlines()] == [2, 3, 2]


def test_sessions_with_one_turn_are_single_requests() -> None:
    prompts = SyntheticPrompts(FixedLength(2), FixedLength(3), turns=FixedLength(1), unique=3)
    assert build(prompts=prompts).sessions is None


def test_sessions_require_output_length_and_conversational_api() -> None:
    with pytest.raises(WorkloadError, match="require `output_tokens`"):
        build(prompts=SyntheticPrompts(FixedLength(2), turns=FixedLength(2)))
    with pytest.raises(WorkloadError, match="multi-turn sessions are supported for"):
        build("embeddings", SESSIONS)


# traces and datasets


def test_trace_prompts_are_sent_in_order() -> None:
    trace = TracePrompts(struct.pack("<4i", 3, 1, 0, 7), struct.pack("<4i", 5, 0, -2, 9))
    prepared = build(prompts=trace, popularity=Popularity("uniform"))
    lengths = [(len(body["messages"][0]["content"].split()), body["max_tokens"]) for body in decode_bodies(prepared)]
    assert (lengths, prepared.request_indices) == ([(3, 5), (1, 1), (1, 1), (7, 9)], None)


def test_preflight_prompt_has_same_length_and_shares_no_prefix_with_requests() -> None:
    blocks = TracePrompts(
        struct.pack("<2i", 100, 90),
        struct.pack("<2i", 7, 8),
        struct.pack("<4q", 1, 2, 1, 3),
        struct.pack("<2i", 2, 2),
        50,
    )
    shared = SyntheticPrompts(FixedLength(40), FixedLength(3), prefix_groups=1, prefix_tokens=60, unique=4)
    for prompts in (blocks, shared, FEW):
        prepared = build("completions", prompts)
        assert list(prepared.preflight_requests) == [0]
        sent = json.loads(prepared.preflight_requests[0].partition(b"\r\n\r\n")[2])
        first, *others = decode_bodies(prepared)
        assert len(sent["prompt"].split()) == len(first["prompt"].split())
        assert {name: sent[name] for name in sent if name != "prompt"} == {
            name: first[name] for name in first if name != "prompt"
        }
        assert not {body["prompt"].split()[:3] == sent["prompt"].split()[:3] for body in (first, *others)} & {True}
        assert prepared.requests == build("completions", prompts).requests


def test_preflight_replaces_request_that_is_sent_first() -> None:
    prepared = build(popularity=Popularity("uniform"), prompts=SyntheticPrompts(FixedLength(9), unique=50))
    assert prepared.request_indices is not None
    assert list(prepared.preflight_requests) == [prepared.request_indices[0]] != [0]


def test_preflight_of_dataset_has_no_replacement_prompt(tmp_path: Path) -> None:
    assert not build(prompts=write_dataset(tmp_path, {"prompt": "one"}, {"prompt": "two"})).preflight_requests


def test_trace_prompts_share_exactly_blocks_with_same_ids() -> None:
    """Two prompts begin with the blocks 7 and 2; the third has them in the other order."""
    blocks = [[7, 2, 3], [7, 2], [2, 7], []]
    trace = TracePrompts(
        struct.pack("<4i", 70, 64, 50, 3), struct.pack("<4i", 1, 1, 1, 1),
        struct.pack("<7q", *(block for ids in blocks for block in ids)), struct.pack("<4i", *map(len, blocks)), 32,
    )  # fmt: skip
    first, second, third, fourth = (
        body["messages"][0]["content"].split() for body in decode_bodies(build(prompts=trace))
    )
    assert [len(words) for words in (first, second, third, fourth)] == [70, 64, 50, 3]
    assert first[:64] == second
    assert (first[:18], first[32:64]) == (third[32:], third[:32])
    shortened = build(prompts=msgspec.structs.replace(trace, input_tokens=struct.pack("<4i", 66, 64, 50, 3)))
    assert decode_bodies(shortened)[0]["messages"][0]["content"].split() == first[:66]
    assert decode_bodies(build(prompts=trace, seed=1))[0]["messages"][0]["content"].split() != first


@pytest.mark.parametrize(
    ("hash_ids", "counts", "message"),
    [
        (b"", (1, 1), "do not match its hash IDs"),
        (struct.pack("<2q", 1, 2), (1,), "a number of hash IDs for each prompt"),
        (b"1234567", (1, 1), "a number of hash IDs for each prompt"),
        (struct.pack("<2q", 1, 2), (3, -1), "do not match its hash IDs"),
        (struct.pack("<2q", 1, -2), (1, 1), "below zero"),
        (struct.pack("<2q", 1, 2), (2, 0), "a prompt of 9 tokens does not have 2 blocks"),
        (struct.pack("<2q", 1, 2), (1, 1), "a prompt of 40 tokens does not have 1 blocks"),
    ],
)
def test_mismatched_hash_ids_are_rejected(hash_ids: bytes, counts: tuple[int, ...], message: str) -> None:
    lengths = struct.pack("<2i", 9, 40)
    with pytest.raises(WorkloadError, match=message):
        build(prompts=TracePrompts(lengths, lengths, hash_ids, struct.pack(f"<{len(counts)}i", *counts), 32))


@pytest.mark.parametrize("lengths", [(b"", b""), (b"1234", b""), (b"123", b"123")])
def test_trace_with_invalid_lengths_is_rejected(lengths: tuple[bytes, bytes]) -> None:
    with pytest.raises(WorkloadError, match="as many output lengths as prompt lengths"):
        build(prompts=TracePrompts(*lengths))


CONVERSATION = [
    {"from": "system", "value": "s"}, {"from": "gpt", "value": "hello"}, {"from": "human", "value": "one"},
    {"from": "gpt", "value": "three more words"}, {"from": "user", "value": "two"}, {"from": "gpt", "value": ""},
    {"from": "human", "value": "no"}, {"from": "human", "value": "three"},
]  # fmt: skip


def test_sharegpt_conversation_is_sent_as_first_message_or_session(tmp_path: Path) -> None:
    """Messages that have a response are sent, and the last one; conversations without a user message are skipped."""
    rows = [{"conversations": CONVERSATION}, {"conversations": []}, {"conversations": CONVERSATION[:2]}]
    first_only = build(prompts=write_dataset(tmp_path, *rows, prompt="conversations"))
    (body,) = decode_bodies(first_only)
    assert [message["content"] for message in body["messages"]] == ["s", "hello", "one"]
    assert ([message["role"] for message in body["messages"]], body["max_tokens"], first_only.sessions) == (
        ["system", "assistant", "user"], 3, None
    )  # fmt: skip
    prepared = build(prompts=write_dataset(tmp_path, *rows, prompt="conversations", sessions=True))
    sent = [
        (len(body["messages"]), body["messages"][-1]["content"], body.get("max_tokens"))
        for body in decode_bodies(prepared)
    ]
    assert sent == [(3, "one", 3), (5, "two", 1), (8, "three", None)]
    assert prepared.sessions is not None
    assert prepared.sessions.next_request_indices == [1, 2, None]
    assert prepared.request_indices == [0]
    with pytest.raises(WorkloadError, match="no row of the dataset has a message of the user"):
        build(prompts=write_dataset(tmp_path, *rows[2:], prompt="conversations"))
    with pytest.raises(WorkloadError, match="row 1 of the dataset has a message from 'tool', not a text from human"):
        build(prompts=write_dataset(tmp_path, {"prompt": [{"from": "tool", "value": "x"}]}))


def test_chat_messages_of_dataset_are_sent_as_session(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b c"},
        {"role": "user", "content": "d"},
    ]
    prepared = build(prompts=write_dataset(tmp_path, {"prompt": messages}, sessions=True))
    assert [body["messages"] for body in decode_bodies(prepared)] == [messages[:1], messages]
    with pytest.raises(WorkloadError, match="row 1 of the dataset is neither"):
        build(prompts=write_dataset(tmp_path, {"prompt": 5}, sessions=True))


def test_texts_and_messages_of_dataset_become_chat_messages(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "s", "name": None}, {"role": "user", "content": [{"type": "text"}]}]
    prompts = write_dataset(tmp_path, {"q": "é", "n": 7}, {"q": messages, "n": 8.0}, prompt="q", output_tokens="n")
    prepared = build(prompts=prompts)
    first, second = decode_bodies(prepared)
    assert (first["messages"], first["max_tokens"]) == ([{"role": "user", "content": "é"}], 7)
    assert (second["messages"], second["max_tokens"]) == ([{"role": "system", "content": "s"}, messages[1]], 8)
    assert prepared.notes == ()
    assert [body["input"] for body in decode_bodies(build("responses", prompts))] == ["é", second["messages"]]


def test_csv_output_length_is_read_as_integer(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("prompt,n\nhello,7\n")
    prompts = DatasetPrompts(Dataset(str(file), "csv"), output_tokens="n")
    assert decode_bodies(build("completions", prompts))[0]["max_tokens"] == 7


def test_text_files_of_folder_are_prompts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one ☃")
    prompts = DatasetPrompts(Dataset(str(tmp_path), "folder"), prompt="file")
    assert decode_bodies(build("completions", prompts))[0]["prompt"] == "one ☃"
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(WorkloadError, match=r"b\.jpg of the dataset is not UTF-8 text"):
        build("completions", prompts)


def test_dataset_rows_become_embeddings_and_rerank_inputs(tmp_path: Path) -> None:
    prompts = write_dataset(tmp_path, {"prompt": "a"}, {"prompt": ["q", "x", "y"]}, {"prompt": "b"}, {"prompt": "c"})
    assert [body["input"] for body in decode_bodies(build("embeddings", prompts))] == ["a", ["q", "x", "y"], "b", "c"]
    rerank_bodies = decode_bodies(build("rerank", prompts, documents=8))
    assert [(body["query"], body["documents"]) for body in rerank_bodies] == [
        ("a", ["b", "c"]), ("q", ["x", "y"]), ("b", ["c", "a"]), ("c", ["a", "b"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("api", "row", "message"),
    [
        ("chat", {"other": 1}, "row 1 of the dataset has no column 'prompt'; it has these columns: other"),
        ("chat", {"prompt": 7}, "is neither a string, a list of strings"),
        ("chat", {"prompt": []}, "is neither a string, a list of strings"),
        ("chat", {"prompt": [{"role": "user"}]}, "is neither a string, a list of strings"),
        ("chat", {"prompt": [{"content": "a"}]}, "is neither a string, a list of strings"),
        ("chat", {"prompt": ["a", "b", "c"]}, "lists of strings, which only embeddings"),
        ("completions", {"prompt": ["a", "b"]}, "lists of strings, which only embeddings"),
        ("completions", {"prompt": [{"role": "user", "content": "a"}]}, "which completions do not accept"),
        ("embeddings", {"prompt": [{"role": "user", "content": "a"}]}, "which this API does not accept"),
        ("rerank", {"prompt": "alone"}, "at least two rows"),
    ],
)
def test_dataset_that_does_not_match_api_is_rejected(
    tmp_path: Path, api: str, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(WorkloadError, match=message):
        build(api, write_dataset(tmp_path, row))


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "many", None, True, 10**9])
def test_invalid_output_length_in_dataset_is_rejected(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(WorkloadError, match="row 1 of the dataset must be an integer"):
        build(prompts=write_dataset(tmp_path, {"prompt": "a", "n": wrong}, output_tokens="n"))


def test_missing_dataset_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="cannot be read"):
        build(prompts=DatasetPrompts(Dataset(str(tmp_path / "none"), "jsonl")))


# bounds and notes


def test_approximate_prompt_lengths_are_noted(tmp_path: Path) -> None:
    note = "prompt lengths are approximate, because without a tokenizer each word counts as one token"
    assert build().notes == (note,)
    assert build(prompts=write_dataset(tmp_path, {"prompt": "a"})).notes == ()


def test_requests_beyond_memory_limit_are_omitted_with_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(openai, "MAX_REQUESTS_BYTES", 3000)
    prepared = build(prompts=SyntheticPrompts(FixedLength(5), unique=1000))
    assert sum(map(len, prepared.requests)) <= 3000
    assert prepared.notes[-1].startswith(f"only the first {len(prepared.requests)} requests were used")
    sessions = build(prompts=SESSIONS)
    assert sessions.sessions is not None
    assert sessions.sessions.next_request_indices[-1] is None
    assert "sessions (" in sessions.notes[-1]
    rows = build(prompts=write_dataset(tmp_path, *[{"prompt": "x" * 500}] * 9))
    assert rows.notes == (f"only the first {len(rows.requests)} requests were used, because more would exceed 0 MiB",)


def test_request_larger_than_memory_limit_is_rejected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(openai, "MAX_REQUESTS_BYTES", 3000)
    for prompts in (
        SyntheticPrompts(FixedLength(2000)),
        SyntheticPrompts(FixedLength(600)),
        SyntheticPrompts(FixedLength(9), FixedLength(9), turns=FixedLength(1000)),
        SyntheticPrompts(FixedLength(9), prefix_groups=100, prefix_tokens=100),
        TracePrompts(struct.pack("<i", 2000), struct.pack("<i", 1)),
        write_dataset(tmp_path, {"prompt": "x" * 2950}),
    ):
        with pytest.raises(WorkloadError, match="exceed"):
            build(prompts=prompts)


def test_invalid_prompt_length_is_rejected() -> None:
    with pytest.raises(WorkloadError, match="a length must be from 1"):
        build(prompts=SyntheticPrompts(FixedLength(0)))


def test_missing_tokenizer_is_rejected_with_hint(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="cannot be read") as raised:
        build(tokenizer=str(tmp_path / "none"))
    assert raised.value.hint == "Use the model's tokenizer.json."


# response checks


def exchange(status: int = 200, body: bytes = b"", number: int = 0, **more: Any) -> Exchange:
    return Exchange(0, number, 0, b"", lambda _: None, status=status, body=body, **more)


def test_complete_response_is_checked_and_its_token_usage_is_read() -> None:
    prepared = build(stream=False)
    response = {"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}
    response_exchange = exchange(body=json.dumps(response).encode())
    assert check_response(prepared.check, response_exchange).error is None
    assert get_tokens(response_exchange) == Tokens(tokens_in=2, tokens_out=1, token_source="server")
    for status, error in ((500, "http-5xx"), (429, "http-4xx"), (302, "bad-payload")):
        assert check_response(prepared.check, exchange(status)).error == error


def test_streamed_response_is_checked_and_its_tokens_are_read() -> None:
    prepared = build()
    assert prepared.new_reader is not None
    for piece, error in (
        (b'data: {"choices": [{"text": "a", "finish_reason": "stop"}]}\n\n', None),
        (b": ping\n\n", "truncated"),
    ):
        reader = prepared.new_reader()
        assert reader.feed(piece, 1) is None
        stream_exchange = exchange(reader=reader, headers=[(b"content-type", b"text/event-stream")])
        assert check_response(prepared.check, stream_exchange).error == error
        assert stream_exchange.detail == (error and "the stream ended before the response was complete")
        assert get_tokens(stream_exchange) is reader.tokens
    assert check_response(prepared.check, exchange(503, reader=prepared.new_reader())).error == "http-5xx"


def test_server_that_does_not_stream_is_noted_without_error() -> None:
    prepared = build()
    assert prepared.new_reader is not None
    reader = prepared.new_reader()
    assert reader.feed(b'{"choices": [{"message": {"content": "a"}}]}', 1) is None
    response_check = check_response(prepared.check, exchange(reader=reader))
    assert response_check.error is None
    assert response_check.note == "the server does not stream, so token times are unknown"


def test_embeddings_and_rankings_are_checked_against_request_size(tmp_path: Path) -> None:
    prompts = write_dataset(tmp_path, {"prompt": ["a", "b"]}, {"prompt": ["a", "b", "c"]})
    embeddings = json.dumps({"data": [{"embedding": [1]}] * 3}).encode()
    ranking = b'{"results": [{"index": 1, "score": 1}]}'
    for api, body in (("embeddings", embeddings), ("rerank", ranking)):
        check = build(api, prompts).check
        assert [check_response(check, exchange(body=body, number=number)).error for number in (0, 1)] == [
            "bad-output",
            None,
        ]


# images and audio

MEDIA = msgspec.structs.replace(FEW, images=Images(1, 3, 3), unique=2)


def test_images_follow_text_in_format_of_api() -> None:
    (message,) = decode_bodies(build(prompts=msgspec.structs.replace(MEDIA, audio=AudioClips(1, 0.01))))[0]["messages"]
    text, image, clip = message["content"]
    assert text["type"] == "text"
    assert len(text["text"].split()) == 5
    url = image["image_url"]["url"]
    assert image == {"type": "image_url", "image_url": {"url": url}}
    assert url.startswith("data:image/png;base64,iVBORw0KGgo")
    assert clip == {"type": "input_audio", "input_audio": {"data": clip["input_audio"]["data"], "format": "wav"}}
    (message,) = decode_bodies(build("responses", MEDIA))[0]["input"]
    text, image = message["content"]
    assert (message["role"], text["type"]) == ("user", "input_text")
    assert image == {"type": "input_image", "detail": "auto", "image_url": url}
    (message,) = decode_bodies(build("messages", MEDIA))[0]["messages"]
    _, image = message["content"]
    data = url.partition(",")[2]
    assert image == {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


@pytest.mark.parametrize(("api", "live"), [("completions", None), ("completions", LiveHistory())])
def test_images_are_rejected_for_completions(api: str, live: LiveHistory | None) -> None:
    with pytest.raises(WorkloadError, match="no images"):
        build(api, msgspec.structs.replace(MEDIA, turns=FixedLength(2), live=live))


def test_audio_is_accepted_for_chat_only() -> None:
    with pytest.raises(WorkloadError, match="only chat"):
        build("responses", msgspec.structs.replace(FEW, audio=AudioClips(1, 0.01)))


def test_images_are_in_first_message_of_each_session_request() -> None:
    sessions = msgspec.structs.replace(MEDIA, turns=FixedLength(2))
    first, second, *_ = decode_bodies(build(prompts=sessions))
    assert [type(message["content"]) for message in second["messages"]] == [list, str, str]
    assert first["messages"] == second["messages"][:1]


def test_images_are_in_first_request_of_live_session() -> None:
    sessions = msgspec.structs.replace(MEDIA, turns=FixedLength(2), live=LiveHistory())
    prepared = build(prompts=sessions, cache_bust=CacheBust("session", "k"))
    assert prepared.live_sessions is not None
    request = prepared.live_sessions.build_first(0, "a")
    prepared_body, sent = (json.loads(data.partition(b"\r\n\r\n")[2]) for data in (prepared.requests[0], request.data))
    (prepared_text, image), (text, sent_image) = (body["messages"][0]["content"] for body in (prepared_body, sent))
    assert image == sent_image
    assert image["image_url"]["url"].startswith("data:image/png")
    assert text["text"][:16] != prepared_text["text"][:16]
    assert text["text"][16:] == prepared_text["text"][16:]
    assert json.loads(request.data[request.start : request.end]) == sent["messages"][0]


def test_prompts_with_images_stay_within_the_memory_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "MAX_REQUESTS_BYTES", 2**20)
    large = SyntheticPrompts(FixedLength(5), images=Images(1, 512, 512), unique=50)
    prepared = build(prompts=large)
    assert 5 <= len(prepared.requests) < 11
    assert "would exceed 1 MiB" in prepared.notes[-1]
    live = msgspec.structs.replace(large, turns=FixedLength(2), live=LiveHistory())
    assert 5 <= len(build(prompts=live).requests) / 2 < 11


# tools and structured output

OPTIONS = RequestOptions(
    b'[{"name": "find", "parameters": {}}]', response_format=JsonFormat(b'{"required": ["answer"]}', check=True)
)


def test_each_request_has_tools_and_response_format_of_its_prompts(tmp_path: Path) -> None:
    chats = write_dataset(tmp_path, {"prompt": "why?"}, {"prompt": "how?"}, options=OPTIONS)
    for prompts in (msgspec.structs.replace(FEW, options=OPTIONS), chats):
        for body in decode_bodies(build(prompts=prompts, extra_body=b'{"temperature": 0}')):
            assert body["tools"] == [{"type": "function", "function": {"name": "find", "parameters": {}}}]
            assert body["response_format"]["json_schema"]["schema"] == {"required": ["answer"]}
            assert body["temperature"] == 0
    live = msgspec.structs.replace(FEW, options=OPTIONS, turns=FixedLength(2), live=LiveHistory())
    assert (
        "tools"
        in decode_bodies(msgspec.structs.replace(build(prompts=live), requests=build(prompts=live).requests[:1]))[0]
    )
    assert build().check_output is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"choices": [{"message": {"content": '{"answer": 1}'}}]}, OutputCheck(0, True)),
        ({"choices": [{"message": {"content": "{}"}}]},
         OutputCheck(0, False, "the response does not match the JSON schema at /required")),
        ({"choices": [{"message": {"tool_calls": [{"id": "c", "function": {"name": "find", "arguments": "{}"}}]}}]},
         OutputCheck(1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [True, False])
def test_output_content_is_checked_separately_from_response(
    body: dict[str, Any], expected: OutputCheck, stream: bool
) -> None:
    prepared = build(prompts=msgspec.structs.replace(FEW, options=OPTIONS), stream=stream)
    exchange = Exchange(0, 0, 0, b"", lambda _: None, status=200)
    content = json.dumps(body).encode()
    if prepared.new_reader is None:
        exchange.body = content
    else:
        exchange.reader = prepared.new_reader()
        exchange.reader.feed(content, 1)
    assert check_response(prepared.check, exchange).error is None
    assert prepared.check_output is not None
    assert prepared.check_output(exchange) == expected
