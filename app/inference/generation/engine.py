"""Generate tokens for many requests at once, with the Engine of ONNX Runtime GenAI.

Requests to a model with a paged KV cache are batched continuously: a request joins the batch at any
step, and its prompt is processed in chunks and taken from the prefix cache where possible. All
other models process static batches: a batch of requests starts together, and the next batch starts
when all of them have ended.
"""

from __future__ import annotations

import contextlib
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
import onnxruntime_genai as genai

from app.errors import MeasurementError

_EVENTS_PER_REQUEST = 8
"""Maximum number of events of a request in one step. With a smaller buffer, the events of one step
would be split over several calls."""
_MAX_STALLED_STEPS = 1000
_CAPACITY_BLOCKED, _FAILED = 4, 8


class FinishReason(StrEnum):
    """Reason why the generation for a request ended."""

    STOP = "stop"
    """The model generated an end token or a stop string."""
    LENGTH = "length"
    """The maximum number of tokens was generated."""
    CANCELLED = "abort"
    FAILED = "error"


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are selected. For values that are `None`, the model's own configuration applies.

    A temperature of 0 selects the most probable token. Equal seeds give equal tokens."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None


class GenerationTask(msgspec.Struct, frozen=True, kw_only=True):
    """A request to generate tokens. End tokens are not generated before `min_tokens`."""

    prompt: tuple[int, ...]
    max_tokens: int
    min_tokens: int = 0
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()

    @property
    def max_length(self) -> int:
        """Maximum number of tokens of the prompt and the response."""
        return len(self.prompt) + self.max_tokens


class TokenEvent(msgspec.Struct, frozen=True):
    """A generated token of a request, or the end of the request, or both. `cached_tokens` is the
    number of prompt tokens that the prefix cache served, and is set when the request has ended."""

    request_id: int
    token: int | None
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0


_FINISH_REASONS = {
    genai.FinishReason.EOS: FinishReason.STOP,
    genai.FinishReason.STOP_STRING: FinishReason.STOP,
    genai.FinishReason.MAX_GENERATED_TOKENS: FinishReason.LENGTH,
    genai.FinishReason.MAX_SESSION_TOKENS: FinishReason.LENGTH,
    genai.FinishReason.CANCELLED: FinishReason.CANCELLED,
    genai.FinishReason.FAILED: FinishReason.FAILED,
}


class GenerationEngine:
    """Engine that generates one step at a time. All methods must be called on the thread on which
    the object is created.

    The engine never preempts a request, so the caller must start only requests whose tokens fit
    into the KV cache together, up to the end of each of them."""

    def __init__(self, model: Any, max_batch: int) -> None:
        self._engine = genai.Engine(model)
        self._events = self._engine.create_event_buffer(max_batch * _EVENTS_PER_REQUEST)
        self._turns: dict[int, tuple[Any, int]] = {}
        """Native request, and ID of its turn, by request ID. ONNX Runtime GenAI abandons a native
        request without any reference."""
        self._ids_by_native: dict[int, int] = {}
        self._stalled_steps = 0

    def start(self, request_id: int, task: GenerationTask) -> None:
        """Add a request to the batch. Raises MeasurementError if the task is invalid."""
        try:
            request_options = genai.RequestOptions()
            request_options.set_max_session_tokens(task.max_length)
            native = self._engine.create_request(options=request_options)
            turn_id = native.begin_turn(np.array(task.prompt, np.int32), _build_options(native, task))
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            raise MeasurementError(f"the request was rejected by the engine: {error}") from error
        self._turns[request_id] = native, turn_id
        self._ids_by_native[id(native)] = request_id

    def cancel(self, request_id: int) -> None:
        """Cancel a request. Its end is reported by the next step, unless it has already ended.

        Raises MeasurementError if the engine cannot cancel the request. It is then removed from the
        batch, and no further events are reported for it."""
        if (turn := self._turns.get(request_id)) is None:
            return
        native, turn_id = turn
        try:
            native.cancel_turn(turn_id)
        except RuntimeError as error:
            del self._turns[request_id], self._ids_by_native[id(native)]
            with contextlib.suppress(RuntimeError):  # A closed request emits no events.
                native.close()
            raise MeasurementError(f"the request was not cancelled by the engine: {error}") from error

    def step(self) -> list[TokenEvent]:
        """Process one step of the batch, and return its events in order. Requests that have ended
        are removed, and their part of the KV cache is freed.

        Raises MeasurementError if the engine fails; it cannot be used after that."""
        try:
            self._engine.run(self._events)
        except RuntimeError as error:
            raise MeasurementError(f"the engine failed: {error}") from error
        events = []
        is_blocked = False
        for native_event in self._events:
            flags = int(native_event.flags.value)
            if flags & _FAILED:
                raise MeasurementError(f"the engine failed: {native_event.error_code.name}")
            if flags & _CAPACITY_BLOCKED:
                is_blocked = True
            else:
                events.append(self._convert(native_event))
        self._stalled_steps = self._stalled_steps + 1 if is_blocked and not events else 0
        if self._stalled_steps > _MAX_STALLED_STEPS:
            raise MeasurementError("the engine stalled, because the KV cache is exhausted")
        return events

    def _convert(self, native_event: Any) -> TokenEvent:
        request_id = self._ids_by_native[id(native_event.request)]
        finish_reason = _FINISH_REASONS.get(native_event.finish_reason)
        if finish_reason is None:
            return TokenEvent(request_id, native_event.token)
        native, _ = self._turns.pop(request_id)
        del self._ids_by_native[id(native)]
        event = TokenEvent(request_id, native_event.token, finish_reason, native_event.usage.cached_prompt_tokens)
        native.close()
        return event


def _build_options(native: Any, task: GenerationTask) -> Any:
    options = genai.TurnOptions(native)
    options.set_max_generated_tokens(task.max_tokens)
    options.set_min_generated_tokens(task.min_tokens)
    sampling = task.sampling
    if sampling.temperature is not None:
        options.set_do_sample(sampling.temperature > 0)
        options.set_temperature(sampling.temperature)
    if sampling.top_p is not None:
        options.set_top_p(sampling.top_p)
    if sampling.top_k is not None:
        options.set_top_k(sampling.top_k)
    if sampling.seed is not None:
        options.set_seed(sampling.seed)
    if task.stop:
        options.set_stop_strings(list(task.stop))
    return options
