"""Steps of the scheduler, computed at made-up times: in ms here."""

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
    raise AssertionError("the scheduler does not come to an end")


def simulate(settings: LlmConfig, *requests: LlmRequest) -> list[SchedulerEvent]:
    scheduler = LlmScheduler(settings)
    for each in requests:
        scheduler.add(each)
    events = drain(scheduler)
    assert scheduler.used_block_count == scheduler.running_count == scheduler.waiting_count == 0
    return events


def times_ms(events: Sequence[SchedulerEvent], name: str, kind: EventKind = EventKind.TOKEN) -> list[float]:
    return [event.at_ns / MS for event in events if (event.request_id, event.kind) == (name, kind)]


def steps(events: Sequence[SchedulerEvent]) -> list[tuple[int | None, int | None]]:
    """Tokens of prefill and sequences that decode, of each step."""
    return [(event.prefill_tokens, event.decode_sequences) for event in events if event.kind == EventKind.STEP]


def admitted(events: Sequence[SchedulerEvent]) -> list[tuple[str, int | None]]:
    return [(event.request_id, event.cached_tokens) for event in events if event.kind == EventKind.ADMITTED]


def test_a_step_takes_its_base_and_its_prompt_tokens_and_its_decoding_sequences() -> None:
    events = simulate(config(), request("a", words(6), 100, 3), request("b", words(5, "b"), 112, 2))
    # 100-116 prefill of a (6); 116-133 decode of a and prefill of b (5); 133-147 decode of both
    assert times_ms(events, "a") == [116, 133, 147]
    assert times_ms(events, "b") == [133, 147]
    assert times_ms(events, "b", EventKind.ADMITTED) == [116]


def test_a_long_prompt_is_computed_in_chunks_while_others_decode() -> None:
    settings = config(max_num_batched_tokens=8)
    events = simulate(settings, request("a", words(2), 0, 4), request("b", words(16, "b"), 1, 1))
    # 0-12 a; then 1 token of a and 7 of b, twice: 19 ms each; then 1 of a and the last 2 of b
    assert times_ms(events, "a") == [12, 31, 50, 64]
    assert times_ms(events, "b") == [64]


def test_no_more_sequences_run_than_allowed_and_the_queue_is_in_order_of_arrival() -> None:
    events = simulate(config(max_num_seqs=1), *(request(name, words(1), at, 1) for at, name in enumerate("abc")))
    assert [name for name, _ in admitted(events)] == ["a", "b", "c"]
    assert times_ms(events, "c", EventKind.ADMITTED) == times_ms(events, "b") == [22]


def test_a_cached_prompt_still_computes_its_last_block() -> None:
    events = simulate(
        config(), request("a", words(8), 0, 1), request("b", words(8), 50, 1), request("c", words(9), 90, 1)
    )
    assert admitted(events) == [("a", 0), ("b", 4), ("c", 8)]
    assert times_ms(events, "b") == [64]
    assert times_ms(events, "c") == [101]


def test_a_prompt_of_the_same_step_shares_the_full_blocks_of_the_one_before() -> None:
    events = simulate(config(), request("a", words(9), 0, 1), request("b", words(9), 0, 1))
    assert admitted(events) == [("a", 0), ("b", 8)]
    assert times_ms(events, "a") == times_ms(events, "b") == [20]


def test_the_next_turn_finds_the_generated_tokens_but_not_the_one_that_ended_the_turn() -> None:
    first = request("a", words(5), 0, 8)
    scheduler = LlmScheduler(config())
    scheduler.add(first)
    drain(scheduler)
    # 13 tokens, of which the last was never computed: three full blocks
    scheduler.add(request("b", [*first.tokens, *words(6, "next")], 1000, 1))
    assert admitted(drain(scheduler)) == [("b", 12)]
    assert (scheduler.prefix_query_count, scheduler.prefix_hit_count) == (5 + 19, 12)


def test_without_a_prefix_cache_there_are_no_hits_and_no_queries() -> None:
    scheduler = LlmScheduler(config(enable_prefix_caching=False))
    scheduler.add(request("a", words(8), 0, 1))
    scheduler.add(request("b", words(8), 50, 1))
    assert admitted(drain(scheduler)) == [("a", 0), ("b", 0)]
    assert scheduler.prefix_query_count == 0


