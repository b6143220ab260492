"""Prepare workloads for OpenAI-compatible APIs and the Anthropic Messages API: build requests from
prompts, and check the responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from loadgen.payloads.datasets import DatasetError, DatasetReader, draw_indices
from loadgen.payloads.lengths import LengthError
from loadgen.payloads.prompts import (
    Prompt,
    PromptError,
    Session,
    build_sessions_from_dataset,
    build_sessions_from_trace,
    generate_session_graphs,
    generate_sessions,
    replace_texts,
)
from loadgen.payloads.sessions import SessionGraph, read_session_graphs
from loadgen.payloads.texts import TextGenerator, TokenizerError, load_token_counter
from loadgen.protocols.anthropic import API_HEADERS, build_messages_path
from loadgen.protocols.http import encode_request
from loadgen.protocols.openai_bodies import (
    add_cache_bust_text,
    build_body,
    build_cache_bust_text,
    build_reranking_sessions,
    count_results,
    decode_extra_body,
    decode_response,
    encode_body,
    get_max_output_tokens,
    hash_prompt,
    merge_patch,
)
from loadgen.protocols.openai_chunks import CountTokens
from loadgen.protocols.openai_media import build_image_check, build_speech_reader_factory, check_speech
from loadgen.protocols.openai_sessions import (
    NO_SESSIONS_TEXT,
    CollectingReader,
    OpenAiSessions,
    ResponseCollector,
    collect_response,
)
from loadgen.protocols.openai_stream import OpenAiReader
from loadgen.protocols.prepared import (
    MAX_REQUESTS_BYTES,
    RESPONSE_OK,
    CheckOutput,
    CheckResponse,
    OutputCheck,
    PreparedWorkload,
    ResponseCheck,
    Sessions,
    WorkloadError,
    classify_status,
)
from loadgen.protocols.request_options import build_output_check
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange, StreamReader
from loadgen.workloads import (
    API_PATHS,
    DatasetPrompts,
    LiveHistory,
    OpenAiApi,
    OpenAiWorkload,
    RequestOptions,
    SessionPrompts,
    SyntheticPrompts,
    TracePrompts,
)


def build_openai(workload: OpenAiWorkload, endpoint: Endpoint, address: Address) -> PreparedWorkload:
    """Prepare an OpenAI workload. Raises WorkloadError if the requests cannot be built.

    Responses are read as streams if `stream` is true in the request body, into which `extra_body`
    has been merged.
    """
    base_path, _, query = address.path.partition("?")
    path = _build_path(workload.api, base_path) + (f"?{query}" if query else "")
    api_headers = [*API_HEADERS.get(workload.api, {}).items()]
    try:
        count_tokens = None if workload.tokenizer is None else load_token_counter(workload.tokenizer)
        text_generator = TextGenerator(np.random.default_rng([workload.seed, 0]), count_tokens)
        source = _PromptSource(workload, text_generator, count_tokens)

        def encode_body_as_request(body: bytes) -> bytes:
            return _encode_request(path, body, endpoint, address, api_headers)

        live_sessions: OpenAiSessions | None = None
        if isinstance(workload.prompts, SyntheticPrompts | SessionPrompts) and workload.prompts.live is not None:
            packed_requests, live_sessions = _pack_live_sessions(
                source.iterate_graphs(), workload, workload.prompts.live, encode_body_as_request
            )
        else:
            packed_requests = _pack_requests(source.iterate_sessions(), workload, encode_body_as_request)
        notes = (*_build_length_notes(workload, text_generator), *packed_requests.build_notes(source.is_truncated))
        request_indices = _build_request_indices(workload, packed_requests)
        preflight_requests = {}
        if packed_requests.first_prompt is not None and not isinstance(workload.prompts, DatasetPrompts):
            prompt = replace_texts(packed_requests.first_prompt, text_generator)
            body = merge_patch(build_body(workload, prompt), decode_extra_body(workload.extra_body))
            first_index = 0 if request_indices is None else request_indices[0]
            preflight_requests[first_index] = encode_body_as_request(encode_body(body))
    except TokenizerError as error:
        raise WorkloadError(str(error), hint=error.hint) from error
    except (DatasetError, LengthError, PromptError) as error:
        raise WorkloadError(str(error)) from error
    return PreparedWorkload(
        requests=packed_requests.requests,
        check=_build_check(workload, packed_requests.result_counts, count_tokens),
        label=f"POST {address.format_url(path)}",
        new_reader=_build_reader_factory(workload, packed_requests.is_stream, count_tokens, live_sessions),
        request_indices=request_indices,
        max_output_tokens=packed_requests.max_output_tokens if any(packed_requests.max_output_tokens) else None,
        distinct_prompts=len(packed_requests.prompt_hashes),
        sessions=packed_requests.sessions
        if live_sessions is None and len(packed_requests.session_starts) < len(packed_requests.requests)
        else None,
        live_sessions=live_sessions,
        check_output=_build_output_check(workload),
        notes=notes,
        preflight_requests=preflight_requests,
    )


def _build_path(api: OpenAiApi, base_path: str) -> str:
    return build_messages_path(base_path) if api == "messages" else base_path.rstrip("/") + API_PATHS[api]


def _encode_request(
    path: str, body: bytes, endpoint: Endpoint, address: Address, api_headers: list[tuple[str, str]]
) -> bytes:
    headers = [("Content-Type", "application/json"), *api_headers, *endpoint.headers]
    return encode_request("POST", path, address, headers, body)


def _build_reader_factory(
    workload: OpenAiWorkload, is_stream: bool, count_tokens: CountTokens | None, live_sessions: OpenAiSessions | None
) -> Callable[[], StreamReader] | None:
    api: OpenAiApi = workload.api
    if api == "speech":  # the audio of every response is counted as it arrives
        return build_speech_reader_factory(workload.extra_body, workload.sample_rate_hz)
    if not is_stream or not workload.generates_text:
        return None
    if live_sessions is None and not _needs_output(workload.options):
        return lambda: OpenAiReader(api, count_tokens)
    retains_reasoning = live_sessions is not None and live_sessions.retains_reasoning
    return lambda: CollectingReader(api, count_tokens, retains_reasoning=retains_reasoning)


def _needs_output(options: RequestOptions) -> bool:
    """Return True if the content of the responses is counted or checked."""
    return bool(options.tools) or (options.response_format is not None and options.response_format.check)


def _build_output_check(workload: OpenAiWorkload) -> CheckOutput | None:
    if not _needs_output(workload.options):
        return None
    api, check = workload.api, build_output_check(workload.options)

    def check_exchange(exchange: Exchange) -> OutputCheck:
        if isinstance(exchange.reader, CollectingReader):
            return check(exchange.reader.collect())
        return check(collect_response(api, exchange.body, ResponseCollector(retains_reasoning=False)))

    return check_exchange


class _PromptSource:
    """Source of the sessions of a workload.

    After all sessions have been read, `is_truncated` is true if prompts were omitted.
    """

    def __init__(
        self, workload: OpenAiWorkload, text_generator: TextGenerator, count_tokens: CountTokens | None
    ) -> None:
        self._workload, self._text_generator, self._count_tokens = workload, text_generator, count_tokens
        self._reader: DatasetReader | None = None
        self._expected_count: int | None = None
        self._yielded_count = 0

    @property
    def is_truncated(self) -> bool:
        return (self._reader is not None and self._reader.is_truncated) or (
            self._expected_count is not None and self._yielded_count < self._expected_count
        )

    def iterate_sessions(self) -> Iterator[Session]:
        cache_bust = self._workload.cache_bust
        text = None if cache_bust is None else build_cache_bust_text(cache_bust.key)
        for session in self._open_sessions():
            self._yielded_count += 1
            if text is not None:
                prompts = [add_cache_bust_text(prompt, text) for prompt in session.prompts]
                session = msgspec.structs.replace(session, prompts=prompts)
            yield session

    def iterate_graphs(self) -> Iterator[SessionGraph]:
        workload, prompts = self._workload, self._workload.prompts
        if isinstance(prompts, SessionPrompts):
            self._reader = DatasetReader(prompts.dataset, MAX_REQUESTS_BYTES)
            yield from read_session_graphs(self._reader, self._text_generator, MAX_REQUESTS_BYTES)
            return
        assert isinstance(prompts, SyntheticPrompts)
        self._expected_count = prompts.unique
        for graph in generate_session_graphs(
            prompts, self._text_generator, workload.popularity, workload.seed, MAX_REQUESTS_BYTES
        ):
            self._yielded_count += 1
            yield graph

    def _open_sessions(self) -> Iterator[Session]:
        workload, prompts = self._workload, self._workload.prompts
        match prompts:
            case SyntheticPrompts():
                if prompts.turns is not None and workload.api in ("embeddings", "rerank", "speech", "images"):
                    raise PromptError(NO_SESSIONS_TEXT)
                self._expected_count = prompts.unique
                texts_per_prompt = workload.documents + 1 if workload.api == "rerank" else 1
                return generate_sessions(
                    prompts,
                    self._text_generator,
                    workload.popularity,
                    workload.seed,
                    texts_per_prompt=texts_per_prompt,
                    limit_bytes=MAX_REQUESTS_BYTES,
                )
            case TracePrompts():
                self._expected_count = len(prompts.input_tokens) // 4
                return build_sessions_from_trace(prompts, self._text_generator, MAX_REQUESTS_BYTES, workload.seed)
            case DatasetPrompts():
                self._reader = DatasetReader(prompts.dataset, MAX_REQUESTS_BYTES)
                sessions = build_sessions_from_dataset(prompts, self._reader, self._count_tokens)
                return build_reranking_sessions(sessions, workload.documents) if workload.api == "rerank" else sessions
            case SessionPrompts():
                raise AssertionError("the requests of live sessions are no prepared prompts")


class _PackedRequests:
    """Serialized requests and their order in sessions.

    `result_counts` has the expected number of results for each request. `first_prompt` is the prompt
    of the first request; None if the requests are built from live sessions.
    """

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.first_prompt: Prompt | None = None
        self.result_counts: list[int] = []
        self.max_output_tokens: list[int | None] = []
        self.prompt_hashes: set[int] = set()
        self.session_starts: list[int] = []
        self.next_request_indices: list[int | None] = []
        self.think_times_ns: list[int] = []
        self.is_stream = False
        self.is_truncated = False

    @property
    def sessions(self) -> Sessions:
        return Sessions(self.next_request_indices, self.think_times_ns)

    def add(
        self, requests: list[bytes], result_counts: list[int], max_output_tokens: list[int | None], session: Session
    ) -> None:
        first_index = len(self.requests)
        self.session_starts.append(first_index)
        self.requests += requests
        self.result_counts += result_counts
        self.max_output_tokens += max_output_tokens
        self.next_request_indices += [*range(first_index + 1, first_index + len(requests)), None]
        self.think_times_ns += session.think_times_ns

    def build_notes(self, is_truncated: bool) -> tuple[str, ...]:
        if not (is_truncated or self.is_truncated):
            return ()
        session_count, request_count = len(self.session_starts), len(self.requests)
        used_text = (
            f"{request_count:,} requests"
            if session_count == request_count
            else f"{session_count:,} sessions ({request_count:,} requests)"
        )
        return (f"only the first {used_text} were used, because more would exceed {MAX_REQUESTS_BYTES >> 20} MiB",)


def _pack_requests(
    sessions: Iterator[Session], workload: OpenAiWorkload, encode_request_body: Callable[[bytes], bytes]
) -> _PackedRequests:
    """Serialize the requests of as many complete sessions as fit into the memory limit. Raises
    PromptError if no session fits."""
    packed_requests = _PackedRequests()
    extra_body = decode_extra_body(workload.extra_body)
    remaining_bytes = MAX_REQUESTS_BYTES
    for session in sessions:
        requests: list[bytes] = []
        max_output_tokens: list[int | None] = []
        for prompt in session.prompts:
            body = merge_patch(build_body(workload, prompt), extra_body)
            packed_requests.first_prompt = packed_requests.first_prompt or prompt
            packed_requests.is_stream = body.get("stream") is True
            requests.append(encode_request_body(encode_body(body)))
            max_output_tokens.append(get_max_output_tokens(body))
            packed_requests.prompt_hashes.add(hash_prompt(body))
            remaining_bytes -= len(requests[-1])
            if remaining_bytes < 0:
                break
        if remaining_bytes < 0:
            if not packed_requests.requests:
                raise PromptError(f"a single request or session exceeds {MAX_REQUESTS_BYTES >> 20} MiB")
            packed_requests.is_truncated = True
            break
        packed_requests.add(
            requests, [count_results(workload.api, prompt) for prompt in session.prompts], max_output_tokens, session
        )
    return packed_requests


def _pack_live_sessions(
    graphs: Iterator[SessionGraph],
    workload: OpenAiWorkload,
    live: LiveHistory,
    encode_request_body: Callable[[bytes], bytes],
) -> tuple[_PackedRequests, OpenAiSessions]:
    """Serialize the first request of each session. An empty body takes the place of each further
    request."""
    packed_requests = _PackedRequests()
    live_sessions = OpenAiSessions(workload, live, packed_requests.requests)
    for session_number, graph in enumerate(graphs):
        first_request = encode_request_body(live_sessions.add(graph, len(packed_requests.requests)))
        later_count = len(graph.requests) - 1
        bodies = [live_sessions.get_settings(request.output_tokens) for request in graph.requests]
        packed_requests.session_starts.append(len(packed_requests.requests))
        packed_requests.requests += [first_request, *[b""] * later_count]
        packed_requests.result_counts += [1] * len(bodies)
        packed_requests.max_output_tokens += map(get_max_output_tokens, bodies)
        packed_requests.prompt_hashes |= {
            hash((session_number if index else 0, graph.prefix, request.text))
            for index, request in enumerate(graph.requests)
        }
        packed_requests.is_stream = bodies[0].get("stream") is True
    return packed_requests, live_sessions


def _build_request_indices(workload: OpenAiWorkload, packed_requests: _PackedRequests) -> list[int] | None:
    """Return the index of the request for each arrival, or of the first request of a session.
    Return None if the requests are sent in order.

    The popularity applies to single prompts or whole sessions. It does not apply to a trace, which
    itself determines the order of the requests.
    """
    if isinstance(workload.prompts, TracePrompts):
        return None
    session_starts = packed_requests.session_starts
    session_indices = draw_indices(workload.popularity, len(session_starts), workload.seed)
    if len(session_starts) == len(packed_requests.requests):
        return None if session_indices is None else list(session_indices)
    return (
        session_starts
        if session_indices is None
        else [session_starts[session_index] for session_index in session_indices]
    )


def _build_length_notes(workload: OpenAiWorkload, text_generator: TextGenerator) -> Iterator[str]:
    if isinstance(workload.prompts, DatasetPrompts):
        return
    if isinstance(workload.prompts, SyntheticPrompts) and (workload.prompts.images or workload.prompts.audio):
        yield "prompt lengths do not include the tokens of images and audio clips, which only the server knows"
    if isinstance(workload.prompts, SessionPrompts) and workload.tokenizer is None:
        yield "lengths of generated texts are approximate, because without a tokenizer each word counts as one token"
    elif workload.tokenizer is None:
        yield "prompt lengths are approximate, because without a tokenizer each word counts as one token"
    elif text_generator.inexact_count:
        yield (
            f"{text_generator.inexact_count:,} prompts differ slightly from the drawn length, because the tokenizer "
            "has no text of exactly that length"
        )


_NOT_STREAMED = ResponseCheck(note="the server does not stream, so token times are unknown")


def _build_check(workload: OpenAiWorkload, result_counts: list[int], count_tokens: CountTokens | None) -> CheckResponse:
    api: OpenAiApi = workload.api
    if api == "speech":
        return check_speech
    if api == "images":
        return build_image_check(workload.extra_body)

    def check(exchange: Exchange) -> ResponseCheck:
        error, reader = classify_status(exchange.status or 0), exchange.reader
        if error is None and isinstance(reader, OpenAiReader):
            error, exchange.detail = reader.end(exchange.headers), reader.detail
            if error is None and not reader.is_streamed:
                return _NOT_STREAMED
        elif error is None:
            expected_count = result_counts[exchange.request_index] if api in ("embeddings", "rerank") else 1
            response = decode_response(api, exchange.body, expected_count=expected_count, count_tokens=count_tokens)
            error, exchange.tokens, exchange.detail = response.error, response.tokens, response.detail
        return RESPONSE_OK if error is None else ResponseCheck(error)

    return check
