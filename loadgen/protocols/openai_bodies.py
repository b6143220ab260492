"""Build request bodies for OpenAI-compatible APIs, and decode complete (non-streamed) response
bodies."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import cycle
from typing import Any

import msgspec

from loadgen.decoding import decode_json, json_decoder
from loadgen.payloads.media import Media
from loadgen.payloads.prompts import Prompt, PromptError, Session, build_single_prompt_session
from loadgen.payloads.texts import TokenizerError
from loadgen.protocols.anthropic import MessageUsage, build_conversation, decode_message, iterate_block_texts
from loadgen.protocols.openai_chunks import (
    NO_OUTPUT_DETAIL,
    ContentPart,
    CountTokens,
    Envelope,
    Message,
    parse_details,
    parse_token_count,
    parse_usage,
)
from loadgen.protocols.prepared import WorkloadError
from loadgen.protocols.request_options import build_option_fields
from loadgen.transport.exchange import Tokens
from loadgen.workloads import DatasetPrompts, OpenAiApi, OpenAiWorkload


class DecodedResponse(msgspec.Struct, frozen=True):
    """Decoded response: its tokens and the result of its check. `error` is one of ERROR_CLASSES, or
    None if the response is valid. `detail` describes the error."""

    error: str | None
    tokens: Tokens
    detail: str | None = None


def decode_response(
    api: OpenAiApi, body: bytes, *, expected_count: int = 1, count_tokens: CountTokens | None = None
) -> DecodedResponse:
    """Decode and check a complete response.

    `expected_count` is the number of texts to embed or documents to rank. A body that does not
    match the JSON schema of the API is `bad-payload`. An error that the server reports with status
    200, a wrong number of results, or a completion without any output is `bad-output`.
    """
    try:
        if api == "embeddings":
            return _read_embeddings(body, expected_count)
        if api == "rerank":
            return _read_ranking(body, expected_count)
        if api == "messages":
            return _read_message(body, count_tokens)
        return _read_response(body, count_tokens) if api == "responses" else _read_choices(body, count_tokens)
    except msgspec.DecodeError:
        return DecodedResponse("bad-output" if _is_error(body) else "bad-payload", Tokens())


class _ErrorResponse(msgspec.Struct):
    error: object


def _is_error(body: bytes) -> bool:
    try:
        return bool(decode_json(body, _ErrorResponse).error)
    except msgspec.DecodeError:
        return False


# Chat and completions


class _Choice(msgspec.Struct):
    message: Message | None = None
    text: str | None = None


class _Completion(Envelope):
    choices: tuple[_Choice, ...] = ()


_decode_completion = json_decoder(_Completion)


def _read_choices(body: bytes, count_tokens: CountTokens | None) -> DecodedResponse:
    response = _decode_completion(body)
    if response.error or response.kind == "error":
        return DecodedResponse("bad-output", Tokens())
    if not response.choices or any(choice.message is None and choice.text is None for choice in response.choices):
        return DecodedResponse("bad-payload", Tokens())
    return _build_completion(
        response.usage, count_tokens, lambda: _iterate_choice_texts(response.choices), response.timings
    )


def _iterate_choice_texts(choices: Iterable[_Choice]) -> Iterable[object]:
    for choice in choices:
        yield choice.text
        message = choice.message
        if message is None:
            continue
        yield message.reasoning_content or message.reasoning
        yield message.content
        for part in message.content or ():
            yield part.text or part.thinking if isinstance(part, ContentPart) else None
        for call in message.tool_calls or ():
            for function in (call.function, call.custom):
                if function is not None:
                    yield from (function.name, function.arguments, function.input)


def _build_completion(
    usage: object,
    count_tokens: CountTokens | None,
    iterate_texts: Callable[[], Iterable[object]],
    timings: object = None,
) -> DecodedResponse:
    """Return a completion, which has an error if the server neither sent text or tool calls nor
    reports output tokens."""
    tokens = _build_tokens(usage, count_tokens, iterate_texts, timings)
    if not tokens.tokens_out and not any(iterate_texts()):
        return DecodedResponse("bad-output", tokens, NO_OUTPUT_DETAIL)
    return DecodedResponse(None, tokens)


def _build_tokens(
    usage: object,
    count_tokens: CountTokens | None,
    iterate_texts: Callable[[], Iterable[object]],
    timings: object = None,
) -> Tokens:
    tokens_in, tokens_out = parse_usage(usage)
    details = parse_details(usage, timings)
    if tokens_out is None and count_tokens is not None:
        text = "".join(text for text in iterate_texts() if isinstance(text, str))
        with contextlib.suppress(TokenizerError):  # then the count is unknown
            return Tokens(tokens_in=tokens_in, tokens_out=count_tokens(text), token_source="tokenizer", details=details)
    source = None if tokens_out is None else "server"
    return Tokens(tokens_in=tokens_in, tokens_out=tokens_out, token_source=source, details=details)


# Responses


class _Content(msgspec.Struct):
    text: object = None
    refusal: object = None


class _Item(msgspec.Struct):
    name: object = None
    arguments: object = None
    content: list[_Content] | None = None
    summary: list[_Content] | None = None


class _Response(msgspec.Struct):
    output: list[_Item]
    status: str | None = None
    usage: object = None
    error: object = None


_decode_response = json_decoder(_Response)


def _read_response(body: bytes, count_tokens: CountTokens | None) -> DecodedResponse:
    response = _decode_response(body)
    if response.error or response.status in ("failed", "cancelled"):
        return DecodedResponse("bad-output", Tokens())
    if response.status in ("in_progress", "queued"):
        return DecodedResponse("bad-payload", Tokens())
    return _build_completion(response.usage, count_tokens, lambda: _iterate_item_texts(response.output))


def _iterate_item_texts(items: Iterable[_Item]) -> Iterable[object]:
    for item in items:
        yield from (item.name, item.arguments)
        for content in (*(item.summary or ()), *(item.content or ())):
            yield from (content.text, content.refusal)


# Messages


def _read_message(body: bytes, count_tokens: CountTokens | None) -> DecodedResponse:
    message = decode_message(body)
    if message.is_error:
        return DecodedResponse("bad-output", Tokens())
    usage = MessageUsage()
    usage.add(message.usage)
    return _build_completion(usage.build(), count_tokens, lambda: iterate_block_texts(message.content))


# Embeddings


class _Embedding(msgspec.Struct):
    embedding: list[float] | str
    index: int | None = None


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]
    usage: object = None


_decode_embeddings = json_decoder(_Embeddings)


def _read_embeddings(body: bytes, expected_count: int) -> DecodedResponse:
    """Decode a response with embeddings, and check that there is one embedding per text and that
    all embeddings have the same length. Base64 embeddings are not decoded."""
    response = _decode_embeddings(body)
    dims = {len(embedding.embedding) for embedding in response.data}
    indices = {
        position if embedding.index is None else embedding.index for position, embedding in enumerate(response.data)
    }
    is_valid = (
        len(response.data) == expected_count
        and len(dims) == 1
        and 0 not in dims
        and indices == set(range(expected_count))
    )
    return DecodedResponse(None if is_valid else "bad-output", Tokens(tokens_in=_parse_tokens_in(response.usage)))


def _parse_tokens_in(usage: object) -> int | None:
    """Return the number of input tokens from the usage object of a response without output tokens.
    If the usage has only the total number of tokens, return the total, which is then the same."""
    total_tokens = parse_token_count(usage.get("total_tokens")) if isinstance(usage, dict) else None
    input_tokens = parse_usage(usage)[0]
    return total_tokens if input_tokens is None else input_tokens


# Rerank


class _Rank(msgspec.Struct):
    index: int
    relevance_score: float | None = None
    score: float | None = None


class _Ranking(msgspec.Struct):
    results: list[_Rank]
    usage: object = None


_decode_ranking = json_decoder(_Ranking | list[_Rank])


def _read_ranking(body: bytes, document_count: int) -> DecodedResponse:
    """Decode a response with a ranking, and check that each document occurs at most once and has a
    score. A server may omit the documents with the lowest rank."""
    response = _decode_ranking(body)
    results, usage = (response, None) if isinstance(response, list) else (response.results, response.usage)
    scores = [rank.score if rank.relevance_score is None else rank.relevance_score for rank in results]
    if None in scores:
        return DecodedResponse("bad-payload", Tokens())
    indices = {rank.index for rank in results}
    is_valid = (
        0 < len(indices) == len(results)
        and all(0 <= index < document_count for index in indices)
        and all(math.isfinite(score) for score in scores if score is not None)
    )
    return DecodedResponse(None if is_valid else "bad-output", Tokens(tokens_in=_parse_tokens_in(usage)))


_MAX_DEPTH = 32
_LENGTH_KEYS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "min_tokens")

Body = dict[str, Any]


def decode_extra_body(extra_body: bytes) -> Body:
    """Decode the user's `extra_body` setting. Raises WorkloadError if the value is not a JSON
    object."""
    try:
        return decode_json(extra_body, Body)
    except msgspec.DecodeError as error:
        raise WorkloadError(f"extra_body must be a JSON object: {error}") from error


def merge_patch(body: Body, patch: Body, depth: int = 0) -> Body:
    """Merge `patch` into `body` by JSON Merge Patch (RFC 7396): objects are merged recursively, and
    null removes a key. Return the new body."""
    merged_body = dict(body)
    for key, value in patch.items():
        if value is None:
            merged_body.pop(key, None)
        elif isinstance(value, dict) and depth < _MAX_DEPTH:
            old_value = merged_body.get(key)
            merged_body[key] = merge_patch(old_value if isinstance(old_value, dict) else {}, value, depth + 1)
        else:
            merged_body[key] = value
    return merged_body


def encode_body(body: Body) -> bytes:
    """Encode a request body as JSON. Raises PromptError for a dataset value that JSON cannot
    represent."""
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PromptError(f"a prompt cannot be encoded as JSON: {error}") from error


def build_body(workload: OpenAiWorkload, prompt: Prompt) -> Body:
    """Build the request body for a prompt.

    The maximum number of output tokens is the only sampling parameter in the body. Users can set
    temperature and similar parameters in `extra_body`. Raises PromptError for a prompt that the API
    does not accept.
    """
    api: OpenAiApi = workload.api
    body: Body = {"model": workload.model}
    if api == "embeddings":
        texts = _get_texts(prompt)
        return {**body, "input": texts[0] if len(texts) == 1 else texts}
    if api == "rerank":
        query, *documents = _get_texts(prompt)
        return {**body, "query": query, "documents": documents}
    if api in ("speech", "images"):
        stream = {"stream": True} if workload.stream else {}
        return {**body, "input" if api == "speech" else "prompt": " ".join(_get_texts(prompt)), **stream}
    if prompt.messages is None and len(prompt.texts) > 1 and isinstance(workload.prompts, DatasetPrompts):
        raise PromptError(
            "the dataset has lists of strings, which only embeddings and reranking accept. Use a text column."
        )
    body |= _build_prompt_fields(api, prompt)
    body |= build_option_fields(api, workload.options)
    if prompt.output_tokens is not None:
        body["max_output_tokens" if api == "responses" else "max_tokens"] = prompt.output_tokens
    if workload.stream:
        body["stream"] = True
        if api in ("chat", "completions"):
            body["stream_options"] = {"include_usage": True}
    return body


def build_cache_bust_text(key: str, session: str = "") -> str:
    """Return the string of 16 characters at the start of the first message of a session, or of all
    sessions of a run."""
    return blake2b(f"{key}/{session}".encode(), digest_size=8).hexdigest()


def add_cache_bust_text(prompt: Prompt, text: str) -> Prompt:
    """Return the prompt with `text` at the start of its first message. Raises PromptError if the
    first message has no content."""
    if prompt.messages is not None:
        first_message, *other_messages = prompt.messages
        content = first_message.get("content")
        if isinstance(content, str):
            content = f"{text} {content}"
        elif isinstance(content, list):
            content = [{"type": "text", "text": text}, *content]
        else:
            raise PromptError("`cache_bust` requires that the first chat message of each row has content")
        return msgspec.structs.replace(prompt, messages=[{**first_message, "content": content}, *other_messages])
    if prompt.prefix:
        return msgspec.structs.replace(prompt, prefix=f"{text} {prompt.prefix}")
    first_text, *other_texts = prompt.texts
    return msgspec.structs.replace(prompt, texts=(f"{text} {first_text}", *other_texts))


def count_results(api: OpenAiApi, prompt: Prompt) -> int:
    """Return the number of results that the response to a prompt must have: one per document when
    reranking, otherwise one per text."""
    return len(prompt.texts) - 1 if api == "rerank" else len(prompt.texts)


def get_max_output_tokens(body: Body) -> int | None:
    """Return the maximum number of output tokens in a request body, or None if the body sets no
    maximum. If the body has both the newer and the older parameter, the newer one takes precedence,
    as on servers."""
    limits = (body.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"))
    return next((count for count in limits if type(count) is int and 0 < count < 2**31), None)


def hash_prompt(body: Body) -> int:
    """Return a hash of a request body. Parameters for the length of the output do not affect the
    hash."""
    return hash(encode_body({key: value for key, value in body.items() if key not in _LENGTH_KEYS}))


def build_reranking_sessions(sessions: Iterator[Session], documents_per_query: int) -> Iterator[Session]:
    """Build sessions with one reranking prompt each.

    A row with a list of strings is a query and its documents. A row with a single string is a
    query, and the strings of the next `documents_per_query` such rows are its documents.
    """
    prompts = [prompt for session in sessions for prompt in session.prompts]
    single_texts = [prompt.texts[0] for prompt in prompts if len(prompt.texts) == 1]
    document_count = min(documents_per_query, len(single_texts) - 1)
    if single_texts and document_count < 1:
        raise PromptError("reranking requires rows with a query and its documents, or at least two rows of text")
    index = 0
    for prompt in prompts:
        if len(prompt.texts) == 1:
            following_texts = (
                single_texts[(index + step) % len(single_texts)] for step in range(1, document_count + 1)
            )
            prompt, index = Prompt((single_texts[index], *following_texts)), index + 1
        yield build_single_prompt_session(prompt)


def _build_prompt_fields(api: OpenAiApi, prompt: Prompt) -> Body:
    if api == "completions":
        if prompt.messages is not None:
            raise PromptError("the dataset has chat messages, which completions do not accept. Use a text column.")
        if prompt.media:
            raise PromptError("completions accept no images and no audio")
        text = "\n".join(prompt.texts)
        return {"prompt": f"{prompt.prefix} {text}" if prompt.prefix else text}
    if api == "responses":
        is_text = prompt.messages is None and not prompt.prefix and not prompt.media and len(prompt.texts) == 1
        return {"input": prompt.texts[0] if is_text else _build_messages(api, prompt)}
    if api == "messages":
        return build_conversation(_build_messages(api, prompt))
    return {"messages": _build_messages(api, prompt)}


def _build_messages(api: OpenAiApi, prompt: Prompt) -> list[Body]:
    if prompt.messages is not None:
        return prompt.messages
    system_messages = [{"role": "system", "content": prompt.prefix}] if prompt.prefix else []
    first_text, *other_texts = prompt.texts
    contents = [build_user_content(api, first_text, prompt.media), *other_texts]
    turns = zip(cycle(("user", "assistant")), contents, strict=False)
    return [*system_messages, *({"role": role, "content": content} for role, content in turns)]


def build_user_content(api: OpenAiApi, text: str, media: Sequence[Media]) -> str | list[Body]:
    """Return the content of a user's message: only its text, or a list of parts. Raises PromptError
    if the API does not accept one of the media."""
    if not media:
        return text
    text_type = "input_text" if api == "responses" else "text"
    return [{"type": text_type, "text": text}, *(_build_media_part(api, item) for item in media)]


def _build_media_part(api: OpenAiApi, media: Media) -> Body:
    if media.kind == "audio":
        if api != "chat":
            raise PromptError("only chat completions accept audio")
        return {"type": "input_audio", "input_audio": {"data": media.data, "format": "wav"}}
    if api == "messages":
        return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": media.data}}
    url = f"data:image/png;base64,{media.data}"
    if api == "responses":
        return {"type": "input_image", "detail": "auto", "image_url": url}
    return {"type": "image_url", "image_url": {"url": url}}


def _get_texts(prompt: Prompt) -> list[str]:
    if prompt.messages is not None:
        raise PromptError("the dataset has chat messages, which this API does not accept. Use a text column.")
    first_text, *other_texts = prompt.texts
    return [f"{prompt.prefix} {first_text}" if prompt.prefix else first_text, *other_texts]
