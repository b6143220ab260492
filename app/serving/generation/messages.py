"""Decode requests and encode responses of the OpenAI API for chat and text completions, as vLLM
extends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec

from app.errors import UsageError
from app.inference.generation.engine import GenerationTask, Sampling
from app.serving.connections import RejectedError
from app.serving.generation.scheduling import BatchLimits
from app.serving.generation.service import ResponsePart, TextTokenizer
from loadgen.decoding import json_decoder

_DEFAULT_COMPLETION_TOKENS = 16
"""Maximum number of tokens of a text completion whose request sets no maximum, as in the API."""
_MAX_CHARACTERS_PER_TOKEN = 256
"""Maximum number of characters per token. A longer text exceeds the context without being
tokenized."""

Api = Literal["chat", "completions"]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_StopString = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False
    continuous_usage_stats: bool = False


class _CompletionParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters that both APIs have in common. The parameters after `stream_options` change the
    response, but are not implemented; they are accepted with the values that change nothing."""

    model: str
    max_tokens: _Count | None = None
    min_tokens: _Count = 0
    ignore_eos: bool = False
    temperature: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    stop: _StopString | Annotated[list[_StopString], msgspec.Meta(max_length=16)] | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    n: object = 1
    best_of: object = 1
    echo: object = False
    logprobs: object = None
    top_logprobs: object = None
    logit_bias: object = None
    presence_penalty: object = 0
    frequency_penalty: object = 0
    repetition_penalty: object = 1
    suffix: object = None
    tools: object = None
    tool_choice: object = None
    functions: object = None
    function_call: object = None
    response_format: object = None
    modalities: object = None
    audio: object = None
    web_search_options: object = None
    structured_outputs: object = None
    guided_json: object = None
    guided_regex: object = None
    guided_choice: object = None
    guided_grammar: object = None
    min_p: object = None
    stop_token_ids: object = None
    bad_words: object = None
    allowed_token_ids: object = None
    prompt_logprobs: object = None
    use_beam_search: object = None


_NEUTRAL_VALUES: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "structured_outputs": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "min_p": (0,),
    "stop_token_ids": ([],),
    "bad_words": ([],),
    "allowed_token_ids": (),
    "prompt_logprobs": (),
    "use_beam_search": (False,),
}
"""Values, besides null, of parameters that are not implemented, with which they change nothing."""


class _TextRequest(_CompletionParameters, frozen=True, kw_only=True):
    prompt: str | list[_Count]


class _TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class _ChatMessage(msgspec.Struct, frozen=True):
    role: str
    content: str | list[_TextPart]
    tool_calls: object = None


