import json
from typing import Any

import pytest

from loadgen.protocols.openai_bodies import Api, DecodedResponse, decode_response
from loadgen.transport.exchange import Tokens

USAGE = {"prompt_tokens": 11, "completion_tokens": 3}


def read(api: Api, answer: Any, asked: int = 2, **more: Any) -> DecodedResponse:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return decode_response(api, body, expected_count=asked, **more)


def completion(message: Any = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message or {"role": "assistant", "content": "ab"}, "finish_reason": "stop"}
    return {"object": "chat.completion", "choices": [choice], **more}


def test_an_answer_with_usage() -> None:
    reported = Tokens(tokens_in=11, tokens_out=3, token_source="server")
    assert read("chat", completion(usage=USAGE)) == DecodedResponse(None, reported)
    assert read("completions", {"choices": [{"text": "ab"}], "usage": USAGE}) == DecodedResponse(None, reported)
    response: dict[str, object] = {
        "output": [],
        "status": "completed",
        "usage": {"input_tokens": 11, "output_tokens": 3},
        "error": None,
    }
    assert read("responses", response) == DecodedResponse(None, reported)


def test_an_answer_without_usage_is_counted_by_a_tokenizer_or_not_at_all() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}
    message = {"content": None, "reasoning_content": "hm", "tool_calls": [call]}
    assert read("chat", completion(message)) == DecodedResponse(None, Tokens())
    counted = read("chat", completion(message), count_tokens=len)
    assert counted.tokens == Tokens(tokens_out=5, token_source="tokenizer")
    parts = {"content": [{"type": "text", "text": "abc"}]}
    assert read("chat", completion(parts), count_tokens=len).tokens.tokens_out == 3
    output = [
        {"type": "reasoning", "summary": [{"text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "abc"}, {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
    ]
    assert read("responses", {"output": output}, count_tokens=len).tokens.tokens_out == 10


@pytest.mark.parametrize("api", ["chat", "completions", "responses", "embeddings", "rerank", "messages"])
def test_an_error_reported_with_a_good_status_is_bad_output(api: Api) -> None:
    for error in ({"message": "out of memory"}, "out of memory"):
        assert read(api, {"error": error}) == DecodedResponse("bad-output", Tokens())


@pytest.mark.parametrize("api", ["chat", "completions", "responses", "embeddings", "rerank", "messages"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"7", b"null", b"[7]", b"{}", b'{"data": 7, "results": 7, "choices": 7}', b"[" * 100_000]
)
def test_what_is_not_the_apis_answer_is_bad_payload(api: Api, body: bytes) -> None:
    assert read(api, body) == DecodedResponse("bad-payload", Tokens())


def test_how_a_response_may_have_ended() -> None:
    ends = {"completed": None, "incomplete": None, "failed": "bad-output", "cancelled": "bad-output",
            "queued": "bad-payload", "in_progress": "bad-payload"}  # fmt: skip
    for status, error in ends.items():
        assert read("responses", {"status": status, "output": [{"content": [{"text": "a"}]}]}).error == error


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
def test_an_empty_response_is_bad_output_unless_tokens_are_reported(
    api: Api, empty: dict[str, Any], usage_name: str
) -> None:
    assert read(api, empty).error == "bad-output"
    assert read(api, {**empty, "usage": {usage_name: 0}}).error == "bad-output"
    assert read(api, {**empty, "usage": {usage_name: 1}}).error is None, "an end-of-sequence token has no text"


def test_a_choice_without_a_message_is_bad_payload() -> None:
    assert read("chat", {"choices": [{"index": 0}]}).error == "bad-payload"
    assert read("chat", {"object": "error", "message": "no"}).error == "bad-output"


def embeddings(*vectors: Any, **more: Any) -> dict[str, Any]:
    return {"data": [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)], **more}


def test_embeddings() -> None:
    right = embeddings([0.1, 1], [2, 3e-2], usage={"prompt_tokens": 7, "total_tokens": 7})
    assert read("embeddings", right) == DecodedResponse(None, Tokens(tokens_in=7))
    assert read("embeddings", embeddings("AACAPw==", "AACAPw==")).error is None
    assert read("embeddings", {"data": [{"embedding": [1]}, {"embedding": [2]}]}).error is None
    for wrong in (
        embeddings([1]),
        embeddings([1], [2], [3]),
        embeddings([1], [2, 3]),
        embeddings([], []),
        {"data": [{"embedding": [1], "index": 1}, {"embedding": [2], "index": 1}]},
    ):
        assert read("embeddings", wrong).error == "bad-output"
    for rubbish in (embeddings([1], [None]), embeddings([1], ["1"]), embeddings([1], None)):
        assert read("embeddings", rubbish).error == "bad-payload"


def test_a_ranking() -> None:
    right = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": -3}]
    assert read("rerank", {"results": right, "usage": {"total_tokens": 5}}) == DecodedResponse(
        None, Tokens(tokens_in=5)
    )
    assert read("rerank", {"results": right[:1]}).error is None
    assert read("rerank", [{"index": 0, "score": 1}]).error is None
    for wrong in ([], [right[0]] * 2, [{"index": 2, "score": 1}], [{"index": -1, "score": 1}]):
        assert read("rerank", {"results": wrong}).error == "bad-output"
    for rubbish in ([{"index": 0}], [{"index": 0, "score": "1"}], [{"index": 0, "score": None}], [{"score": 1}]):
        assert read("rerank", {"results": rubbish}).error == "bad-payload"
