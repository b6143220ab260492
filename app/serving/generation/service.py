"""Generation for the requests of an endpoint: queue, tokens, cancellation, drain and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from time import perf_counter_ns
from typing import Protocol

import msgspec

from app.errors import SizewiseError
from app.inference.generation.engine import FinishReason, GenerationTask, TokenEvent
from app.serving.batching import DrainingError
from app.serving.generation.engine_loop import EngineLoop, StepEngine
from app.serving.generation.metrics import GenerationMetrics
from app.serving.generation.scheduling import BatchLimits, Scheduler, count_blocks


class TokenDecoder(Protocol):
    def decode(self, token: int) -> str: ...


class TextTokenizer(Protocol):
    """Tokenizer of a model, with its chat template."""

    def encode(self, text: str) -> tuple[int, ...]: ...

    def format_chat(self, messages: Sequence[dict[str, str]]) -> str: ...

    def create_text_stream(self) -> TokenDecoder: ...


class ResponseText:
    """Text of one response. Text that may be the start of a stop string is withheld until it is
    known whether the stop string follows."""

    def __init__(self, decoder: TokenDecoder, stop: tuple[str, ...]) -> None:
        self._decoder, self._stop = decoder, stop
        self._withheld = ""

    def add(self, token: int) -> str:
        """Add a token, and return the text that can be sent."""
        text = self._withheld + self._decoder.decode(token)
        length = len(text) - max((_count_started(text, stop) for stop in self._stop), default=0)
        self._withheld = text[length:]
        return text[:length]

    def finish(self, token: int | None, *, is_stopped: bool) -> str:
        """Add the last token, and return the rest of the text. If the response was ended by a stop
        string, the rest ends before it."""
        text = self._withheld if token is None else self._withheld + self._decoder.decode(token)
        ends = [index for stop in self._stop if is_stopped and (index := text.find(stop)) >= 0]
        return text[: min(ends, default=len(text))]


def _count_started(text: str, stop: str) -> int:
    """Return the length of the longest end of a text with which `stop` starts."""
    longest = min(len(stop) - 1, len(text))
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)


class ResponsePart(msgspec.Struct, frozen=True):
    """Part of a response: the text that one token adds, or the end of the response, or both.
    `tokens` is the number of tokens generated so far. `cached_tokens` is set at the end."""

    text: str
    tokens: int
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0


class AcceptedRequest:
    """A request whose response is generated. `parts` receives its response, up to the part with a finish
    reason."""

    def __init__(
        self, request_id: int, task: GenerationTask, arrived_ns: int, text: ResponseText, *, is_streamed: bool
    ) -> None:
        self.id = request_id
        self.task = task
        self.arrived_ns = arrived_ns
        self.parts: asyncio.Queue[ResponsePart] = asyncio.Queue()
        self.tokens = 0
        self._text = text
        self._first_ns = self._last_ns = 0
        self._is_streamed = is_streamed
        self._is_started = False

    def add(self, event: TokenEvent, now_ns: int, metrics: GenerationMetrics) -> None:
        """Add a token or the end of the response, and count it."""
        if event.token is not None:
            self._count_token(now_ns, metrics)
        if event.finish_reason is not None:
            text = self._text.finish(event.token, is_stopped=event.finish_reason is FinishReason.STOP)
            self._count_end(event, metrics)
        else:
            text = "" if event.token is None else self._text.add(event.token)
        self.parts.put_nowait(ResponsePart(text, self.tokens, event.finish_reason, event.cached_tokens))

    def count_sent(self, finish_reason: FinishReason | None, now_ns: int, metrics: GenerationMetrics) -> None:
        """Count that a part of the response was sent at `now_ns`: the time to the first token of a
        stream, and the latency of a response that has ended."""
        if not self._is_started:
            self._count_start(now_ns, metrics)
        if finish_reason in (FinishReason.STOP, FinishReason.LENGTH):
            metrics.request_latency.observe((now_ns - self.arrived_ns) / 1e9)

    def _count_start(self, now_ns: int, metrics: GenerationMetrics) -> None:
        metrics.time_to_first_token.observe((now_ns - self.arrived_ns) / 1e9)
        self._is_started = True

    def _count_token(self, now_ns: int, metrics: GenerationMetrics) -> None:
        if self.tokens == 0:
            if not self._is_streamed:
                self._count_start(now_ns, metrics)
            metrics.prompt_tokens += len(self.task.prompt)
            self._first_ns = now_ns
        else:
            metrics.inter_token_latency.observe((now_ns - self._last_ns) / 1e9)
        self.tokens += 1
        self._last_ns = now_ns
        metrics.generation_tokens += 1

    def _count_end(self, event: TokenEvent, metrics: GenerationMetrics) -> None:
        assert event.finish_reason is not None
        metrics.finished[event.finish_reason] += 1
        if event.finish_reason in (FinishReason.STOP, FinishReason.LENGTH):
            metrics.prefix_cache_queries += len(self.task.prompt)
            metrics.prefix_cache_hits += event.cached_tokens
            if self.tokens > 1:
                metrics.time_per_output_token.observe((self._last_ns - self._first_ns) / 1e9 / (self.tokens - 1))


class GenerationService:
    """Generation for all requests of an endpoint. All methods must be called on the event loop's
    thread. `on_failure` is called after all requests have been ended, if the engine fails."""

    def __init__(
        self,
        open_engine: Callable[[], StepEngine],
        tokenizer: TextTokenizer,
        limits: BatchLimits,
        queue_limit: int,
        metrics: GenerationMetrics,
        on_failure: Callable[[], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.tokenizer = tokenizer
        self.limits = limits
        self.metrics = metrics
        self.failure: SizewiseError | None = None
        self.is_aborted = False
        self._on_failure = on_failure
        self._accepted_requests: dict[int, AcceptedRequest] = {}
        self._ids = count()
        self._drained_event: asyncio.Event | None = None
        self._engine_loop = EngineLoop(
            open_engine,
            Scheduler(limits, queue_limit),
            lambda events: loop.call_soon_threadsafe(self._on_events, events),
            lambda error: loop.call_soon_threadsafe(self._fail, error),
        )
        self._engine_loop.start()

    @property
    def is_available(self) -> bool:
        """True if requests are accepted: the engine has not failed, and the endpoint is not
        draining."""
        return self.failure is None and self._drained_event is None

    def submit(self, task: GenerationTask, arrived_ns: int, *, is_streamed: bool) -> AcceptedRequest:
        """Queue a request. Raises QueueFullError if the queue is full, and DrainingError if no
        further requests are accepted."""
        if not self.is_available:
            raise DrainingError
        text = ResponseText(self.tokenizer.create_text_stream(), task.stop)
        accepted = AcceptedRequest(next(self._ids), task, arrived_ns, text, is_streamed=is_streamed)
        self._engine_loop.submit(accepted.id, task)
        self._accepted_requests[accepted.id] = accepted
        return accepted

    def cancel(self, accepted: AcceptedRequest) -> None:
        """Cancel a request, unless it has ended."""
        if accepted.id in self._accepted_requests and self._engine_loop.cancel(accepted.id):
            self._on_events([TokenEvent(accepted.id, None, FinishReason.CANCELLED)])

    async def drain(self) -> None:
        """Reject further requests, and wait until all accepted requests have ended."""
        if self._drained_event is None:
            self._drained_event = asyncio.Event()
            self._notify_drained()
        await self._drained_event.wait()

    def abort(self) -> None:
        """End all accepted requests with an error, because the endpoint stops."""
        self.is_aborted = True
        request_ids = [*self._accepted_requests]
        for request_id in request_ids:
            self._engine_loop.cancel(request_id)
        self._end(request_ids)

    def close(self) -> None:
        """Stop the engine after its current step."""
        self._engine_loop.close()

    def format_metrics(self) -> str:
        running, waiting = self._engine_loop.count_requests()
        return self.metrics.format_metrics(running, waiting, self._compute_cache_usage())

    def _compute_cache_usage(self) -> float | None:
        """Return the share of the blocks that the tokens so far occupy; blocks that several
        requests share through the prefix cache are counted once per request."""
        cache = self.limits.cache
        if cache is None:
            return None
        used_blocks = sum(
            count_blocks(len(accepted.task.prompt) + accepted.tokens, cache)
            for accepted in self._accepted_requests.values()
            if accepted.tokens
        )
        return min(1.0, used_blocks / cache.blocks)

    def _on_events(self, events: Sequence[TokenEvent]) -> None:
        now_ns = perf_counter_ns()
        for event in events:
            if self.is_aborted and event.request_id not in self._accepted_requests:
                continue  # The engine had not yet cancelled the request.
            self._accepted_requests[event.request_id].add(event, now_ns, self.metrics)
            if event.finish_reason is not None:
                del self._accepted_requests[event.request_id]
        self._notify_drained()

    def _fail(self, error: SizewiseError) -> None:
        self.failure = error
        self._end([*self._accepted_requests])
        self._on_failure()

    def _end(self, request_ids: Sequence[int]) -> None:
        self._on_events([TokenEvent(request_id, None, FinishReason.FAILED) for request_id in request_ids])

    def _notify_drained(self) -> None:
        if self._drained_event is not None and not self._accepted_requests:
            self._drained_event.set()