def test_a_full_cache_evicts_the_oldest_prefix_from_its_end() -> None:
    settings = config(num_gpu_blocks=5)
    prompts = {"a": words(8), "b": words(9, "b"), "c": words(5, "c"), "a again": words(8), "b again": words(9, "b")}
    requests = [request(name, prompt, 100 * at, 1) for at, (name, prompt) in enumerate(prompts.items())]
    events = simulate(settings, *requests)
    # c takes the last block of b, which was not full, and the second of a; then c's is the oldest.
    assert admitted(events) == [("a", 0), ("b", 0), ("c", 0), ("a again", 4), ("b again", 8)]
    evictions = [(event.request_id, event.evicted) for event in events if event.kind == EventKind.EVICTED]
    hashes = {name: [each.hex() for each in by.hashes] for name, by in zip(prompts, requests, strict=True)}
    assert evictions == [("c", (hashes["a"][1],)), ("b again", (hashes["c"][0],))]


def test_the_request_that_was_admitted_last_is_preempted_and_computes_again_what_is_not_cached() -> None:
    both = [request("a", words(7), 0, 6), request("b", words(7, "b"), 0, 6)]
    events = simulate(config(num_gpu_blocks=4), *both, request("c", words(3, "c"), 1, 1))
    preemptions = [(event.request_id, event.computed_tokens) for event in events if event.kind == EventKind.PREEMPTED]
    assert preemptions == [("b", 8)]
    # of the two free blocks, a takes one; b needs two; c would need one, but came after b
    assert admitted(events) == [("a", 0), ("b", 0), ("b", 4), ("c", 0)]
    resumed_ms = times_ms(events, "b", EventKind.ADMITTED)[1]
    assert resumed_ms == times_ms(events, "a")[-1]
    assert len(times_ms(events, "b")) == 6


def test_preemption_is_counted_and_is_no_query_of_the_prefix_cache() -> None:
    scheduler = LlmScheduler(config(num_gpu_blocks=4))
    both = [request(name, words(7, name), 0, 6) for name in "ab"]
    for each in both:
        scheduler.add(each)
    drain(scheduler)
    assert (scheduler.preemption_count, scheduler.prefix_query_count, scheduler.prefix_hit_count) == (1, 14, 0)
    assert (both[0].cached_count, both[1].cached_count) == (0, 0)


def test_under_priorities_the_smaller_number_goes_first_and_the_larger_is_preempted() -> None:
    settings = config(scheduling_policy="priority", max_num_seqs=1)
    late = [request("low", words(1), 1, 1, priority=5), request("high", words(1), 2, 1, priority=-1)]
    events = simulate(settings, request("first", words(1), 0, 1), *late)
    assert [name for name, _ in admitted(events)] == ["first", "high", "low"]
    scarce = config(scheduling_policy="priority", num_gpu_blocks=4)
    events = simulate(scarce, request("low", words(7), 0, 6, priority=1), request("high", words(7, "b"), 1, 6))
    assert {event.request_id for event in events if event.kind == EventKind.PREEMPTED} == {"low"}


def test_a_step_goes_on_with_the_next_request_after_one_before_it_was_preempted() -> None:
    settings = config(scheduling_policy="priority", num_gpu_blocks=4)
    highs = [request(name, words(3, name), 1, 3) for name in ("b", "c")]
    events = simulate(settings, request("low", words(4), 0, 6, priority=1), *highs)
    assert [(event.request_id, event.at_ns / MS) for event in events if event.kind == EventKind.PREEMPTED] == [
        ("low", 48)
    ]
    assert steps(events)[:4] == [(4, 0), (6, 1), (0, 3), (0, 2)], "both that remain are in the step of the preemption"
    scarce = config(scheduling_policy="priority", num_gpu_blocks=4, max_num_batched_tokens=3)
    others = [request("b", words(3, "b"), 1, 3), request("c", words(4, "c"), 1, 1)]
    events = simulate(scarce, request("low", words(4), 0, 5, priority=1), *others)
    assert [event.at_ns / MS for event in events if event.kind == EventKind.PREEMPTED] == [55]
    assert steps(events)[:5] == [(3, 0), (3, 0), (2, 1), (1, 2), (2, 1)], "c gets the token that low no longer needs"


def test_cached_blocks_that_nobody_uses_are_no_room_for_the_request_that_shares_them() -> None:
    first, second = request("a", words(12), 0, 1), request("b", words(5, "b"), 100, 3)
    events = simulate(config(num_gpu_blocks=4), first, second, request("c", words(13), 101, 1))
    # b took the block that was free and the last of a; c shares two, and needs two more
    assert admitted(events) == [("a", 0), ("b", 0), ("c", 8)]
    assert times_ms(events, "c", EventKind.ADMITTED) == [times_ms(events, "b")[-1]]


