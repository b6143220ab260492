from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from app.errors import UsageError
from app.inference.generation.engine import FinishReason, Sampling
from app.serving.connections import RejectedError
from app.serving.generation.messages import (
    Api,
    CompletionRequest,
    ResponseEncoder,
    decode_completion_request,
    encode_error,
)
from app.serving.generation.scheduling import BatchLimits
from app.serving.generation.service import ResponsePart, TokenDecoder

LIMITS = BatchLimits(max_batch=4, max_length=100, cache=None)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TEXT = {"model": "m", "prompt": "abc"}


class CharacterTokenizer:
    """A tokenizer with a token per character, whose chats are the roles and contents of their messages."""

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))

    def format_chat(self, messages: Sequence[dict[str, str]]) -> str:
        if messages[0]["role"] == "tool":
            raise UsageError("the chat template of the model failed: no tools")
        return "".join(f"{message['role']}:{message['content']};" for message in messages)

    def create_text_stream(self) -> TokenDecoder:
        raise NotImplementedError


def decode(api: Api, document: object) -> CompletionRequest:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return decode_completion_request(api, body, "m", 128, LIMITS, CharacterTokenizer())


def test_chat_request_is_decoded_with_its_messages() -> None:
    messages = [{"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    request = decode("chat", {**CHAT, "messages": messages, "max_tokens": 9, "max_completion_tokens": 5})
    assert "".join(map(chr, request.task.prompt)) == "system:ab;"
    assert request.task.max_tokens == 5, "the newer parameter takes precedence"
    assert not request.is_streamed


def test_completion_parameters_are_decoded() -> None:
    request = decode(
        "completions",
        {
            **TEXT,
            "max_tokens": 8,
            "min_tokens": 2,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": -1,
            "seed": 7,
            "stop": ["x", "yz"],
            "stream": True,
            "stream_options": {"include_usage": True},
            "n": 1,
            "logprobs": None,
            "user": "an unknown parameter",
        },
    )
    assert request.task.sampling == Sampling(temperature=0.5, top_p=0.9, top_k=0, seed=7)
    assert (request.task.min_tokens, request.task.stop) == (2, ("x", "yz"))
    assert (request.is_streamed, request.sends_usage, request.sends_running_usage) == (True, True, False)


def test_ignore_eos_sets_min_tokens_to_max_tokens() -> None:
    task = decode("completions", {**TEXT, "max_tokens": 8, "ignore_eos": True, "stop": "x"}).task
    assert (task.min_tokens, task.max_tokens, task.stop) == (8, 8, ("x",))


def test_default_max_tokens_is_context_for_chat_and_16_for_completion() -> None:
    assert decode("chat", CHAT).task.max_length == 100
    assert decode("completions", TEXT).task.max_tokens == 16
    assert decode("completions", {**TEXT, "prompt": [5] * 90}).task.max_tokens == 10


BAD_REQUESTS: dict[str, tuple[Api, Any, int, str]] = {
    "no JSON": ("chat", b"{", 400, "bad_request"),
    "nested without end": ("chat", b"[" * 200_000, 400, "bad_request"),
    "lone surrogate": ("completions", b'{"model": "m", "prompt": "\\ud800"}', 400, "bad_request"),
    "no model": ("completions", {"prompt": "a"}, 400, "bad_request"),
    "another model": ("completions", {**TEXT, "model": "x"}, 404, "model_not_found"),
    "no messages": ("chat", {**CHAT, "messages": []}, 400, "bad_request"),
    "an image": ("chat", {**CHAT, "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400,
                 "bad_request"),
    "template that fails": ("chat", {**CHAT, "messages": [{"role": "tool", "content": ""}]}, 400, "bad_request"),
    "empty prompt": ("completions", {**TEXT, "prompt": ""}, 400, "bad_request"),
    "token beyond the vocabulary": ("completions", {**TEXT, "prompt": [128]}, 400, "bad_request"),
    "token below zero": ("completions", {**TEXT, "prompt": [-1]}, 400, "bad_request"),
    "text that the tokenizer would cut": ("completions", {**TEXT, "prompt": "a\0b"}, 400, "bad_request"),
    "chat that the tokenizer would cut": ("chat", {**CHAT, "messages": [{"role": "user\0", "content": "a"}]}, 400,
                                          "bad_request"),
    "stop string that would be cut": ("completions", {**TEXT, "stop": ["a\0"]}, 400, "bad_request"),
    "several prompts": ("completions", {**TEXT, "prompt": ["a", "b"]}, 400, "bad_request"),
    "no tokens": ("completions", {**TEXT, "max_tokens": 0}, 400, "bad_request"),
    "minimum above the maximum": ("completions", {**TEXT, "max_tokens": 2, "min_tokens": 3}, 400, "bad_request"),
    "prompt beyond the context": ("completions", {**TEXT, "prompt": "a" * 100}, 400, "context_length_exceeded"),
    "text of any length": ("completions", {**TEXT, "prompt": "a" * 30_000}, 400, "context_length_exceeded"),
    "response beyond the context": ("chat", {**CHAT, "max_tokens": 99}, 400, "context_length_exceeded"),
    "temperature below zero": ("completions", {**TEXT, "temperature": -1}, 400, "bad_request"),
    "top_p above 1": ("completions", {**TEXT, "top_p": 1.1}, 400, "bad_request"),
    "seed too large": ("completions", {**TEXT, "seed": 2**63}, 400, "bad_request"),
    "empty stop string": ("completions", {**TEXT, "stop": [""]}, 400, "bad_request"),
    "several choices": ("completions", {**TEXT, "n": 2}, 400, "bad_request"),
    "log probabilities": ("completions", {**TEXT, "logprobs": 1}, 400, "bad_request"),
    "tools": ("chat", {**CHAT, "tools": [{}]}, 400, "bad_request"),
    "JSON mode": ("chat", {**CHAT, "response_format": {"type": "json_object"}}, 400, "bad_request"),
}  # fmt: skip


@pytest.mark.parametrize(("api", "document", "status", "code"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_invalid_request_is_rejected_with_status_and_code(api: Api, document: Any, status: int, code: str) -> None:
    with pytest.raises(RejectedError) as error:
        decode(api, document)
    assert (error.value.status, error.value.code) == (status, code)
    assert len(str(error.value)) > 10


@pytest.mark.parametrize(
    ("api", "changes", "parameter"),
    [
        ("chat", {"tools": [{}]}, "tools"),
        ("chat", {"tool_choice": "required"}, "tool_choice"),
        ("chat", {"logprobs": True}, "logprobs"),
        ("completions", {"logprobs": 0}, "logprobs"),
        ("chat", {"modalities": ["text", "audio"]}, "modalities"),
        ("chat", {"min_p": 0.1}, "min_p"),
        ("chat", {"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
    ],
)
def test_unsupported_parameter_is_named_in_the_error(api: Api, changes: dict[str, Any], parameter: str) -> None:
    with pytest.raises(RejectedError, match=re.escape(f"does not support the parameter {parameter}")) as error:
        decode(api, {**(CHAT if api == "chat" else TEXT), **changes})
    assert json.loads(encode_error(400, "bad_request", "", error.value.parameter))["error"]["param"] == parameter


def test_parameters_with_neutral_values_are_accepted() -> None:
    neutral = {"tools": [], "tool_choice": "auto", "logprobs": False, "top_logprobs": 0, "n": 1, "min_p": 0.0}
    assert decode("chat", {**CHAT, **neutral}).task == decode("chat", CHAT).task


def test_continuous_usage_is_in_each_event() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    request = decode("completions", {**TEXT, "stream": True, "stream_options": options})
    encoder = ResponseEncoder(request, "m", "1", 0)
    chunk = json.loads(encoder.encode_part(ResponsePart("x", 4)))
    assert chunk["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert chunk["choices"] == [{"index": 0, "text": "x", "logprobs": None, "finish_reason": None}]
    last = json.loads(encoder.encode_part(ResponsePart("", 5, FinishReason.LENGTH)))
    assert last["choices"][0]["finish_reason"] == "length"