class _ChatRequest(_CompletionParameters, frozen=True, kw_only=True):
    messages: Annotated[list[_ChatMessage], msgspec.Meta(min_length=1)]
    max_completion_tokens: _Count | None = None


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded and tokenized request. `sends_usage` is true if a stream ends with the usage, and
    `sends_running_usage` if each of its events has the usage so far."""

    api: Api
    task: GenerationTask
    is_streamed: bool
    sends_usage: bool
    sends_running_usage: bool


_decode_text_request = json_decoder(_TextRequest)
_decode_chat_request = json_decoder(_ChatRequest)


def decode_completion_request(
    api: Api, body: bytes, model_name: str, vocabulary: int, limits: BatchLimits, tokenizer: TextTokenizer
) -> CompletionRequest:
    """Decode, check and tokenize a request. Raises RejectedError."""
    parameters: _TextRequest | _ChatRequest
    try:
        parameters = _decode_chat_request(body) if api == "chat" else _decode_text_request(body)
    except msgspec.DecodeError as error:
        raise _build_error(f"the body is not a valid request: {error}") from error
    if parameters.model != model_name:
        message = f"the model {parameters.model!r} does not exist; this endpoint serves {model_name!r}"
        raise RejectedError(404, "model_not_found", message)
    _check_unsupported(parameters)
    if any("\0" in text for text in _list_texts(parameters)):
        raise _build_error("the request has text with a NUL character, at which the tokenizer would end the text")
    prompt = _tokenize(parameters, limits, tokenizer)
    if not prompt:
        raise _build_error("the prompt is empty")
    if max(prompt) >= vocabulary:
        raise _build_error(f"the prompt has the token {max(prompt)}, but the vocabulary has {vocabulary} tokens")
    options = parameters.stream_options or _StreamOptions()
    return CompletionRequest(
        api=api,
        task=_build_task(parameters, prompt, limits),
        is_streamed=parameters.stream,
        sends_usage=options.include_usage,
        sends_running_usage=options.continuous_usage_stats,
    )


def _build_task(
    parameters: _TextRequest | _ChatRequest, prompt: tuple[int, ...], limits: BatchLimits
) -> GenerationTask:
    max_tokens = parameters.max_tokens
    if isinstance(parameters, _ChatRequest):
        max_tokens = max_tokens if parameters.max_completion_tokens is None else parameters.max_completion_tokens
        default_tokens = limits.max_length - len(prompt)
    else:
        default_tokens = min(_DEFAULT_COMPLETION_TOKENS, limits.max_length - len(prompt))
    max_tokens = max(1, default_tokens) if max_tokens is None else max_tokens
    if max_tokens < 1:
        raise _build_error("the maximum number of tokens must be at least 1")
    if len(prompt) + max_tokens > limits.max_length:
        raise _build_length_error(f"{len(prompt)} tokens and a response of up to {max_tokens} tokens", limits)
    if parameters.min_tokens > max_tokens:
        raise _build_error(f"min_tokens is {parameters.min_tokens}, but the maximum number of tokens is {max_tokens}")
    stop = parameters.stop or ()
    return GenerationTask(
        prompt=prompt,
        max_tokens=max_tokens,
        min_tokens=max_tokens if parameters.ignore_eos else parameters.min_tokens,
        sampling=Sampling(
            temperature=parameters.temperature,
            top_p=parameters.top_p,
            top_k=None if parameters.top_k is None else max(0, parameters.top_k),
            seed=parameters.seed,
        ),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def _check_unsupported(parameters: _TextRequest | _ChatRequest) -> None:
    for name, neutral_values in _NEUTRAL_VALUES.items():
        if not _is_neutral(getattr(parameters, name), neutral_values):
            raise _build_unsupported_error(name)
    if isinstance(parameters, _ChatRequest):
        for index, message in enumerate(parameters.messages):
            if not _is_neutral(message.tool_calls, ([],)):
                raise _build_unsupported_error(f"messages[{index}].tool_calls")


def _is_neutral(value: object, neutral_values: tuple[object, ...]) -> bool:
    """Return whether a parameter changes nothing. A number is not a truth value: `logprobs: 0` of a
    text completion requests the probability of each token, and `logprobs: false` of a chat none."""
    return value is None or any(
        value == neutral and isinstance(value, bool) == isinstance(neutral, bool) for neutral in neutral_values
    )


def _build_unsupported_error(name: str) -> RejectedError:
    message = f"this endpoint does not support the parameter {name} with this value"
    return RejectedError(400, "bad_request", message, parameter=name)


def _tokenize(
    parameters: _TextRequest | _ChatRequest, limits: BatchLimits, tokenizer: TextTokenizer
) -> tuple[int, ...]:
    if isinstance(parameters, _TextRequest):
        if not isinstance(parameters.prompt, str):
            return tuple(parameters.prompt)
        text = parameters.prompt
    else:
        messages = [{"role": message.role, "content": _join_content(message)} for message in parameters.messages]
        _check_text_length(sum(len(message["content"]) for message in messages), limits)
        try:
            text = tokenizer.format_chat(messages)
        except UsageError as error:
            raise _build_error(str(error)) from error
    _check_text_length(len(text), limits)
    return tokenizer.encode(text)


def _list_texts(parameters: _TextRequest | _ChatRequest) -> Iterator[str]:
    """Yield the texts that are passed to the tokenizer."""
    if isinstance(parameters, _ChatRequest):
        for message in parameters.messages:
            yield message.role
            yield _join_content(message)
    elif isinstance(parameters.prompt, str):
        yield parameters.prompt
    yield from [parameters.stop] if isinstance(parameters.stop, str) else parameters.stop or ()


def _join_content(message: _ChatMessage) -> str:
    content = message.content
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _check_text_length(characters: int, limits: BatchLimits) -> None:
    if characters > limits.max_length * _MAX_CHARACTERS_PER_TOKEN:
        raise _build_length_error(f"{characters:,} characters", limits)


def _build_length_error(length: str, limits: BatchLimits) -> RejectedError:
    message = f"a prompt of {length} exceeds the context of {limits.max_length} tokens"
    return RejectedError(400, "context_length_exceeded", message)


def _build_error(message: str) -> RejectedError:
    return RejectedError(400, "bad_request", message)


def encode_error(status: int, code: str, message: str, parameter: str | None = None) -> bytes:
    """Encode an error as the API does. `parameter` is the name of the parameter at fault."""
    types = {400: "invalid_request_error", 404: "invalid_request_error", 413: "invalid_request_error",
             415: "invalid_request_error", 403: "permission_error",
             401: "authentication_error", 429: "rate_limit_error"}  # fmt: skip
    error_type = types.get(status, "server_error")
    return msgspec.json.encode({"error": {"message": message, "type": error_type, "param": parameter, "code": code}})


_GUARD_CODES = {401: "invalid_api_key", 403: "forbidden", 415: "unsupported_media_type"}


def encode_guard_error(status: int, message: str) -> bytes:
    """Encode the error for a request that is rejected before it reaches the API."""
    return encode_error(status, _GUARD_CODES[status], message)


class ResponseEncoder:
    """Encoder of the response to one request, complete or as the data of the events of a stream."""

    def __init__(self, request: CompletionRequest, model_name: str, response_id: str, created_s: int) -> None:
        self._request = request
        self._is_chat = request.api == "chat"
        self._model_name = model_name
        self._id = f"{'chatcmpl' if self._is_chat else 'cmpl'}-{response_id}"
        self._created_s = created_s

    def encode_response(self, parts: Sequence[ResponsePart]) -> bytes:
        text, last_part = "".join(part.text for part in parts), parts[-1]
        content = {"message": {"role": "assistant", "content": text}} if self._is_chat else {"text": text}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": last_part.finish_reason}
        document = self._build_document([choice], is_chunk=False)
        return msgspec.json.encode({**document, "usage": self._build_usage(last_part)})

    def encode_start(self) -> bytes:
        """Return the event that starts the stream of a chat."""
        return self._encode_chunk({"delta": {"role": "assistant", "content": ""}}, None)

    def encode_part(self, part: ResponsePart) -> bytes:
        content = {"delta": {"content": part.text} if part.text else {}} if self._is_chat else {"text": part.text}
        return self._encode_chunk(content, part)

    def encode_final_usage(self, part: ResponsePart) -> bytes:
        document = self._build_document([], is_chunk=True)
        return msgspec.json.encode({**document, "usage": self._build_usage(part)})

    def _encode_chunk(self, content: dict[str, Any], part: ResponsePart | None) -> bytes:
        finish_reason = None if part is None else part.finish_reason
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}
        document = self._build_document([choice], is_chunk=True)
        if part is not None and self._request.sends_running_usage:
            document["usage"] = self._build_usage(part)
        return msgspec.json.encode(document)

    def _build_document(self, choices: list[dict[str, Any]], *, is_chunk: bool) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if is_chunk else "chat.completion") if self._is_chat else "text_completion"
        return {
            "id": self._id,
            "object": kind,
            "created": self._created_s,
            "model": self._model_name,
            "choices": choices,
        }

    def _build_usage(self, part: ResponsePart) -> dict[str, Any]:
        prompt_tokens = len(self._request.task.prompt)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": part.tokens,
            "total_tokens": prompt_tokens + part.tokens,
            "prompt_tokens_details": {"cached_tokens": part.cached_tokens},
        }
