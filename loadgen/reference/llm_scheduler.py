"""Scheduler of the reference LLM server, simulated as in vLLM V1: continuous batching with chunked
prefill, a prefix cache, and preemption by recomputation.

The scheduler has no clock. It computes all steps up to a time that the caller passes, from the
times of arrivals and cancellations. The same times therefore always result in the same steps.
"""

from __future__ import annotations

import heapq
import random
from bisect import insort
from collections.abc import Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Literal

import msgspec

from loadgen.reference.kv_cache import KvCache, extend_block_hashes

_WORD_COUNT = 4096
_DEFAULT_CONTEXT_TOKENS = 32_768
_MASK = 2**64 - 1

Positive = Annotated[int, msgspec.Meta(gt=0, le=2**31 - 1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
FinishReason = Literal["stop", "length", "abort"]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=3_600_000)]


class RequestScript(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is different about a request, besides its tokens.

    It cannot be admitted before `extra_queue_ms`, starts its prefill `extra_prefill_ms` after it
    was admitted, and pauses for `extra_decode_ms` after each token, and for `stall_ms` after token
    `stall_after_token`. The first `reasoning_tokens` tokens are reasoning; the others are the
    arguments of a tool call if `is_tool_call`. The connection is closed after token
    `cut_after_token`. With `error_status`, the response is this error, without any processing.
    """

    extra_queue_ms: Milliseconds = 0.0
    extra_prefill_ms: Milliseconds = 0.0
    extra_decode_ms: Milliseconds = 0.0
    stall_after_token: NotNegative = 0
    stall_ms: Milliseconds = 0.0
    reasoning_tokens: NotNegative = 0
    is_tool_call: bool = False
    cut_after_token: Positive | None = None
    error_status: Annotated[int, msgspec.Meta(ge=400, le=599)] | None = None


class ScriptShare(RequestScript, frozen=True, kw_only=True):
    """Script of a random share of the requests that do not contain a script themselves."""

    share: Annotated[float, msgspec.Meta(gt=0, le=1)]


class LlmConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the reference LLM server. Settings that vLLM has, too, have vLLM's names.

    A step takes `step_ms`, plus `prefill_token_ms` for each token of a prompt and `decode_seq_ms`
    for each sequence that is decoded. The time is multiplied by a lognormal factor with median 1 if
    `step_sigma` is not 0. A response ends by itself after a number of tokens that is distributed
    uniformly from `min_output_tokens` to `max_output_tokens`, and is a function of the prompt.
    """

    served_model_name: str = "reference"
    max_num_seqs: Positive = 256
    max_num_batched_tokens: Positive = 2048
    max_model_len: Positive | None = None
    """Maximum number of tokens of a prompt with its response; `None` for 32,768, or the capacity of
    the KV cache if that is smaller."""
    block_size: Positive = 16
    num_gpu_blocks: Positive | None = 16_384
    """Capacity of the KV cache; `None` for no limit."""
    enable_prefix_caching: bool = True
    scheduling_policy: Literal["fcfs", "priority"] = "fcfs"
    seed: NotNegative = 0
    step_ms: Annotated[float, msgspec.Meta(ge=0.05, le=60_000)] = 6.0
    prefill_token_ms: Milliseconds = 0.05
    decode_seq_ms: Milliseconds = 0.05
    step_sigma: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0.0
    min_output_tokens: Positive = 128
    max_output_tokens: Positive = 128
    scripts: tuple[ScriptShare, ...] = ()

    def __post_init__(self) -> None:
        if self.max_model_len is not None and self.context_tokens < self.max_model_len:
            raise ValueError(
                f"max_model_len is {self.max_model_len}, but the KV cache has {self.context_tokens} tokens. Use a "
                "smaller max_model_len or more num_gpu_blocks."
            )
        if self.min_output_tokens > self.max_output_tokens:
            raise ValueError("min_output_tokens must not exceed max_output_tokens")
        if sum(script.share for script in self.scripts) > 1 + 1e-9:
            raise ValueError("the shares of scripts must not exceed 1 in total")

    @property
    def context_tokens(self) -> int:
        """Maximum number of tokens of a prompt with its response."""
        max_tokens = self.max_model_len or _DEFAULT_CONTEXT_TOKENS
        return max_tokens if self.num_gpu_blocks is None else min(max_tokens, self.num_gpu_blocks * self.block_size)


class LlmRequest:
    """Request to the scheduler, with its state. It generates `output_count` tokens.

    Its words are a function of the prompt and the seed only. All times are in ns on the clock of
    the caller; `None` until they are known.
    """

    def __init__(
        self,
        request_id: str,
        prompt: Sequence[str],
        arrival_ns: int,
        output_count: int = 1,
        *,
        seed: int = 0,
        priority: int = 0,
        finish_reason: FinishReason = "length",
        script: RequestScript | None = None,
    ) -> None:
        self.request_id, self.arrival_ns, self.output_count = request_id, arrival_ns, output_count
        self.priority, self.finish_reason, self.script = priority, finish_reason, script or RequestScript()
        self.tokens = list(prompt)
        self.prompt_count = len(self.tokens)
        self.cached_count: int | None = None
        """Number of prompt tokens that the prefix cache had when the request was first admitted."""
        self.preemption_count = 0
        self.admitted_ns: int | None = None
        self.is_finished = False
        self.computed_count = 0
        self.blocked_until_ns = arrival_ns + round(self.script.extra_queue_ms * 1e6)
        self.blocks: list[int] = []
        self.hashes: list[bytes] = []
        self.stored_count = 0
        self.word_base = hash_prompt(prompt, seed)

    @property
    def generated_count(self) -> int:
        return len(self.tokens) - self.prompt_count

    @property
    def is_decoding(self) -> bool:
        return self.generated_count > 0 and self.computed_count == len(self.tokens) - 1

    def generate_word(self) -> str:
        index, script = self.generated_count, self.script
        word = f"w{_mix(self.word_base + index) % _WORD_COUNT:03x}"
        if script.is_tool_call and index >= script.reasoning_tokens:
            prefix = '{"input":"' if index == script.reasoning_tokens else ""
            return f"{prefix}{word}" + ('"}' if index == self.output_count - 1 else "")
        return word


def hash_prompt(prompt: Sequence[str], seed: int) -> int:
    """Return a number that determines the response to a prompt."""
    return int.from_bytes(blake2b(f"{seed} {' '.join(prompt)}".encode(), digest_size=8).digest())


def _mix(state: int) -> int:
    """Return a pseudorandom 64-bit number (SplitMix64)."""
    mixed = (state * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


class EventKind(StrEnum):
    ARRIVED = "arrived"
    ADMITTED = "admitted"
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    TOKEN = "token"
    FINISHED = "finished"
    STEP = "step"
    REJECTED = "rejected"


class SchedulerEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Event of one request at `at_ns`, or the start of a step, which ends at `end_ns`.

    `cached_tokens` is the number of tokens that an admitted request did not need to compute, and
    `evicted` the hashes of the blocks that were evicted for it. `computed_tokens` were lost by a
    preemption. `token` is the number of a generated token, from 1, or of the last one. `sent_ns` is
    when the server wrote the token, or the end of the response.
    """

    kind: EventKind
    at_ns: int
    request_id: str = ""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    computed_tokens: int | None = None
    evicted: tuple[str, ...] = ()
    token: int | None = None
    sent_ns: int | None = None
    finish_reason: FinishReason | None = None
    end_ns: int | None = None
    prefill_tokens: int | None = None
    decode_sequences: int | None = None


class _Step(msgspec.Struct):
    end_ns: int
    scheduled: dict[LlmRequest, int]


class LlmScheduler:
    """Scheduler of all requests. `on_event` is called for each event, in order.

    Times that are passed must not decrease, except that `advance` may be called with any time
    between them.
    """

    def __init__(self, config: LlmConfig) -> None:
        self._config = config
        self._cache = KvCache(config.num_gpu_blocks)
        self._random = random.Random(config.seed)
        self._inputs: list[tuple[int, int, LlmRequest, bool]] = []
        self._input_count = 0
        self._waiting: list[LlmRequest] = []
        self._running: list[LlmRequest] = []
        self._step: _Step | None = None
        self._now_ns = 0
        self._events: list[tuple[SchedulerEvent, LlmRequest | None]] = []
        self.preemption_count = self.prefix_query_count = self.prefix_hit_count = 0
        self.next_ns: int | None = None
        """Time at which `advance` has something to do; `None` if it waits for an arrival."""

    @property
    def running_count(self) -> int:
        return len(self._running)

    @property
    def waiting_count(self) -> int:
        return len(self._waiting) + sum(not is_cancellation for *_, is_cancellation in self._inputs)

    @property
    def used_block_count(self) -> int:
        return self._cache.used_count

    def add(self, request: LlmRequest) -> None:
        """Add a request, which can be admitted by the first step that starts at or after its
        arrival."""
        self._add_input(request.arrival_ns, request, is_cancellation=False)

    def cancel(self, request: LlmRequest, at_ns: int) -> None:
        """Cancel a request. Its blocks are free when the first step at or after `at_ns` starts."""
        self._add_input(at_ns, request, is_cancellation=True)

    def _add_input(self, at_ns: int, request: LlmRequest, *, is_cancellation: bool) -> None:
        self._input_count += 1
        heapq.heappush(self._inputs, (at_ns, self._input_count, request, is_cancellation))
        self.next_ns = at_ns if self.next_ns is None else min(self.next_ns, at_ns)

    def advance(self, now_ns: int, max_steps: int = 2**62) -> list[tuple[SchedulerEvent, LlmRequest | None]]:
        """Execute the steps that end by `now_ns`, at most `max_steps`, and start the next one.
        Return their events in order, with their requests."""
        self._events = []
        while max_steps:
            if self._step is None and not self._start_step(now_ns):
                break
            assert self._step is not None
            self.next_ns = self._step.end_ns
            if self._step.end_ns > now_ns:
                break
            self._finish_step(self._step)
            max_steps -= 1
        return self._events

    def _emit(self, kind: EventKind, at_ns: int, request: LlmRequest, **fields: int | str | tuple[str, ...]) -> None:
        event = SchedulerEvent(kind=kind, at_ns=at_ns, request_id=request.request_id, **fields)  # type: ignore[arg-type]
        self._events.append((event, request))

    # Steps

    def _start_step(self, now_ns: int) -> bool:
        """Start the next step, at the end of the last one or as soon as a request can run. Return
        False if that is after `now_ns`."""
        while True:
            self._apply_inputs()
            scheduled: dict[LlmRequest, int] = {}
            budget, has_preempted = self._schedule_running(scheduled)
            if not has_preempted:
                self._admit_waiting(scheduled, budget)
            elif not scheduled:
                continue  # the only request that could run was preempted: schedule the others
            if scheduled:
                self._step = self._build_step(scheduled)
                return True
            self.next_ns = self._find_next_ns()
            if self.next_ns is None or self.next_ns > now_ns:
                return False
            self._now_ns = self.next_ns

    def _apply_inputs(self) -> None:
        while self._inputs and self._inputs[0][0] <= self._now_ns:
            at_ns, _, request, is_cancellation = heapq.heappop(self._inputs)
            if not is_cancellation:
                self._emit(EventKind.ARRIVED, at_ns, request, prompt_tokens=request.prompt_count)
                self._enqueue(request)
            elif not request.is_finished:
                (self._waiting if request in self._waiting else self._running).remove(request)
                request.finish_reason = "abort"
                self._finish(request)

    def _enqueue(self, request: LlmRequest) -> None:
        if self._config.scheduling_policy == "priority":
            insort(self._waiting, request, key=_get_priority)
        else:
            self._waiting.append(request)

    def _find_next_ns(self) -> int | None:
        times_ns = [request.blocked_until_ns for request in (*self._running, *self._waiting)]
        times_ns = [time_ns for time_ns in times_ns if time_ns > self._now_ns]
        return min([*times_ns, self._inputs[0][0]] if self._inputs else times_ns, default=None)

    def _build_step(self, scheduled: dict[LlmRequest, int]) -> _Step:
        config = self._config
        decode_count = sum(request.is_decoding for request in scheduled)
        prefill_count = sum(count for request, count in scheduled.items() if not request.is_decoding)
        duration_ms = config.step_ms + config.prefill_token_ms * prefill_count + config.decode_seq_ms * decode_count
        factor = self._random.lognormvariate(0, config.step_sigma) if config.step_sigma else 1.0
        step = _Step(self._now_ns + max(1, round(duration_ms * factor * 1e6)), scheduled)
        event = SchedulerEvent(
            kind=EventKind.STEP,
            at_ns=self._now_ns,
            end_ns=step.end_ns,
            prefill_tokens=prefill_count,
            decode_sequences=decode_count,
        )
        self._events.append((event, None))
        return step

    def _finish_step(self, step: _Step) -> None:
        self._step, self._now_ns = None, step.end_ns
        for request, count in step.scheduled.items():
            request.computed_count += count
            if request.computed_count < len(request.tokens):
                continue
            request.tokens.append(request.generate_word())
            token, script = request.generated_count, request.script
            self._emit(EventKind.TOKEN, step.end_ns, request, token=token)
            delay_ms = script.extra_decode_ms + (script.stall_ms if token == script.stall_after_token else 0.0)
            request.blocked_until_ns = step.end_ns + round(delay_ms * 1e6)
            if token == request.output_count:
                self._running.remove(request)
                self._finish(request)

    def _finish(self, request: LlmRequest) -> None:
        request.is_finished = True
        self._cache.release(request.blocks)
        request.blocks = []
        fields = {"token": request.generated_count, "finish_reason": request.finish_reason}
        self._emit(EventKind.FINISHED, self._now_ns, request, **fields)

    # Scheduling

    def _schedule_running(self, scheduled: dict[LlmRequest, int]) -> tuple[int, bool]:
        """Schedule requests that are running, and preempt others if the cache is full. Return the
        remaining number of tokens of the step, and whether a request was preempted."""
        budget, has_preempted = self._config.max_num_batched_tokens, False
        index = 0
        while index < len(self._running) and budget:
            request = self._running[index]
            index += 1
            if request.blocked_until_ns > self._now_ns:
                continue
            count = min(len(request.tokens) - request.computed_count, budget)
            while not self._extend_blocks(request, request.computed_count + count):
                has_preempted = True
                victim = self._choose_victim()
                index -= self._running.index(victim) < index
                budget += scheduled.pop(victim, 0)
                self._preempt(victim)
                if victim is request:
                    return budget, True
            scheduled[request] = count
            budget -= count
        return budget, has_preempted

    def _choose_victim(self) -> LlmRequest:
        """Return the running request that was admitted last, or that has the lowest priority."""
        if self._config.scheduling_policy == "priority":
            return max(self._running, key=_get_priority)
        return self._running[-1]

    def _preempt(self, request: LlmRequest) -> None:
        self._running.remove(request)
        self._cache.release(request.blocks)
        self._emit(EventKind.PREEMPTED, self._now_ns, request, computed_tokens=request.computed_count)
        request.blocks = []
        request.preemption_count += 1
        self.preemption_count += 1
        if self._config.scheduling_policy == "priority":
            self._enqueue(request)
        else:
            self._waiting.insert(0, request)

    def _admit_waiting(self, scheduled: dict[LlmRequest, int], budget: int) -> None:
        for request in list(self._waiting):
            if not budget or len(self._running) == self._config.max_num_seqs:
                return
            if request.blocked_until_ns > self._now_ns:
                continue
            if not self._admit(request):
                return
            count = min(len(request.tokens) - request.computed_count, budget)
            if request.blocked_until_ns <= self._now_ns:
                self._extend_blocks(request, request.computed_count + count)
                scheduled[request] = count
                budget -= count

    def _admit(self, request: LlmRequest) -> bool:
        """Admit a request if the cache has room for all of its tokens so far, and share its cached
        blocks."""
        block_size, token_count = self._config.block_size, len(request.tokens)
        shared_blocks: list[int] = []
        if self._config.enable_prefix_caching:
            extend_block_hashes(request.hashes, request.tokens, block_size)
            # The last token is always computed: its logits are the next token's.
            shared_blocks = self._cache.find_prefix(request.hashes, (token_count - 1) // block_size)
        new_count = -(-token_count // block_size) - len(shared_blocks)
        if not self._cache.has_room(new_count, shared_blocks):
            return False
        self._cache.share(shared_blocks)
        request.blocks, request.stored_count = list(shared_blocks), len(shared_blocks)
        request.computed_count = len(shared_blocks) * block_size
        self._waiting.remove(request)
        self._running.append(request)
        self._emit(EventKind.ADMITTED, self._now_ns, request, cached_tokens=request.computed_count)
        if request.admitted_ns is None:
            request.admitted_ns, request.cached_count = self._now_ns, request.computed_count
            request.blocked_until_ns = self._now_ns + round(request.script.extra_prefill_ms * 1e6)
            if self._config.enable_prefix_caching:
                self.prefix_query_count += token_count
                self.prefix_hit_count += request.computed_count
        return True

    def _extend_blocks(self, request: LlmRequest, token_count: int) -> bool:
        """Allocate the blocks of the first `token_count` tokens of a request, and cache those that
        are full. Return False if the cache has no room for them."""
        new_count = -(-token_count // self._config.block_size) - len(request.blocks)
        if new_count > 0:
            if not self._cache.has_room(new_count):
                return False
            request.blocks += self._cache.allocate(new_count)
            if self._cache.evicted_hashes:
                evicted = tuple(block_hash.hex() for block_hash in self._cache.evicted_hashes)
                self._cache.evicted_hashes.clear()
                self._emit(EventKind.EVICTED, self._now_ns, request, evicted=evicted)
        full_count = token_count // self._config.block_size
        if self._config.enable_prefix_caching and full_count > request.stored_count:
            extend_block_hashes(request.hashes, request.tokens, self._config.block_size)
            for index in range(request.stored_count, full_count):
                self._cache.store(request.blocks[index], request.hashes[index])
            request.stored_count = full_count
        return True


def _get_priority(request: LlmRequest) -> tuple[int, int]:
    return request.priority, request.arrival_ns