def test_a_script_delays_the_request_only_and_exactly() -> None:
    script = RequestScript(extra_queue_ms=30, extra_prefill_ms=20, extra_decode_ms=5, stall_after_token=2, stall_ms=100)
    events = simulate(config(), request("a", words(2), 0, 4, script=script))
    assert times_ms(events, "a", EventKind.ADMITTED) == [30]
    assert times_ms(events, "a") == [62, 79, 196, 213]  # 30 + 20 + 12; 5 + 12; 5 + 100 + 12; 5 + 12
    events = simulate(config(), request("a", words(2), 0, 4, script=script), request("b", words(2, "b"), 1, 2))
    assert times_ms(events, "b") == [13, 25], "b passes it in the queue"


def test_a_canceled_request_frees_its_blocks_for_the_next_step_wherever_it_is() -> None:
    scheduler = LlmScheduler(config(num_gpu_blocks=2, max_num_seqs=1))
    running, waiting, last = (request(name, words(4, name), 0, 4) for name in "abc")
    for each in (running, waiting, last):
        scheduler.add(each)
    scheduler.cancel(waiting, 3 * MS)
    scheduler.cancel(running, 15 * MS)  # in its second step, which ends at 26
    events = drain(scheduler)
    ends = {event.request_id: event for event in events if event.kind == EventKind.FINISHED}
    assert [(end.finish_reason, end.at_ns / MS) for end in ends.values()] == [
        ("abort", 14),
        ("abort", 26),
        ("length", 76),
    ]
    assert times_ms(events, "c", EventKind.ADMITTED) == [26]
    assert scheduler.used_block_count == 0
    scheduler.cancel(last, 100 * MS)
    assert drain(scheduler) == [], "it has already ended"


def test_a_preempted_request_that_is_canceled_has_no_blocks_to_free() -> None:
    scheduler = LlmScheduler(config(num_gpu_blocks=4))
    kept, preempted = (request(name, words(7, name), 0, 6) for name in "ab")
    scheduler.add(kept)
    scheduler.add(preempted)
    events = [event for event, _ in scheduler.advance(60 * MS)]
    assert [event.request_id for event in events if event.kind == EventKind.PREEMPTED] == ["b"]
    scheduler.cancel(preempted, 61 * MS)
    scheduler.advance(80 * MS)
    assert (scheduler.used_block_count, scheduler.waiting_count) == (3, 0)
    drain(scheduler)
    assert scheduler.used_block_count == 0


def random_requests(chance: random.Random, settings: LlmConfig) -> list[LlmRequest]:
    requests: list[LlmRequest] = []
    at_ms = 0
    for number in range(chance.randint(1, 12)):
        at_ms += chance.choice([0, 1, 7, 40])
        shared = chance.choice(requests).tokens[: chance.randint(0, 20)] if requests else []
        prompt = [*shared, *words(chance.randint(1, 12), f"r{number}-")]
        count = chance.randint(1, settings.context_tokens - len(prompt))
        script = RequestScript(
            extra_queue_ms=chance.choice([0, 0, 9]),
            extra_prefill_ms=chance.choice([0, 0, 11]),
            stall_after_token=1,
            stall_ms=chance.choice([0, 0, 33]),
        )
        requests.append(
            request(f"r{number}", prompt, at_ms, min(count, 15), priority=chance.randint(0, 2), script=script)
        )
    return requests


def run_at_random_times(
    settings: LlmConfig, requests: Sequence[LlmRequest], cancels: dict[int, LlmRequest], chance: random.Random
) -> list[SchedulerEvent]:
    """Advance at times that have nothing to do with steps, with each input added only when it is due."""
    scheduler, events, now_ns = LlmScheduler(settings), list[SchedulerEvent](), 0
    inputs = [(each.arrival_ns, False, each) for each in requests] + [(at, True, each) for at, each in cancels.items()]
    inputs.sort(key=lambda entry: entry[:2])
    while inputs or scheduler.next_ns is not None:
        now_ns += chance.choice([0, 1, 5, 60]) * MS
        while inputs and inputs[0][0] <= now_ns:
            at_ns, is_cancellation, each = inputs.pop(0)
            scheduler.cancel(each, at_ns) if is_cancellation else scheduler.add(each)
        events += [event for event, _ in scheduler.advance(now_ns, chance.choice([1, 3, 1000]))]
        if settings.num_gpu_blocks is not None:
            assert scheduler.used_block_count <= settings.num_gpu_blocks
        assert scheduler.running_count <= settings.max_num_seqs
        assert now_ns < 10**13, "the scheduler does not come to an end"
    assert scheduler.used_block_count == scheduler.running_count == scheduler.waiting_count == 0
    return events


