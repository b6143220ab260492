"""Mock protocol of an OpenAI-compatible server that has the Anthropic Messages API, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from loadgen.decoding import decode_json, json_decoder
from loadgen.reference.openai_events import SSE, Generation, build_openai_stream, build_response
from loadgen.reference.playback import LAST_CHUNK, ResponseScript, encode_chunk, encode_head
from loadgen.reference.requests import Request, RequestHandler, build_error_response, build_json_response
from loadgen.reference.script import FifoService, OpenAiMock
from loadgen.workloads import API_PATHS, TEXT_APIS, TextApi

_STREAM_HEAD = encode_head(200, [*SSE, "Transfer-Encoding: chunked"])
_MODEL_NOT_FOUND = "the model does not exist"


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class _OpenAiRequest(msgspec.Struct, frozen=True):
    model: str = ""
    stream: bool = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    input: msgspec.Raw = msgspec.Raw(b"null")
    documents: list[msgspec.Raw] = []

    def get_max_tokens(self, default: int) -> int:
        limits = (self.max_completion_tokens, self.max_output_tokens, self.max_tokens)
        return next((tokens for tokens in limits if tokens is not None), default)


_decode_request = json_decoder(_OpenAiRequest)

Handle = Callable[[Request, _OpenAiRequest], ResponseScript]


def build_openai_handler(mock: OpenAiMock) -> RequestHandler:
    service = FifoService(mock.service_model)
    models = {"object": "list", "data": [{"id": mock.model, "object": "model", "created": 0, "owned_by": "sizewise"}]}
    models_body = msgspec.json.encode(models)
    handler_by_path: dict[str, Handle] = {
        f"/v1{API_PATHS['embeddings']}": lambda request, body: _build_embeddings(mock, service, request, body),
        f"/v1{API_PATHS['rerank']}": lambda request, body: _build_ranking(service, request, body),
    }
    handler_by_path |= {f"/v1{API_PATHS[api]}": _build_generation_handler(mock, service, api) for api in TEXT_APIS}

    def handle_request(request: Request) -> ResponseScript | None:
        if request.path in ("/v1/models", "/health"):
            return build_json_response(0, models_body)
        handle = handler_by_path.get(request.path)
        if handle is None:
            return None
        try:
            body = _decode_request(request.body)
        except msgspec.DecodeError:
            return build_error_response(400, "the body is not a valid request")
        return handle(request, body) if body.model == mock.model else build_error_response(404, _MODEL_NOT_FOUND)

    return handle_request


def _build_generation_handler(mock: OpenAiMock, service: FifoService, api: TextApi) -> Handle:
    def handle(request: Request, body: _OpenAiRequest) -> ResponseScript:
        if api == "messages" and (body.max_tokens is None or b"\r\nanthropic-version:" not in request.head.lower()):
            return build_error_response(400, "the Messages API requires max_tokens and the header anthropic-version")
        token_count = body.get_max_tokens(mock.output_tokens)
        if not 0 < token_count <= _MAX_TOKENS:
            return build_error_response(400, "the requested number of tokens is not supported")
        generation = Generation(
            tokens=token_count,
            api=api,
            model=mock.model,
            input_tokens=_count_spaces(request.body),
            has_usage=api in ("responses", "messages")
            or (body.stream_options is not None and body.stream_options.include_usage),
        )
        queueing_ns, first_token_ns = service.schedule(request.at_ns, token_count=token_count)
        if body.stream:
            return _build_stream(generation, queueing_ns, first_token_ns, service.gap_ns)
        due_ns = queueing_ns + first_token_ns + (token_count - 1) * service.gap_ns
        return build_json_response(due_ns, msgspec.json.encode(build_response(generation)))

    return handle


_MAX_TOKENS = 1_000_000


def _count_spaces(body: bytes) -> int:
    """Return the number of spaces in a request body, but at least 1. The mock server reports it as
    the number of input tokens."""
    return max(1, body.count(b" "))


def _build_stream(generation: Generation, queueing_ns: int, first_token_ns: int, gap_ns: int) -> ResponseScript:
    """Build the script of a streamed response. The head, and the role if the API has one, are sent
    when processing begins."""
    pieces = build_openai_stream(generation, first_token_ns / 1e9, gap_ns / 1e9)
    offsets_ns = [queueing_ns, *(queueing_ns + round(send_s * 1e9) for send_s, _ in pieces)]
    data = [_STREAM_HEAD, *(encode_chunk(event) for _, event in pieces)]
    data[-1] += LAST_CHUNK
    return ResponseScript(offsets_ns, data)


def _build_embeddings(mock: OpenAiMock, service: FifoService, request: Request, body: _OpenAiRequest) -> ResponseScript:
    inputs: Any = decode_json(body.input)
    text_count = len(inputs) if isinstance(inputs, list) and inputs and not isinstance(inputs[0], int) else 1
    vector = [0.5] * mock.embedding_size
    response = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index in range(text_count)],
        "model": mock.model,
        "usage": {"prompt_tokens": _count_spaces(request.body), "total_tokens": _count_spaces(request.body)},
    }
    return build_json_response(
        sum(service.schedule(request.at_ns, row_count=text_count)), msgspec.json.encode(response)
    )


def _build_ranking(service: FifoService, request: Request, body: _OpenAiRequest) -> ResponseScript:
    document_count = len(body.documents)
    results = [{"index": index, "relevance_score": 1 - index / (document_count + 1)} for index in range(document_count)]
    response = {"id": "scripted-1", "results": results, "usage": {"total_tokens": _count_spaces(request.body)}}
    return build_json_response(
        sum(service.schedule(request.at_ns, row_count=document_count)), msgspec.json.encode(response)
    )
