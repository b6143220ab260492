"""An OpenAI-compatible server as a face."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from loadgen.decoding import decode_json, json_decoder
from loadgen.reference.asked import Answer, Request, json_course, refused
from loadgen.reference.courses import LAST_CHUNK, Course, chunk, head_bytes
from loadgen.reference.openai_events import SSE, Api, Generation, answer_fields, openai_stream
from loadgen.reference.script import Desk, OpenAiFace

_STREAM_HEAD = head_bytes(200, [*SSE, "Transfer-Encoding: chunked"])
_NOT_FOUND = "the model does not exist"


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class _Asked(msgspec.Struct, frozen=True):
    model: str = ""
    stream: bool = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    input: msgspec.Raw = msgspec.Raw(b"null")
    documents: list[msgspec.Raw] = []

    def tokens(self, default: int) -> int:
        given = (self.max_completion_tokens, self.max_output_tokens, self.max_tokens)
        return next((tokens for tokens in given if tokens is not None), default)


_decode = json_decoder(_Asked)

_GENERATING: dict[str, Api] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
}

Handle = Callable[[Request, _Asked], Course]


def openai_answer(face: OpenAiFace) -> Answer:
    desk = Desk(face.law)
    models = {"object": "list", "data": [{"id": face.model, "object": "model", "created": 0, "owned_by": "sizewise"}]}
    listed = msgspec.json.encode(models)
    handlers: dict[str, Handle] = {
        "/v1/embeddings": lambda request, asked: _embeddings(face, desk, request, asked),
        "/v1/rerank": lambda request, asked: _rerank(desk, request, asked),
    }
    handlers |= {path: _generator(face, desk, api) for path, api in _GENERATING.items()}

    def answer(request: Request) -> Course | None:
        if request.path in ("/v1/models", "/health"):
            return json_course(0, listed)
        handle = handlers.get(request.path)
        if handle is None:
            return None
        try:
            asked = _decode(request.body)
        except msgspec.DecodeError:
            return refused(400, "the body cannot be read")
        return handle(request, asked) if asked.model == face.model else refused(404, _NOT_FOUND)

    return answer


def _generator(face: OpenAiFace, desk: Desk, api: Api) -> Handle:
    def handle(request: Request, asked: _Asked) -> Course:
        tokens = asked.tokens(face.output_tokens)
        if not 0 < tokens <= _MAX_TOKENS:
            return refused(400, "so many tokens cannot be made")
        generation = Generation(
            tokens=tokens,
            api=api,
            model=face.model,
            input_tokens=_words(request.body),
            usage=api == "responses" or (asked.stream_options is not None and asked.stream_options.include_usage),
        )
        wait_ns, first_ns = desk.take(request.at_ns, tokens=tokens)
        if asked.stream:
            return _streamed(generation, wait_ns, first_ns, desk.gap_ns)
        due_ns = wait_ns + first_ns + (tokens - 1) * desk.gap_ns
        return json_course(due_ns, msgspec.json.encode(answer_fields(generation)))

    return handle


_MAX_TOKENS = 1_000_000


def _words(body: bytes) -> int:
    """What the server says it was given: as many tokens as there are spaces in the request, one at least."""
    return max(1, body.count(b" "))


def _streamed(generation: Generation, wait_ns: int, first_ns: int, gap_ns: int) -> Course:
    """The head, and the role where there is one, go out when a server begins."""
    pieces = openai_stream(generation, first_ns / 1e9, gap_ns / 1e9)
    offsets = [wait_ns, *(wait_ns + round(at_s * 1e9) for at_s, _ in pieces)]
    data = [_STREAM_HEAD, *(chunk(event) for _, event in pieces)]
    data[-1] += LAST_CHUNK
    return Course(offsets, data)


def _embeddings(face: OpenAiFace, desk: Desk, request: Request, asked: _Asked) -> Course:
    given: Any = decode_json(asked.input)
    texts = len(given) if isinstance(given, list) and given and not isinstance(given[0], int) else 1
    vector = [0.5] * face.embedding_size
    answer = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index in range(texts)],
        "model": face.model,
        "usage": {"prompt_tokens": _words(request.body), "total_tokens": _words(request.body)},
    }
    return json_course(sum(desk.take(request.at_ns, rows=texts)), msgspec.json.encode(answer))


def _rerank(desk: Desk, request: Request, asked: _Asked) -> Course:
    count = len(asked.documents)
    results = [{"index": index, "relevance_score": 1 - index / (count + 1)} for index in range(count)]
    answer = {"id": "scripted-1", "results": results, "usage": {"total_tokens": _words(request.body)}}
    return json_course(sum(desk.take(request.at_ns, rows=count)), msgspec.json.encode(answer))