@pytest.mark.parametrize("seed", range(30))
def test_whatever_comes_nothing_is_lost_and_the_steps_do_not_depend_on_when_the_clock_is_read(seed: int) -> None:
    chance = random.Random(seed)
    settings = config(
        num_gpu_blocks=chance.choice([None, 13, 16, 30]),
        max_num_batched_tokens=chance.choice([3, 16, 100]),
        max_num_seqs=chance.choice([1, 3, 100]),
        max_model_len=48,
        scheduling_policy=chance.choice(["fcfs", "priority"]),
        step_sigma=chance.choice([0, 0.3]),
        seed=seed,
    )
    runs, outputs = [], []
    for round_seed in range(2):
        requests = random_requests(random.Random(seed), settings)
        picks = random.Random(seed + 1000)
        cancels = {each.arrival_ns + picks.randint(0, 300) * MS + 1: each for each in requests if picks.random() < 0.2}
        runs.append(run_at_random_times(settings, requests, cancels, random.Random(1000 * seed + round_seed)))
        assert max(sum(filter(None, step)) for step in steps(runs[-1])) <= settings.max_num_batched_tokens
        ends = [event.request_id for event in runs[-1] if event.kind == EventKind.FINISHED]
        assert sorted(ends) == sorted(each.request_id for each in requests)
        outputs.append({each.request_id: each.tokens for each in requests if each.finish_reason != "abort"})
    assert runs[0] == runs[1]
    assert outputs[0] == outputs[1]
    for alone in random_requests(random.Random(seed), settings):
        simulate(config(), alone)
        assert outputs[0].get(alone.request_id, alone.tokens) == alone.tokens
        assert alone.generated_count == alone.output_count


def evicting_oracle(prompts: Sequence[Sequence[str]], block: int, capacity: int) -> list[int]:
    """Hits of requests that run one after another, from a list of prefixes in order of their last use."""
    recent: list[tuple[str, ...]] = []  # the next to be evicted first
    hits = []
    for prompt in prompts:
        prefixes = [tuple(prompt[:end]) for end in range(block, len(prompt) + 1, block)]
        hit = 0
        while hit < (len(prompt) - 1) // block and prefixes[hit] in recent:
            hit += 1
        hits.append(hit * block)
        spare = capacity - -(-len(prompt) // block)  # blocks that keep what was cached before
        others = [prefix for prefix in recent if prefix not in prefixes[:hit]]
        others = others[max(0, len(others) - spare) :]
        recent = [*others, *reversed(prefixes)]
    return hits


def test_hits_under_eviction_are_those_of_a_plain_list_of_prefixes() -> None:
    chance = random.Random(7)
    for _ in range(60):
        capacity = chance.randint(4, 12)
        prompts: list[list[str]] = []
        for number in range(30):
            shared = chance.choice(prompts)[: chance.randint(0, 14)] if prompts else []
            # never a multiple of the block: then there are no copies of a block, which the list does not know
            prompts.append([*shared, *words(chance.choice([1, 2, 3]), f"{number}-")])
            while len(prompts[-1]) % 4 == 0:
                prompts[-1].append("end")
            prompts[-1] = prompts[-1][:15]
        requests = [request(str(at), prompt, 1000 * at, 1) for at, prompt in enumerate(prompts)]
        events = simulate(config(num_gpu_blocks=capacity), *requests)
        assert [hit for _, hit in admitted(events)] == evicting_oracle(prompts, 4, capacity)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"max_model_len": 100, "num_gpu_blocks": 6}, "the KV cache has 96 tokens"),
        ({"min_output_tokens": 5, "max_output_tokens": 4}, "must not exceed max_output_tokens"),
        ({"scripts": [{"share": 0.7}, {"share": 0.4}]}, "must not exceed 1"),
        ({"step_ms": 0}, "step_ms"),
        ({"blocksize": 4}, "blocksize"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=part):
        msgspec.convert(settings, LlmConfig)
    assert msgspec.convert({"scripts": [{"share": 0.7, "stall_ms": 2}]}, LlmConfig).scripts == (
        ScriptShare(share=0.7, stall_ms=2),
    )
