"""The OpenAI-compatible APIs: builds requests from prompts, and checks their responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from loadgen.payloads.datasets import DatasetError, DatasetReader, draw_picks
from loadgen.payloads.lengths import LengthError
from loadgen.payloads.prompts import PromptError, Session, generate_sessions, sessions_from_dataset, sessions_from_trace
from loadgen.payloads.texts import TextGenerator, TokenizerError, load_token_counter
from loadgen.protocols.http import encode_request
from loadgen.protocols.openai_bodies import (
    Api,
    build_body,
    count_results,
    decode_response,
    encode_body,
    hash_prompt,
    max_output_tokens,
    merge_patch,
    read_extra,
    reranking_sessions,
)
from loadgen.protocols.openai_chunks import CountTokens
from loadgen.protocols.openai_stream import OpenAiReader
from loadgen.protocols.prepared import (
    MAX_REQUESTS_BYTES,
    RESPONSE_OK,
    CheckResponse,
    PreparedWorkload,
    ResponseCheck,
    Sessions,
    WorkloadError,
    classify_status,
)
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange
from loadgen.workloads import DatasetPrompts, OpenAiWorkload, SyntheticPrompts, TracePrompts

PATHS: dict[Api, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "responses": "/responses",
    "embeddings": "/embeddings",
    "rerank": "/rerank",
}  # fmt: skip


def build_openai(workload: OpenAiWorkload, endpoint: Endpoint, address: Address) -> PreparedWorkload:
    """Prepare a workload. Raises WorkloadError.

    The response is read as a stream if the request, after merging `extra_body`, asks for one.
    """
    base, _, query = address.path.partition("?")
    path = base.rstrip("/") + PATHS[workload.api] + (f"?{query}" if query else "")
    try:
        count_tokens = None if workload.tokenizer is None else load_token_counter(workload.tokenizer)
        maker = TextGenerator(np.random.default_rng([workload.seed, 0]), count_tokens)
        source = _PromptSource(workload, maker)
        packed = _pack(source.sessions(), workload, lambda body: _request(path, body, endpoint, address))
    except TokenizerError as error:
        raise WorkloadError(str(error), hint=error.hint) from error
    except (DatasetError, LengthError, PromptError) as error:
        raise WorkloadError(str(error)) from error
    is_stream = packed.is_stream and workload.api in ("chat", "completions", "responses")
    return PreparedWorkload(
        requests=packed.requests,
        check=_judge_of(workload.api, packed.sizes, count_tokens),
        label=f"POST {address.format_url(path)}",
        new_reader=(lambda: OpenAiReader(workload.api, count_tokens)) if is_stream else None,
        picks=_picks(workload, packed),
        max_output_tokens=packed.tokens_asked if any(packed.tokens_asked) else None,
        distinct_prompts=len(packed.prompts),
        sessions=packed.sessions if len(packed.starts) < len(packed.requests) else None,
        notes=(*_length_notes(workload, maker), *packed.notes(source.was_cut)),
    )


def _request(path: str, body: bytes, endpoint: Endpoint, address: Address) -> bytes:
    return encode_request("POST", path, address, [("Content-Type", "application/json"), *endpoint.headers], body)


class _PromptSource:
    """The source of prompts. `was_cut` is known after all prompts have been read."""

    def __init__(self, workload: OpenAiWorkload, maker: TextGenerator) -> None:
        self._workload, self._maker = workload, maker
        self._reading: DatasetReader | None = None
        self._expected: int | None = None
        self._yielded = 0

    @property
    def was_cut(self) -> bool:
        return (self._reading is not None and self._reading.is_truncated) or (
            self._expected is not None and self._yielded < self._expected
        )

    def sessions(self) -> Iterator[Session]:
        for session in self._open():
            self._yielded += 1
            yield session

    def _open(self) -> Iterator[Session]:
        workload, prompts = self._workload, self._workload.prompts
        match prompts:
            case SyntheticPrompts():
                if prompts.turns is not None and workload.api in ("embeddings", "rerank"):
                    raise PromptError("multi-turn sessions are supported for chat, completions and responses only")
                self._expected = prompts.unique
                texts = workload.documents + 1 if workload.api == "rerank" else 1
                return generate_sessions(
                    prompts,
                    self._maker,
                    workload.popularity,
                    workload.seed,
                    texts=texts,
                    limit_bytes=MAX_REQUESTS_BYTES,
                )
            case TracePrompts():
                self._expected = len(prompts.input_tokens) // 4
                return sessions_from_trace(prompts, self._maker, MAX_REQUESTS_BYTES)
            case DatasetPrompts():
                self._reading = DatasetReader(prompts.dataset, MAX_REQUESTS_BYTES)
                sessions = sessions_from_dataset(prompts, self._reading)
                return reranking_sessions(sessions, workload.documents) if workload.api == "rerank" else sessions


class _PackedRequests:
    """Serialized requests and their order in sessions. `sizes` has the number of texts in each request."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.sizes: list[int] = []
        self.tokens_asked: list[int | None] = []
        self.prompts: set[int] = set()
        self.starts: list[int] = []
        self.next_number: list[int | None] = []
        self.think_ns: list[int] = []
        self.is_stream = False
        self.was_cut = False

    @property
    def sessions(self) -> Sessions:
        return Sessions(self.next_number, self.think_ns)

    def add(self, requests: list[bytes], sizes: list[int], tokens_asked: list[int | None], session: Session) -> None:
        start = len(self.requests)
        self.starts.append(start)
        self.requests += requests
        self.sizes += sizes
        self.tokens_asked += tokens_asked
        self.next_number += [*range(start + 1, start + len(requests)), None]
        self.think_ns += session.think_ns

    def notes(self, was_cut: bool) -> tuple[str, ...]:
        if not (was_cut or self.was_cut):
            return ()
        sessions, requests = len(self.starts), len(self.requests)
        used = f"{requests:,} requests" if sessions == requests else f"{sessions:,} sessions ({requests:,} requests)"
        return (f"only the first {used} were used, because more would exceed {MAX_REQUESTS_BYTES >> 20} MiB",)


