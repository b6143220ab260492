"""Steps of the scheduler, computed at simulated times in ms."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from loadgen.reference.llm_scheduler import (
    EventKind,
    LlmConfig,
    LlmRequest,
    LlmScheduler,
    RequestScript,
    SchedulerEvent,
    ScriptShare,
)

MS = 1_000_000


def config(**settings: Any) -> LlmConfig:
    return LlmConfig(**{"step_ms": 10, "prefill_token_ms": 1, "decode_seq_ms": 2, "block_size": 4} | settings)


def request(name: str, prompt: str | Sequence[str], at_ms: int, count: int, **options: Any) -> LlmRequest:
    words = prompt.split() if isinstance(prompt, str) else prompt
    return LlmRequest(name, words, at_ms * MS, count, **options)


def words(count: int, first: str = "a") -> list[str]:
    return [f"{first}{at}" for at in range(count)]


def drain(scheduler: LlmScheduler) -> list[SchedulerEvent]:
    events: list[SchedulerEvent] = []
    for _ in range(10_000):
        if scheduler.next_ns is None:
            return events
        events += [event for event, _ in scheduler.advance(scheduler.next_ns)]
    raise AssertionError("the scheduler did not finish")


def simulate(settings: LlmConfig, *requests: LlmRequest) -> list[SchedulerEvent]:
    scheduler = LlmScheduler(settings)
    for llm_request in requests:
        scheduler.add(llm_request)
    events = drain(scheduler)
    assert scheduler.used_block_count == scheduler.running_count == scheduler.waiting_count == 0
    return events


def list_times_ms(events: Sequence[SchedulerEvent], name: str, kind: EventKind = EventKind.TOKEN) -> list[float]:
    return [event.at_ns / MS for event in events if (event.request_id, event.kind) == (name, kind)]


def list_steps(events: Sequence[SchedulerEvent]) -> list[tuple[int | None, int | None]]:
    """Return the prefill tokens and the number of decoding sequences of each step."""
    return [(event.prefill_tokens, event.decode_sequences) for event in events if event.kind == EventKind.STEP]


def list_admissions(events: Sequence[SchedulerEvent]) -> list[tuple[str, int | None]]:
    return [(event.request_id, event.cached_tokens) for event in events if event.kind == EventKind.ADMITTED]


def test_step_time_depends_on_prompt_tokens_and_decoding_sequences() -> None:
    events = simulate(config(), request("a", words(6), 100, 3), request("b", words(5, "b"), 112, 2))
    # 100-116 prefill of a (6); 116-133 decode of a and prefill of b (5); 133-147 decode of both
    assert list_times_ms(events, "a") == [116, 133, 147]
    assert list_times_ms(events, "b") == [133, 147]
    assert list_times_ms(events, "b", EventKind.ADMITTED) == [116]


def test_long_prompt_is_prefilled_in_chunks_while_others_decode() -> None:
    settings = config(max_num_batched_tokens=8)
    events = simulate(settings, request("a", words(2), 0, 4), request("b", words(16, "b"), 1, 1))
    # 0-12 a; then 1 token of a and 7 of b, twice: 19 ms each; then 1 of a and the last 2 of b
    assert list_times_ms(events, "a") == [12, 31, 50, 64]
    assert list_times_ms(events, "b") == [64]


def test_running_sequences_are_limited_and_queue_is_in_order_of_arrival() -> None:
    events = simulate(config(max_num_seqs=1), *(request(name, words(1), at, 1) for at, name in enumerate("abc")))
    assert [name for name, _ in list_admissions(events)] == ["a", "b", "c"]
    assert list_times_ms(events, "c", EventKind.ADMITTED) == list_times_ms(events, "b") == [22]


def test_cached_prompt_still_computes_its_last_block() -> None:
    events = simulate(
        config(), request("a", words(8), 0, 1), request("b", words(8), 50, 1), request("c", words(9), 90, 1)
    )
    assert list_admissions(events) == [("a", 0), ("b", 4), ("c", 8)]
    assert list_times_ms(events, "b") == [64]
    assert list_times_ms(events, "c") == [101]


def test_prompts_of_same_step_share_full_blocks() -> None:
    events = simulate(config(), request("a", words(9), 0, 1), request("b", words(9), 0, 1))
    assert list_admissions(events) == [("a", 0), ("b", 8)]
    assert list_times_ms(events, "a") == list_times_ms(events, "b") == [20]


def test_next_turn_reuses_all_computed_blocks_of_previous_turn() -> None:
    first = request("a", words(5), 0, 8)
    scheduler = LlmScheduler(config())
    scheduler.add(first)
    drain(scheduler)
    # 13 tokens, of which the last was never computed: three full blocks
    scheduler.add(request("b", [*first.tokens, *words(6, "next")], 1000, 1))
    assert list_admissions(drain(scheduler)) == [("b", 12)]
    assert (scheduler.prefix_query_count, scheduler.prefix_hit_count) == (5 + 19, 12)


def test_disabled_prefix_cache_has_no_hits_and_no_queries() -> None:
    scheduler = LlmScheduler(config(enable_prefix_caching=False))
    scheduler.add(request("a", words(8), 0, 1))
    scheduler.add(request("b", words(8), 50, 1))
    assert list_admissions(drain(scheduler)) == [("a", 0), ("b", 0)]
    assert scheduler.prefix_query_count == 0


def test_full_cache_evicts_oldest_prefix_from_its_end() -> None:
    settings = config(num_gpu_blocks=5)
    prompts = {"a": words(8), "b": words(9, "b"), "c": words(5, "c"), "a again": words(8), "b again": words(9, "b")}
    requests = [request(name, prompt, 100 * at, 1) for at, (name, prompt) in enumerate(prompts.items())]
    events = simulate(settings, *requests)
    # c is allocated the last block of b, which was not full, and the second of a; then c's is the oldest.
    assert list_admissions(events) == [("a", 0), ("b", 0), ("c", 0), ("a again", 4), ("b again", 8)]
    evictions = [(event.request_id, event.evicted) for event in events if event.kind == EventKind.EVICTED]
    hashes = {
        name: [block_hash.hex() for block_hash in cached_request.hashes]
        for name, cached_request in zip(prompts, requests, strict=True)
    }
    assert evictions == [("c", (hashes["a"][1],)), ("b again", (hashes["c"][0],))]


def test_last_admitted_request_is_preempted_and_recomputes_uncached_tokens() -> None:
    requests = [request("a", words(7), 0, 6), request("b", words(7, "b"), 0, 6)]
    events = simulate(config(num_gpu_blocks=4), *requests, request("c", words(3, "c"), 1, 1))
    preemptions = [(event.request_id, event.computed_tokens) for event in events if event.kind == EventKind.PREEMPTED]
    assert preemptions == [("b", 8)]
    # a uses one of the two free blocks; b needs two; c would need one, but arrived after b
    assert list_admissions(events) == [("a", 0), ("b", 0), ("b", 4), ("c", 0)]
    resumed_ms = list_times_ms(events, "b", EventKind.ADMITTED)[1]
    assert resumed_ms == list_times_ms(events, "a")[-1]
    assert len(list_times_ms(events, "b")) == 6


def test_preemption_is_counted_but_is_no_prefix_cache_query() -> None:
    scheduler = LlmScheduler(config(num_gpu_blocks=4))
    requests = [request(name, words(7, name), 0, 6) for name in "ab"]
    for llm_request in requests:
        scheduler.add(llm_request)
    drain(scheduler)
    assert (scheduler.preemption_count, scheduler.prefix_query_count, scheduler.prefix_hit_count) == (1, 14, 0)
    assert (requests[0].cached_count, requests[1].cached_count) == (0, 0)


def test_priority_policy_admits_smaller_number_first_and_preempts_larger() -> None:
    settings = config(scheduling_policy="priority", max_num_seqs=1)
    late = [request("low", words(1), 1, 1, priority=5), request("high", words(1), 2, 1, priority=-1)]
    events = simulate(settings, request("first", words(1), 0, 1), *late)
    assert [name for name, _ in list_admissions(events)] == ["first", "high", "low"]
    scarce = config(scheduling_policy="priority", num_gpu_blocks=4)
    events = simulate(scarce, request("low", words(7), 0, 6, priority=1), request("high", words(7, "b"), 1, 6))
    assert {event.request_id for event in events if event.kind == EventKind.PREEMPTED} == {"low"}


def test_step_continues_with_next_request_after_preemption() -> None:
    settings = config(scheduling_policy="priority", num_gpu_blocks=4)
    highs = [request(name, words(3, name), 1, 3) for name in ("b", "c")]
    events = simulate(settings, request("low", words(4), 0, 6, priority=1), *highs)
    assert [(event.request_id, event.at_ns / MS) for event in events if event.kind == EventKind.PREEMPTED] == [
        ("low", 48)
    ]
    assert list_steps(events)[:4] == [(4, 0), (6, 1), (0, 3), (0, 2)], (
        "both that remain are in the step of the preemption"
    )
    scarce = config(scheduling_policy="priority", num_gpu_blocks=4, max_num_batched_tokens=3)
    others = [request("b", words(3, "b"), 1, 3), request("c", words(4, "c"), 1, 1)]
    events = simulate(scarce, request("low", words(4), 0, 5, priority=1), *others)
    assert [event.at_ns / MS for event in events if event.kind == EventKind.PREEMPTED] == [55]
    assert list_steps(events)[:5] == [(3, 0), (3, 0), (2, 1), (1, 2), (2, 1)], (
        "c gets the token that low no longer needs"
    )


def test_request_is_not_admitted_into_free_blocks_that_it_shares() -> None:
    first, second = request("a", words(12), 0, 1), request("b", words(5, "b"), 100, 3)
    events = simulate(config(num_gpu_blocks=4), first, second, request("c", words(13), 101, 1))
    # b uses the free block and the last of a; c shares two blocks, and needs two more
    assert list_admissions(events) == [("a", 0), ("b", 0), ("c", 8)]
    assert list_times_ms(events, "c", EventKind.ADMITTED) == [list_times_ms(events, "b")[-1]]


def test_request_script_delays_only_its_request_by_exact_times() -> None:
    script = RequestScript(extra_queue_ms=30, extra_prefill_ms=20, extra_decode_ms=5, stall_after_token=2, stall_ms=100)
    events = simulate(config(), request("a", words(2), 0, 4, script=script))
    assert list_times_ms(events, "a", EventKind.ADMITTED) == [30]
    assert list_times_ms(events, "a") == [62, 79, 196, 213]  # 30 + 20 + 12; 5 + 12; 5 + 100 + 12; 5 + 12
    events = simulate(config(), request("a", words(2), 0, 4, script=script), request("b", words(2, "b"), 1, 2))
    assert list_times_ms(events, "b") == [13, 25], "b overtakes a in the queue"


def test_canceled_request_frees_its_blocks_for_next_step() -> None:
    scheduler = LlmScheduler(config(num_gpu_blocks=2, max_num_seqs=1))
    running, waiting, last = (request(name, words(4, name), 0, 4) for name in "abc")
    for llm_request in (running, waiting, last):
        scheduler.add(llm_request)
    scheduler.cancel(waiting, 3 * MS)
    scheduler.cancel(running, 15 * MS)  # in its second step, which ends at 26
    events = drain(scheduler)
    ends = {event.request_id: event for event in events if event.kind == EventKind.FINISHED}
    assert [(end.finish_reason, end.at_ns / MS) for end in ends.values()] == [
        ("abort", 14),
        ("abort", 26),
        ("length", 76),
    ]
    assert list_times_ms(events, "c", EventKind.ADMITTED) == [26]
    assert scheduler.used_block_count == 0
    scheduler.cancel(last, 100 * MS)
    assert drain(scheduler) == [], "the request has already ended"


def test_canceled_preempted_request_frees_no_blocks() -> None:
    scheduler = LlmScheduler(config(num_gpu_blocks=4))
    running, preempted = (request(name, words(7, name), 0, 6) for name in "ab")
    scheduler.add(running)
    scheduler.add(preempted)
    events = [event for event, _ in scheduler.advance(60 * MS)]
    assert [event.request_id for event in events if event.kind == EventKind.PREEMPTED] == ["b"]
    scheduler.cancel(preempted, 61 * MS)
    scheduler.advance(80 * MS)
    assert (scheduler.used_block_count, scheduler.waiting_count) == (3, 0)
    drain(scheduler)
    assert scheduler.used_block_count == 0


def random_requests(rng: random.Random, settings: LlmConfig) -> list[LlmRequest]:
    requests: list[LlmRequest] = []
    at_ms = 0
    for number in range(rng.randint(1, 12)):
        at_ms += rng.choice([0, 1, 7, 40])
        shared = rng.choice(requests).tokens[: rng.randint(0, 20)] if requests else []
        prompt = [*shared, *words(rng.randint(1, 12), f"r{number}-")]
        count = rng.randint(1, settings.context_tokens - len(prompt))
        script = RequestScript(
            extra_queue_ms=rng.choice([0, 0, 9]),
            extra_prefill_ms=rng.choice([0, 0, 11]),
            stall_after_token=1,
            stall_ms=rng.choice([0, 0, 33]),
        )
        requests.append(request(f"r{number}", prompt, at_ms, min(count, 15), priority=rng.randint(0, 2), script=script))
    return requests


def run_at_random_times(
    settings: LlmConfig, requests: Sequence[LlmRequest], cancels: dict[int, LlmRequest], rng: random.Random
) -> list[SchedulerEvent]:
    """Advance at times that are unrelated to the steps; add each input only when it is due."""
    scheduler, events, now_ns = LlmScheduler(settings), list[SchedulerEvent](), 0
    inputs = [(llm_request.arrival_ns, False, llm_request) for llm_request in requests] + [
        (at, True, llm_request) for at, llm_request in cancels.items()
    ]
    inputs.sort(key=lambda entry: entry[:2])
    while inputs or scheduler.next_ns is not None:
        now_ns += rng.choice([0, 1, 5, 60]) * MS
        while inputs and inputs[0][0] <= now_ns:
            at_ns, is_cancellation, llm_request = inputs.pop(0)
            scheduler.cancel(llm_request, at_ns) if is_cancellation else scheduler.add(llm_request)
        events += [event for event, _ in scheduler.advance(now_ns, rng.choice([1, 3, 1000]))]
        if settings.num_gpu_blocks is not None:
            assert scheduler.used_block_count <= settings.num_gpu_blocks
        assert scheduler.running_count <= settings.max_num_seqs
        assert now_ns < 10**13, "the scheduler did not finish"
    assert scheduler.used_block_count == scheduler.running_count == scheduler.waiting_count == 0
    return events


@pytest.mark.parametrize("seed", range(30))
def test_random_requests_all_finish_with_same_steps_at_any_polling_times(seed: int) -> None:
    rng = random.Random(seed)
    settings = config(
        num_gpu_blocks=rng.choice([None, 13, 16, 30]),
        max_num_batched_tokens=rng.choice([3, 16, 100]),
        max_num_seqs=rng.choice([1, 3, 100]),
        max_model_len=48,
        scheduling_policy=rng.choice(["fcfs", "priority"]),
        step_sigma=rng.choice([0, 0.3]),
        seed=seed,
    )
    runs, outputs = [], []
    for round_seed in range(2):
        requests = random_requests(random.Random(seed), settings)
        cancel_rng = random.Random(seed + 1000)
        cancels = {
            llm_request.arrival_ns + cancel_rng.randint(0, 300) * MS + 1: llm_request
            for llm_request in requests
            if cancel_rng.random() < 0.2
        }
        runs.append(run_at_random_times(settings, requests, cancels, random.Random(1000 * seed + round_seed)))
        assert max(sum(filter(None, step)) for step in list_steps(runs[-1])) <= settings.max_num_batched_tokens
        ends = [event.request_id for event in runs[-1] if event.kind == EventKind.FINISHED]
        assert sorted(ends) == sorted(llm_request.request_id for llm_request in requests)
        outputs.append(
            {
                llm_request.request_id: llm_request.tokens
                for llm_request in requests
                if llm_request.finish_reason != "abort"
            }
        )
    assert runs[0] == runs[1]
    assert outputs[0] == outputs[1]
    for single_request in random_requests(random.Random(seed), settings):
        simulate(config(), single_request)
        assert outputs[0].get(single_request.request_id, single_request.tokens) == single_request.tokens
        assert single_request.generated_count == single_request.output_count


def evicting_oracle(prompts: Sequence[Sequence[str]], block: int, capacity: int) -> list[int]:
    """Return the cache hits of sequential requests, computed from a list of prefixes in order of last use."""
    recent: list[tuple[str, ...]] = []  # the next to be evicted first
    hits = []
    for prompt in prompts:
        prefixes = [tuple(prompt[:end]) for end in range(block, len(prompt) + 1, block)]
        hit = 0
        while hit < (len(prompt) - 1) // block and prefixes[hit] in recent:
            hit += 1
        hits.append(hit * block)
        spare = capacity - -(-len(prompt) // block)  # blocks that remain for previously cached prefixes
        others = [prefix for prefix in recent if prefix not in prefixes[:hit]]
        others = others[max(0, len(others) - spare) :]
        recent = [*others, *reversed(prefixes)]
    return hits


def test_prefix_hits_under_eviction_match_list_of_prefixes() -> None:
    rng = random.Random(7)
    for _ in range(60):
        capacity = rng.randint(4, 12)
        prompts: list[list[str]] = []
        for number in range(30):
            shared = rng.choice(prompts)[: rng.randint(0, 14)] if prompts else []
            # never a multiple of the block: then there are no copies of a block, which the list does not represent
            prompts.append([*shared, *words(rng.choice([1, 2, 3]), f"{number}-")])
            while len(prompts[-1]) % 4 == 0:
                prompts[-1].append("end")
            prompts[-1] = prompts[-1][:15]
        requests = [request(str(at), prompt, 1000 * at, 1) for at, prompt in enumerate(prompts)]
        events = simulate(config(num_gpu_blocks=capacity), *requests)
        assert [hit for _, hit in list_admissions(events)] == evicting_oracle(prompts, 4, capacity)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_model_len": 100, "num_gpu_blocks": 6}, "the KV cache has 96 tokens"),
        ({"min_output_tokens": 5, "max_output_tokens": 4}, "must not exceed max_output_tokens"),
        ({"scripts": [{"share": 0.7}, {"share": 0.4}]}, "must not exceed 1"),
        ({"step_ms": 0}, "step_ms"),
        ({"blocksize": 4}, "blocksize"),
    ],
)
def test_invalid_llm_config_is_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(settings, LlmConfig)
    assert msgspec.convert({"scripts": [{"share": 0.7, "stall_ms": 2}]}, LlmConfig).scripts == (
        ScriptShare(share=0.7, stall_ms=2),
    )
