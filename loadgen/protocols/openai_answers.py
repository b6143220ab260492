"""Judges whole answers of the OpenAI-compatible APIs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from loadgen.decoding import decode_json, json_decoder
from loadgen.protocols.openai_chunks import MALFORMED, ContentPart, ToolCall
from loadgen.protocols.openai_tokens import CountTokens, believable, usage_of
from loadgen.transport.exchange import Tokens

Api = Literal["chat", "completions", "responses", "embeddings", "rerank"]


class DecodedResponse(msgspec.Struct, frozen=True):
    """`error` is one of ERROR_CLASSES, None when the answer is as promised."""

    error: str | None
    tokens: Tokens


def read_answer(api: Api, body: bytes, *, asked: int = 1, count_tokens: CountTokens | None = None) -> DecodedResponse:
    """`asked` is how many texts were to be embedded, or documents to be ranked.

    What is no JSON of the API's shape is bad-payload; an error told with status 200, or a wrong number of results, is
    bad-output.
    """
    try:
        if api == "embeddings":
            return _read_embeddings(body, asked)
        if api == "rerank":
            return _read_ranking(body, asked)
        return _read_response(body, count_tokens) if api == "responses" else _read_choices(body, count_tokens)
    except MALFORMED:
        return DecodedResponse("bad-output" if _is_error(body) else "bad-payload", Tokens())


class _ErrorAnswer(msgspec.Struct):
    error: object


def _is_error(body: bytes) -> bool:
    try:
        return bool(decode_json(body, _ErrorAnswer).error)
    except MALFORMED:
        return False


# chat and completions


class _Message(msgspec.Struct):
    content: str | list[ContentPart] | None = None
    reasoning_content: object = None
    reasoning: object = None
    tool_calls: list[ToolCall] | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []
    usage: object = None
    error: object = None
    kind: str | None = msgspec.field(default=None, name="object")


_decode_completion = json_decoder(_Completion)


def _read_choices(body: bytes, count_tokens: CountTokens | None) -> DecodedResponse:
    answer = _decode_completion(body)
    if answer.error or answer.kind == "error":
        return DecodedResponse("bad-output", Tokens())
    if not answer.choices or any(choice.message is None and choice.text is None for choice in answer.choices):
        return DecodedResponse("bad-payload", Tokens())
    return DecodedResponse(None, _counted(answer.usage, count_tokens, lambda: _choice_texts(answer.choices)))


def _choice_texts(choices: Iterable[_Choice]) -> Iterable[object]:
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


def _counted(usage: object, count_tokens: CountTokens | None, texts: Callable[[], Iterable[object]]) -> Tokens:
    tokens_in, tokens_out = usage_of(usage)
    if tokens_out is None and count_tokens is not None:
        text = "".join(text for text in texts() if isinstance(text, str))
        return Tokens(tokens_in=tokens_in, tokens_out=count_tokens(text), tokens_from="tokenizer")
    return Tokens(tokens_in=tokens_in, tokens_out=tokens_out, tokens_from=None if tokens_out is None else "server")


# responses


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
    answer = _decode_response(body)
    if answer.error or answer.status in ("failed", "cancelled"):
        return DecodedResponse("bad-output", Tokens())
    if answer.status in ("in_progress", "queued"):
        return DecodedResponse("bad-payload", Tokens())
    return DecodedResponse(None, _counted(answer.usage, count_tokens, lambda: _item_texts(answer.output)))


def _item_texts(items: Iterable[_Item]) -> Iterable[object]:
    for item in items:
        yield from (item.name, item.arguments)
        for content in (*(item.summary or ()), *(item.content or ())):
            yield from (content.text, content.refusal)


# embeddings


class _Embedding(msgspec.Struct):
    embedding: list[float] | str
    index: int | None = None


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]
    usage: object = None


_decode_embeddings = json_decoder(_Embeddings)


def _read_embeddings(body: bytes, asked: int) -> DecodedResponse:
    """One embedding for each text, all of one length; base64 is taken as it is."""
    answer = _decode_embeddings(body)
    sizes = {len(one.embedding) for one in answer.data}
    indices = {position if one.index is None else one.index for position, one in enumerate(answer.data)}
    is_right = len(answer.data) == asked and len(sizes) == 1 and 0 not in sizes and indices == set(range(asked))
    return DecodedResponse(None if is_right else "bad-output", Tokens(tokens_in=_tokens_in(answer.usage)))


def _tokens_in(usage: object) -> int | None:
    """Where nothing comes out, a total is what went in."""
    total = believable(usage.get("total_tokens")) if isinstance(usage, dict) else None
    told = usage_of(usage)[0]
    return total if told is None else told


# rerank


class _Rank(msgspec.Struct):
    index: int
    relevance_score: float | None = None
    score: float | None = None


class _Ranking(msgspec.Struct):
    results: list[_Rank]
    usage: object = None


_decode_ranking = json_decoder(_Ranking | list[_Rank])


def _read_ranking(body: bytes, asked: int) -> DecodedResponse:
    """Each document at most once, with a score: a server may leave out the last ones."""
    answer = _decode_ranking(body)
    results, usage = (answer, None) if isinstance(answer, list) else (answer.results, answer.usage)
    scores = [one.score if one.relevance_score is None else one.relevance_score for one in results]
    if None in scores:
        return DecodedResponse("bad-payload", Tokens())
    indices = {one.index for one in results}
    is_right = (
        0 < len(indices) == len(results)
        and all(0 <= index < asked for index in indices)
        and all(math.isfinite(score) for score in scores if score is not None)
    )
    return DecodedResponse(None if is_right else "bad-output", Tokens(tokens_in=_tokens_in(usage)))
