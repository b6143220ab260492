"""The OpenAI-compatible APIs: requests from prompts, and how their answers are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from loadgen.payloads.datasets import DatasetError, DatasetReading, picks
from loadgen.payloads.lengths import LengthError
from loadgen.payloads.prompts import PromptError, Session, of_dataset, synthetic, traced
from loadgen.payloads.texts import TextMaker, TokenizerError, counter_of
from loadgen.protocols.built import (
    AS_PROMISED,
    MAX_BUILT_BYTES,
    Built,
    Judge,
    ResponseCheck,
    Sessions,
    WorkloadError,
    status_error,
)
from loadgen.protocols.http import request_bytes
from loadgen.protocols.openai_bodies import (
    Api,
    asked_tokens,
    body_of,
    encoded,
    for_reranking,
    merged,
    prompt_hash,
    read_answer,
    read_extra,
    size_of,
)
from loadgen.protocols.openai_chunks import CountTokens
from loadgen.protocols.openai_stream import OpenAiReader
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


def build_openai(workload: OpenAiWorkload, endpoint: Endpoint, address: Address) -> Built:
    """The answer is read as a stream when the request, after `extra_body`, asks for one. Raises WorkloadError."""
    base, _, query = address.path.partition("?")
    path = base.rstrip("/") + PATHS[workload.api] + (f"?{query}" if query else "")
    try:
        count_tokens = None if workload.tokenizer is None else counter_of(workload.tokenizer)
        maker = TextMaker(np.random.default_rng([workload.seed, 0]), count_tokens)
        source = _Source(workload, maker)
        packed = _pack(source.sessions(), workload, lambda body: _request(path, body, endpoint, address))
    except TokenizerError as error:
        raise WorkloadError(str(error), hint=error.hint) from error
    except (DatasetError, LengthError, PromptError) as error:
        raise WorkloadError(str(error)) from error
    is_stream = packed.is_stream and workload.api in ("chat", "completions", "responses")
    return Built(
        requests=packed.requests,
        judge=_judge_of(workload.api, packed.sizes, count_tokens),
        shown=f"POST {address.shown(path)}",
        new_reader=(lambda: OpenAiReader(workload.api, count_tokens)) if is_stream else None,
        picks=_picks(workload, packed),
        tokens_asked=packed.tokens_asked if any(packed.tokens_asked) else None,
        distinct=len(packed.prompts),
        sessions=packed.sessions if len(packed.starts) < len(packed.requests) else None,
        notes=(*_length_notes(workload, maker), *packed.notes(source.was_cut)),
    )


def _request(path: str, body: bytes, endpoint: Endpoint, address: Address) -> bytes:
    return request_bytes("POST", path, address, [("Content-Type", "application/json"), *endpoint.headers], body)


class _Source:
    """Where prompts come from. `was_cut` is known when they have all been read."""

    def __init__(self, workload: OpenAiWorkload, maker: TextMaker) -> None:
        self._workload, self._maker = workload, maker
        self._reading: DatasetReading | None = None
        self._wanted: int | None = None
        self._made = 0

    @property
    def was_cut(self) -> bool:
        return (self._reading is not None and self._reading.was_cut) or (
            self._wanted is not None and self._made < self._wanted
        )

    def sessions(self) -> Iterator[Session]:
        for session in self._open():
            self._made += 1
            yield session

    def _open(self) -> Iterator[Session]:
        workload, prompts = self._workload, self._workload.prompts
        match prompts:
            case SyntheticPrompts():
                if prompts.turns is not None and workload.api in ("embeddings", "rerank"):
                    raise PromptError("sessions of several turns are for chat, completions and responses")
                self._wanted = prompts.unique
                texts = workload.documents + 1 if workload.api == "rerank" else 1
                return synthetic(
                    prompts, self._maker, workload.popularity, workload.seed, texts=texts, limit_bytes=MAX_BUILT_BYTES
                )
            case TracePrompts():
                self._wanted = len(prompts.input_tokens) // 4
                return traced(prompts, self._maker, MAX_BUILT_BYTES)
            case DatasetPrompts():
                self._reading = DatasetReading(prompts.dataset, MAX_BUILT_BYTES)
                sessions = of_dataset(prompts, self._reading)
                return for_reranking(sessions, workload.documents) if workload.api == "rerank" else sessions


class _Packed:
    """Requests, and how they follow each other. `sizes` are the texts each of them holds."""

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
        made = f"{requests:,} requests" if sessions == requests else f"{sessions:,} sessions ({requests:,} requests)"
        return (f"only the first {made} were used: more would take over {MAX_BUILT_BYTES >> 20} MiB",)


def _pack(sessions: Iterator[Session], workload: OpenAiWorkload, request: Callable[[bytes], bytes]) -> _Packed:
    """As many whole sessions as the memory for them holds."""
    packed = _Packed()
    extra = read_extra(workload.extra_body)
    left_bytes = MAX_BUILT_BYTES
    for session in sessions:
        requests: list[bytes] = []
        asked: list[int | None] = []
        for prompt in session.prompts:
            body = merged(body_of(workload, prompt), extra)
            packed.is_stream = body.get("stream") is True
            requests.append(request(encoded(body)))
            asked.append(asked_tokens(body))
            packed.prompts.add(prompt_hash(body))
            left_bytes -= len(requests[-1])
            if left_bytes < 0:
                break
        if left_bytes < 0:
            if not packed.requests:
                raise PromptError(f"a single request or session takes over {MAX_BUILT_BYTES >> 20} MiB")
            packed.was_cut = True
            break
        packed.add(requests, [size_of(workload.api, prompt) for prompt in session.prompts], asked, session)
    return packed


def _picks(workload: OpenAiWorkload, packed: _Packed) -> list[int] | None:
    """Popularity is of prompts, or of whole sessions; a trace has an order of its own."""
    if isinstance(workload.prompts, TracePrompts):
        return None
    starts = packed.starts
    order = picks(workload.popularity, len(starts), workload.seed)
    if len(starts) == len(packed.requests):
        return None if order is None else list(order)
    return starts if order is None else [starts[number] for number in order]


def _length_notes(workload: OpenAiWorkload, maker: TextMaker) -> Iterator[str]:
    if isinstance(workload.prompts, DatasetPrompts):
        return
    if workload.tokenizer is None:
        yield "prompt lengths are approximate: without a tokenizer a word counts as a token"
    elif maker.missed:
        yield f"the tokenizer has no text of just the length drawn for {maker.missed:,} texts: those are a little off"


_UNSTREAMED = ResponseCheck(note="the server does not stream: its answers have no times of tokens")


def _judge_of(api: Api, sizes: list[int], count_tokens: CountTokens | None) -> Judge:
    def judge(exchange: Exchange) -> ResponseCheck:
        error, reader = status_error(exchange.status or 0), exchange.reader
        if error is None and isinstance(reader, OpenAiReader):
            error, exchange.detail = reader.end(exchange.headers), reader.detail
            if error is None and not reader.is_streamed:
                return _UNSTREAMED
        elif error is None:
            asked = sizes[exchange.number]
            answer = read_answer(api, exchange.body, asked=asked, count_tokens=count_tokens)
            error, exchange.tokens = answer.error, answer.tokens
        return AS_PROMISED if error is None else ResponseCheck(error)

    return judge