def _pack(sessions: Iterator[Session], workload: OpenAiWorkload, request: Callable[[bytes], bytes]) -> _PackedRequests:
    """Serialize as many whole sessions as fit into the memory limit."""
    packed = _PackedRequests()
    extra = read_extra(workload.extra_body)
    left_bytes = MAX_REQUESTS_BYTES
    for session in sessions:
        requests: list[bytes] = []
        tokens_asked: list[int | None] = []
        for prompt in session.prompts:
            body = merge_patch(build_body(workload, prompt), extra)
            packed.is_stream = body.get("stream") is True
            requests.append(request(encode_body(body)))
            tokens_asked.append(max_output_tokens(body))
            packed.prompts.add(hash_prompt(body))
            left_bytes -= len(requests[-1])
            if left_bytes < 0:
                break
        if left_bytes < 0:
            if not packed.requests:
                raise PromptError(f"a single request or session takes over {MAX_REQUESTS_BYTES >> 20} MiB")
            packed.was_cut = True
            break
        packed.add(requests, [count_results(workload.api, prompt) for prompt in session.prompts], tokens_asked, session)
    return packed


def _picks(workload: OpenAiWorkload, packed: _PackedRequests) -> list[int] | None:
    """Return the picks. Popularity applies to prompts, or to whole sessions; a trace has its own order."""
    if isinstance(workload.prompts, TracePrompts):
        return None
    starts = packed.starts
    order = draw_picks(workload.popularity, len(starts), workload.seed)
    if len(starts) == len(packed.requests):
        return None if order is None else list(order)
    return starts if order is None else [starts[number] for number in order]


def _length_notes(workload: OpenAiWorkload, maker: TextGenerator) -> Iterator[str]:
    if isinstance(workload.prompts, DatasetPrompts):
        return
    if workload.tokenizer is None:
        yield "prompt lengths are approximate, because without a tokenizer each word counts as one token"
    elif maker.inexact_count:
        yield (
            f"{maker.inexact_count:,} texts differ slightly from the drawn length, because the tokenizer has no text "
            "of that "
            "length"
        )


_NOT_STREAMED = ResponseCheck(note="the server does not stream, so token times are unknown")


def _judge_of(api: Api, sizes: list[int], count_tokens: CountTokens | None) -> CheckResponse:
    def judge(exchange: Exchange) -> ResponseCheck:
        error, reader = classify_status(exchange.status or 0), exchange.reader
        if error is None and isinstance(reader, OpenAiReader):
            error, exchange.detail = reader.end(exchange.headers), reader.detail
            if error is None and not reader.is_streamed:
                return _NOT_STREAMED
        elif error is None:
            size = sizes[exchange.request_index]
            response = decode_response(api, exchange.body, expected_results=size, count_tokens=count_tokens)
            error, exchange.tokens = response.error, response.tokens
        return RESPONSE_OK if error is None else ResponseCheck(error)

    return judge
