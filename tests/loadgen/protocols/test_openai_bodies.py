import json
from typing import Any

import pytest

from loadgen.protocols.openai_bodies import DecodedResponse, decode_response
from loadgen.transport.exchange import Tokens
from loadgen.workloads import OpenAiApi

USAGE = {"prompt_tokens": 11, "completion_tokens": 3}


def decode(api: OpenAiApi, response: Any, input_count: int = 2, **more: Any) -> DecodedResponse:
    body = response if isinstance(response, bytes) else json.dumps(response).encode()
    return decode_response(api, body, expected_count=input_count, **more)


def completion(message: Any = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message or {"role": "assistant", "content": "ab"}, "finish_reason": "stop"}
    return {"object": "chat.completion", "choices": [choice], **more}


def test_token_usage_of_response_is_read() -> None:
    tokens = Tokens(tokens_in=11, tokens_out=3, token_source="server")
    assert decode("chat", completion(usage=USAGE)) == DecodedResponse(None, tokens)
    assert decode("completions", {"choices": [{"text": "ab"}], "usage": USAGE}) == DecodedResponse(None, tokens)
    response: dict[str, object] = {
        "output": [],
        "status": "completed",
        "usage": {"input_tokens": 11, "output_tokens": 3},
        "error": None,
    }
    assert decode("responses", response) == DecodedResponse(None, tokens)


def test_tokens_of_response_without_usage_are_counted_by_tokenizer_or_unknown() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}
    message = {"content": None, "reasoning_content": "hm", "tool_calls": [call]}
    assert decode("chat", completion(message)) == DecodedResponse(None, Tokens())
    counted = decode("chat", completion(message), count_tokens=len)
    assert counted.tokens == Tokens(tokens_out=5, token_source="tokenizer")
    parts = {"content": [{"type": "text", "text": "abc"}]}
    assert decode("chat", completion(parts), count_tokens=len).tokens.tokens_out == 3
    output = [
        {"type": "reasoning", "summary": [{"text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "abc"}, {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
    ]
    assert decode("responses", {"output": output}, count_tokens=len).tokens.tokens_out == 10


@pytest.mark.parametrize("api", ["chat", "completions", "responses", "embeddings", "rerank", "messages"])
def test_error_object_with_success_status_is_bad_output(api: OpenAiApi) -> None:
    for error in ({"message": "out of memory"}, "out of memory"):
        assert decode(api, {"error": error}) == DecodedResponse("bad-output", Tokens())


@pytest.mark.parametrize("api", ["chat", "completions", "responses", "embeddings", "rerank", "messages"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"7", b"null", b"[7]", b"{}", b'{"data": 7, "results": 7, "choices": 7}', b"[" * 100_000]
)
def test_invalid_response_body_is_bad_payload(api: OpenAiApi, body: bytes) -> None:
    assert decode(api, body) == DecodedResponse("bad-payload", Tokens())


def test_response_status_maps_to_error_class() -> None:
    errors_by_status = {"completed": None, "incomplete": None, "failed": "bad-output", "cancelled": "bad-output",
            "queued": "bad-payload", "in_progress": "bad-payload"}  # fmt: skip
    for status, error in errors_by_status.items():
        assert decode("responses", {"status": status, "output": [{"content": [{"text": "a"}]}]}).error == error


@pytest.mark.parametrize(
    ("api", "empty", "usage_name"),
    [
        ("chat", {"choices": [{"message": {"content": ""}}]}, "completion_tokens"),
        ("chat", {"choices": [{"message": {"content": None}}]}, "completion_tokens"),
        ("completions", {"choices": [{"text": ""}]}, "completion_tokens"),
        ("responses", {"output": []}, "output_tokens"),
        ("messages", {"type": "message", "content": []}, "output_tokens"),
    ],
)
def test_empty_response_is_bad_output_unless_tokens_are_reported(
    api: OpenAiApi, empty: dict[str, Any], usage_name: str
) -> None:
    assert decode(api, empty).error == "bad-output"
    assert decode(api, {**empty, "usage": {usage_name: 0}}).error == "bad-output"
    assert decode(api, {**empty, "usage": {usage_name: 1}}).error is None, "an end-of-sequence token has no text"


def test_choice_without_message_is_bad_payload() -> None:
    assert decode("chat", {"choices": [{"index": 0}]}).error == "bad-payload"
    assert decode("chat", {"object": "error", "message": "no"}).error == "bad-output"


def make_embeddings(*vectors: Any, **more: Any) -> dict[str, Any]:
    return {"data": [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)], **more}


def test_embeddings_must_be_one_vector_of_equal_length_per_input() -> None:
    valid = make_embeddings([0.1, 1], [2, 3e-2], usage={"prompt_tokens": 7, "total_tokens": 7})
    assert decode("embeddings", valid) == DecodedResponse(None, Tokens(tokens_in=7))
    assert decode("embeddings", make_embeddings("AACAPw==", "AACAPw==")).error is None
    assert decode("embeddings", {"data": [{"embedding": [1]}, {"embedding": [2]}]}).error is None
    for invalid in (
        make_embeddings([1]),
        make_embeddings([1], [2], [3]),
        make_embeddings([1], [2, 3]),
        make_embeddings([], []),
        {"data": [{"embedding": [1], "index": 1}, {"embedding": [2], "index": 1}]},
    ):
        assert decode("embeddings", invalid).error == "bad-output"
    for malformed in (make_embeddings([1], [None]), make_embeddings([1], ["1"]), make_embeddings([1], None)):
        assert decode("embeddings", malformed).error == "bad-payload"


def test_ranking_must_have_distinct_valid_indices_and_numeric_scores() -> None:
    valid = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": -3}]
    assert decode("rerank", {"results": valid, "usage": {"total_tokens": 5}}) == DecodedResponse(
        None, Tokens(tokens_in=5)
    )
    assert decode("rerank", {"results": valid[:1]}).error is None
    assert decode("rerank", [{"index": 0, "score": 1}]).error is None
    for invalid in ([], [valid[0]] * 2, [{"index": 2, "score": 1}], [{"index": -1, "score": 1}]):
        assert decode("rerank", {"results": invalid}).error == "bad-output"
    for malformed in ([{"index": 0}], [{"index": 0, "score": "1"}], [{"index": 0, "score": None}], [{"score": 1}]):
        assert decode("rerank", {"results": malformed}).error == "bad-payload"
