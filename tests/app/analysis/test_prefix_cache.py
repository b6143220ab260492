"""The prefix cache is compared with reference caches that compare the tokens themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from app.analysis.prefix_cache import (
    BlockCache,
    OfferedHits,
    PrefixTree,
    Segment,
    SentPart,
    compute_load_share,
    compute_offered_hits,
)
from loadgen.reference.kv_cache import KvCache, extend_block_hashes

BLOCK = 4


def list_tokens(segments: Sequence[Segment]) -> tuple[tuple[int, int], ...]:
    return tuple((segment_id, offset) for segment_id, length in segments for offset in range(length))


def draw_prompts(seed: int, count: int = 60) -> list[list[Segment]]:
    """Random prompts with shared prefixes, which can end inside a segment list."""
    rng = np.random.default_rng(seed)
    prompts: list[list[Segment]] = []
    for _ in range(count):
        earlier = prompts[int(rng.integers(len(prompts)))] if prompts and rng.random() < 0.8 else []
        prompt = earlier[: int(rng.integers(len(earlier) + 1))]
        prompt = prompt + [(int(rng.integers(5)), int(rng.integers(1, 11))) for _ in range(int(rng.integers(1, 4)))]
        prompts.append(prompt)
    return prompts


def count_token_hits(prompts: Sequence[Sequence[Segment]], responses: Sequence[Sequence[Segment]]) -> list[int]:
    """Hits of a server that caches every block by its tokens and all tokens before it."""
    cached: set[tuple[tuple[int, int], ...]] = set()
    hits: list[int] = []
    for prompt, response in zip(prompts, responses, strict=True):
        tokens = list_tokens(prompt)
        count = 0
        while (count + 1) * BLOCK < len(tokens) and tokens[: (count + 1) * BLOCK] in cached:
            count += 1
        hits.append(count * BLOCK)
        computed = tokens + list_tokens(response)[:-1]
        cached.update(computed[:end] for end in range(BLOCK, len(computed) + 1, BLOCK))
    return hits


@pytest.mark.parametrize("seed", range(6))
def test_prefix_cache_hits_match_token_comparison(seed: int) -> None:
    prompts = draw_prompts(seed)
    responses = [[(100 + number % 7, 1 + number % 9)] for number in range(len(prompts))]
    for with_responses in (responses, [()] * len(prompts)):
        expected = count_token_hits(prompts, with_responses)
        assert any(expected), "the prompts must have hits"
        for capacity in (None, 10_000):
            offered = compute_offered_hits(
                prompts, block_tokens=BLOCK, capacity_blocks=capacity, responses=with_responses
            )
            assert offered.hit_tokens == tuple(expected)
    assert offered.prompt_tokens == tuple(len(list_tokens(prompt)) for prompt in prompts)


Prefix = tuple[tuple[int, int], ...]


class ReferenceBlockCache:
    """A cache of `capacity` blocks that serves one request at a time: a list in eviction order, searched from the
    start. Of several blocks with the same tokens, such as the last block of a prompt, the first computed is used."""

    def __init__(self, capacity: int) -> None:
        self.free: list[tuple[int, Prefix]] = [(0, ())] * capacity
        self.computed = 0

    def serve(self, prompt: Sequence[Segment]) -> int:
        tokens = list_tokens(prompt)
        needed = -(-len(tokens) // BLOCK)
        if needed > len(self.free):
            return 0
        used: list[tuple[int, Prefix]] = []
        while (len(used) + 1) * BLOCK < len(tokens):
            matching = [block for block in self.free if block[1] == tokens[: (len(used) + 1) * BLOCK]]
            if not matching:
                break
            used.append(min(matching))
            self.free.remove(used[-1])
        hits = len(used) * BLOCK
        del self.free[: needed - len(used)]
        for end in range(hits + BLOCK, len(tokens) + BLOCK, BLOCK):
            self.computed += 1
            used.append((self.computed, tokens[:end] if end <= len(tokens) else ()))
        self.free += [block for block in reversed(used) if block[1]]
        self.free[:0] = [block for block in used if not block[1]]
        return hits


@pytest.mark.parametrize("capacity", [3, 8, 20, 45])
def test_prefix_cache_evicts_least_recently_used_blocks(capacity: int) -> None:
    for seed in range(4):
        prompts, model = draw_prompts(seed, 150), ReferenceBlockCache(capacity)
        expected = tuple(model.serve(prompt) for prompt in prompts)
        assert compute_offered_hits(prompts, block_tokens=BLOCK, capacity_blocks=capacity).hit_tokens == expected
        assert sum(expected) <= sum(compute_offered_hits(prompts, block_tokens=BLOCK).hit_tokens)


@pytest.mark.parametrize(("tokens", "hits"), [(1, 0), (16, 0), (17, 16), (32, 16), (33, 32), (47, 32)])
def test_last_prompt_token_is_never_prefix_cache_hit(tokens: int, hits: int) -> None:
    prompts = [[(1, tokens)]] * 2
    assert compute_offered_hits(prompts) == OfferedHits((tokens, tokens), (0, hits))


def test_prompt_template_shifts_blocks_and_is_cached() -> None:
    prompts = [[(1, 12), (2, 30)], [(1, 12), (3, 30)], [(4, 100)]]
    assert compute_offered_hits(prompts).hit_tokens == (0, 0, 0)
    with_template = compute_offered_hits(prompts, template_tokens=20)
    assert (with_template.prompt_tokens, with_template.hit_tokens) == ((62, 62, 120), (0, 32, 16))


def test_conversation_hits_cached_responses() -> None:
    first = [(1, 40)]
    second = [*first, (50, 24), (2, 10)]
    assert compute_offered_hits([first, second]).hit_tokens == (0, 32)
    assert compute_offered_hits([first, second], responses=[[(50, 24)], []]).hit_tokens == (0, 48), "63 were computed"
    assert compute_offered_hits([first, second], responses=[[(50, 25)], []]).hit_tokens == (0, 64)


def test_prefix_cache_share_without_requests_is_none() -> None:
    assert OfferedHits().share is None
    assert compute_load_share([], [SentPart(0, 5, True)]) is None
    assert compute_load_share([[(1, 10)]], [SentPart(0, 1, False), SentPart(1, 0, True)]) is None
    assert compute_load_share([[]], [SentPart(0, 2, True)]) is None


@pytest.mark.parametrize(
    "parts",
    [
        [(0, 3, True)],
        [(0, 1, False), (0, 60, True), (0, 60, True)],
        [(0, 1, False), (0, 20, False), (0, 5, True), (0, 90, True), (0, 7, False), (0, 200, True)],
        [(0, 300, False), (0, 40, True)],
        [(0, 1, False), (1, 4, False), (5, 9, False), (0, 60, True)],
        [(0, 1, False), (1, 40, True), (41, 40, True), (81, 3, False)],
        [(30, 50, True), (7, 9, True), (0, 170, True)],
    ],
)
def test_load_share_is_hit_share_of_requests_in_send_order(parts: list[tuple[int, int, bool]]) -> None:
    prompts = [[(segment_id, 7 * length) for segment_id, length in prompt] for prompt in draw_prompts(1)]
    tree = PrefixTree()
    hits = total = 0
    for first, count, is_in_load in parts:
        for index in range(first, first + count):
            prompt = prompts[index % len(prompts)]
            hit_tokens = tree.admit(prompt)
            if is_in_load:
                hits, total = hits + hit_tokens, total + sum(tokens for _, tokens in prompt)
    assert compute_load_share(prompts, [SentPart(*part) for part in parts]) == hits / total


def test_running_requests_share_and_retain_blocks() -> None:
    cache = BlockCache(6, BLOCK)
    assert cache.admit(1, [(1, 10)]) == 0
    assert cache.admit(2, [(1, 10)]) == 8, "the first is still running"
    assert cache.free_count == 2
    assert cache.admit(3, [(2, 12)]) is None, "three blocks are needed, and two are free"
    assert cache.free_count == 2
    cache.release(1)
    assert cache.free_count == 3, "the blocks of the prefix are still in use"
    assert cache.admit(3, [(2, 12)]) == 0
    cache.release(3)
    cache.release(2)
    assert cache.admit(4, [(1, 10)]) == 8


def test_prefill_chunks_are_cached_when_computed() -> None:
    cache = BlockCache(20, BLOCK)
    assert cache.admit(1, [(1, 18)], scheduled_tokens=9) == 0
    assert cache.admit(2, [(1, 18)], scheduled_tokens=2) == 8
    assert cache.compute(1, 9)
    assert cache.admit(3, [(1, 18)]) == 16


def test_preempted_request_hits_its_computed_tokens() -> None:
    cache = BlockCache(4, BLOCK)
    assert cache.admit(1, [(1, 6)]) == 0
    cache.append(1, [(9, 10)])
    assert cache.compute(1, 10)
    cache.append(1, [(8, 1)])
    assert not cache.compute(1, 1), "there is no fifth block"
    cache.release(1)
    assert cache.admit(1, [(1, 6), (9, 10)]) == 12


@pytest.mark.parametrize("seed", range(12))
def test_block_cache_hits_match_reference_server_cache(seed: int) -> None:
    """Both caches, which share no code, get the same admissions, computed tokens and releases: each request is
    admitted with some of its tokens, computes the others, generates more, and is released at any time."""
    rng = np.random.default_rng(seed)
    capacity, block_tokens = int(rng.choice([6, 12, 25, 60])), int(rng.choice([1, 3, 4, 16]))
    block_cache, server_cache = BlockCache(capacity, block_tokens), KvCache(capacity)
    running: dict[int, _Running] = {}
    prompts: list[list[Segment]] = []
    admitted_count = hit_count = 0
    for step in range(300):
        choice = rng.random()
        request = int(rng.choice(list(running))) if running else -1
        if choice < 0.45 or not running:
            prompt = [*draw_prompts(1000 * seed + step, 1)[0]]
            if prompts and rng.random() < 0.8:
                earlier = prompts[int(rng.integers(len(prompts)))]
                prompt = earlier[: int(rng.integers(len(earlier) + 1))] + prompt
            request_state = _Running(prompt, block_tokens)
            prefix_blocks = server_cache.find_prefix(
                request_state.hashes, (len(request_state.tokens) - 1) // block_tokens
            )
            request_state.computed = len(prefix_blocks) * block_tokens
            scheduled = min(
                int(rng.integers(1, len(request_state.tokens) + 1)), len(request_state.tokens) - request_state.computed
            )
            needed = -(-(request_state.computed + scheduled) // block_tokens) - len(prefix_blocks)
            has_room = server_cache.has_room(needed, prefix_blocks)
            hits = block_cache.admit(step, prompt, scheduled)
            assert (hits is not None) == has_room
            if has_room:
                assert hits == request_state.computed
                admitted_count, hit_count = admitted_count + 1, hit_count + request_state.computed
                server_cache.share(prefix_blocks)
                request_state.blocks = prefix_blocks
                request_state.compute(server_cache, scheduled, needed)
                running[step] = request_state
                prompts.append(prompt)
        elif choice < 0.8:
            request_state = running[request]
            remaining = len(request_state.tokens) - request_state.computed
            if not remaining:
                remaining = int(rng.integers(1, 7))
                block_cache.append(request, [(10_000 + step, remaining)])
                request_state.extend([(10_000 + step, remaining)])
            scheduled = int(rng.integers(1, remaining + 1))
            needed = max(-(-(request_state.computed + scheduled) // block_tokens) - len(request_state.blocks), 0)
            has_room = server_cache.has_room(needed)
            assert block_cache.compute(request, scheduled) == has_room
            if has_room:
                request_state.compute(server_cache, scheduled, needed)
        else:
            ended = running.pop(request)
            server_cache.release(ended.blocks)
            block_cache.release(request)
            prompts.append(ended.segments)
    assert admitted_count > 20
    assert hit_count > 0


class _Running:
    """A request in the server's cache: its tokens, of which `computed` are in its blocks."""

    def __init__(self, segments: list[Segment], block_tokens: int) -> None:
        self.segments: list[Segment] = []
        self.tokens: list[str] = []
        self.hashes: list[bytes] = []
        self.blocks: list[int] = []
        self.computed = 0
        self._block_tokens = block_tokens
        self.extend(segments)

    def extend(self, segments: list[Segment]) -> None:
        self.segments = [*self.segments, *segments]
        self.tokens += [f"{segment_id}:{offset}" for segment_id, offset in list_tokens(segments)]
        extend_block_hashes(self.hashes, self.tokens, self._block_tokens)

    def compute(self, cache: KvCache, count: int, needed_blocks: int) -> None:
        self.blocks = [*self.blocks, *cache.allocate(needed_blocks)]
        first_block = self.computed // self._block_tokens
        self.computed += count
        for number in range(first_block, self.computed // self._block_tokens):
            cache.store(self.blocks[number], self.hashes[number])
