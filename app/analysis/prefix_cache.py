"""Simulate the prefix cache of a language model server: how many prompt tokens of a sequence of
requests the cache can serve.

A prompt is a sequence of segments: pairs of an ID and a number of tokens. Two segments with the
same ID contain the same tokens, as far as both extend; tokens of different IDs differ. The rules
are those of vLLM:

- Only whole blocks of the server are cached, each by its tokens and all tokens before it.
- At least the last token of a prompt is computed, so a prompt that is cached completely is computed
  from the beginning of its last block.
- The free block that has been unused for the longest time is evicted first. Of the blocks that a
  request releases, the last one is evicted first. Blocks that are not full have no content to keep,
  so they are used again before any block is evicted (since vLLM 0.24).

`PrefixTree` has unlimited capacity. `BlockCache` has a number of blocks, and is given the server's
order of admissions, computed tokens and releases.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np

SERVER_BLOCK_TOKENS = 16
"""Default block size of vLLM on GPUs, in tokens."""
_TEMPLATE_ID = -1
_UNCACHED = -1

Segment = tuple[int, int]
"""ID of a part of a prompt, and its number of tokens."""


class OfferedHits(msgspec.Struct, frozen=True):
    """Prompt tokens of each request, and how many of them the prefix cache can serve."""

    prompt_tokens: tuple[int, ...] = ()
    hit_tokens: tuple[int, ...] = ()

    @property
    def share(self) -> float | None:
        """Share of all prompt tokens that the cache can serve; `None` without prompt tokens."""
        total = sum(self.prompt_tokens)
        return sum(self.hit_tokens) / total if total else None


def compute_offered_hits(
    prompts: Iterable[Sequence[Segment]],
    *,
    block_tokens: int = SERVER_BLOCK_TOKENS,
    template_tokens: int = 0,
    capacity_blocks: int | None = None,
    responses: Iterable[Sequence[Segment]] | None = None,
) -> OfferedHits:
    """Compute the hits of prompts that are served one after another, in this order.

    `template_tokens` is the length of a chat template before every prompt, which counts as part of
    the prompt. `capacity_blocks` is the number of blocks of the cache; `None` for unlimited
    capacity. If `responses` are given, their tokens are cached too, except the last one, which the
    server never computes.
    """
    template: tuple[Segment, ...] = ((_TEMPLATE_ID, template_tokens),) if template_tokens else ()
    tree = PrefixTree(block_tokens)
    cache = None if capacity_blocks is None else BlockCache(capacity_blocks, block_tokens)
    prompt_tokens: list[int] = []
    hit_tokens: list[int] = []
    response_iterator = None if responses is None else iter(responses)
    for prompt in prompts:
        segments = (*template, *prompt)
        response = () if response_iterator is None else next(response_iterator)
        prompt_tokens.append(count_tokens(segments))
        hit_tokens.append(
            tree.admit(segments, response) if cache is None else _serve(cache, len(hit_tokens), segments, response)
        )
    return OfferedHits(tuple(prompt_tokens), tuple(hit_tokens))


def compute_load_share(prompts: Iterable[Sequence[Segment]], parts: Sequence[tuple[int, bool]]) -> float | None:
    """Compute the share of the prompt tokens of a load that a cache of unlimited capacity can serve;
    `None` if nothing was sent.

    Each part of a run sends a number of prompts, from the first one on and repeatedly. `parts`
    contains these numbers in order, and whether the part belongs to the load. Other parts, such as
    the warm-up, only fill the cache.
    """
    offered = compute_offered_hits(prompts)
    count = len(offered.prompt_tokens)
    prompt_tokens, first_hits = np.asarray(offered.prompt_tokens), np.asarray(offered.hit_tokens)
    repeated_hits = np.maximum(prompt_tokens - 1, 0) // SERVER_BLOCK_TOKENS * SERVER_BLOCK_TOKENS
    seen_count = total_tokens = total_hits = 0
    for sent, is_in_load in parts if count else ():
        rounds, rest = divmod(sent, count)
        new = slice(seen_count, max(seen_count, min(sent, count)))
        seen_count = new.stop
        if is_in_load:
            total_tokens += rounds * int(prompt_tokens.sum()) + int(prompt_tokens[:rest].sum())
            total_hits += rounds * int(repeated_hits.sum()) + int(repeated_hits[:rest].sum())
            total_hits -= int((repeated_hits[new] - first_hits[new]).sum())
    return total_hits / total_tokens if total_tokens else None


def compute_consecutive_share(prompts: Iterable[Sequence[Segment]], parts: Sequence[tuple[int, bool]]) -> float | None:
    """Compute the share as `compute_load_share` does, but each part begins with the prompt after the
    last one of the previous part. The preflight sends the first prompt before all parts."""
    offered = compute_offered_hits(prompts)
    count = len(offered.prompt_tokens)
    prompt_tokens, first_hits = np.asarray(offered.prompt_tokens), np.asarray(offered.hit_tokens)
    repeated_hits = np.maximum(prompt_tokens - 1, 0) // SERVER_BLOCK_TOKENS * SERVER_BLOCK_TOKENS
    first_hits[:1] = repeated_hits[:1]
    start = total_tokens = total_hits = 0
    for sent, is_in_load in parts if count else ():
        sent_prompts = np.arange(start, start + sent)
        start += sent
        if is_in_load:
            rows = sent_prompts % count
            total_tokens += int(prompt_tokens[rows].sum())
            total_hits += int(np.where(sent_prompts < count, first_hits[rows], repeated_hits[rows]).sum())
    return total_hits / total_tokens if total_tokens else None


def count_tokens(segments: Iterable[Segment]) -> int:
    return sum(tokens for _, tokens in segments)


def _serve(cache: BlockCache, request: int, prompt: Sequence[Segment], response: Sequence[Segment]) -> int:
    """Serve one request from its admission to its release, and return its hits; 0 for a prompt that
    is larger than the cache."""
    hits = cache.admit(request, prompt)
    if hits is None:
        return 0
    if (response_tokens := count_tokens(response)) > 1:
        cache.append(request, response)
        cache.compute(request, response_tokens - 1)
    cache.release(request)
    return hits


class PrefixTree:
    """Prefix cache of unlimited capacity, as a radix tree of segments.

    A node is a position in prompts. `_longest` has the longest segment with an ID that follows a
    node, and `_nodes` the node after a segment.
    """

    def __init__(self, block_tokens: int = SERVER_BLOCK_TOKENS) -> None:
        self._block_tokens = block_tokens
        self._longest: dict[tuple[int, int], int] = {}
        self._nodes: dict[tuple[int, int, int], int] = {}

    def admit(self, prompt: Sequence[Segment], response: Sequence[Segment] = ()) -> int:
        """Return how many tokens of the prompt are cached, and cache the prompt and the response
        without its last token."""
        shared_tokens = self._insert(prompt)
        if response:
            self._insert(_drop_last_token((*prompt, *response)))
        return compute_hit_tokens(shared_tokens, count_tokens(prompt), self._block_tokens)

    def _insert(self, segments: Iterable[Segment]) -> int:
        """Insert a sequence of segments, and return the length of the longest prefix that had been
        inserted before."""
        node = shared_tokens = 0
        for segment_id, tokens in segments:
            longest = self._longest.get((node, segment_id), 0)
            shared_tokens += min(tokens, longest)  # 0 after a new node
            if tokens > longest:
                self._longest[node, segment_id] = tokens
            node = self._nodes.setdefault((node, segment_id, tokens), len(self._nodes) + 1)
        return shared_tokens


def compute_hit_tokens(shared_tokens: int, prompt_tokens: int, block_tokens: int) -> int:
    """Return how many tokens a cache serves if it has computed the first `shared_tokens` tokens of
    a prompt: whole blocks, without the last token of the prompt."""
    return max(min(shared_tokens, prompt_tokens - 1), 0) // block_tokens * block_tokens


def _drop_last_token(segments: Sequence[Segment]) -> Iterator[Segment]:
    remaining = count_tokens(segments) - 1
    for segment_id, tokens in segments:
        if remaining <= 0:
            return
        yield segment_id, min(tokens, remaining)
        remaining -= tokens


class _Request:
    """Running request: the keys of its full blocks, its blocks, and its progress in tokens.

    `known_tokens` counts the prompt and the generated tokens; `computed_tokens` those that have
    slots. `tail` has the tokens after the last full block.
    """

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.blocks: list[int] = []
        self.tail: list[tuple[int, int, int]] = []
        self.known_tokens = self.computed_tokens = self.cached_blocks = 0


class BlockCache:
    """Prefix cache of `capacity` blocks, with the order of evictions of vLLM.

    The caller repeats what the server did, in the server's order: `admit` a request, `compute` its
    further tokens, `append` generated tokens, and `release` the request when it ends or is
    preempted. A preempted request is admitted again with its generated tokens. `capacity` excludes
    the block that vLLM reserves.
    """

    def __init__(self, capacity: int, block_tokens: int = SERVER_BLOCK_TOKENS) -> None:
        self._block_tokens = block_tokens
        self._keys: dict[tuple[int, tuple[tuple[int, int, int], ...]], int] = {}
        self._blocks_by_key: dict[int, dict[int, None]] = {}
        """Blocks with the same content, in the order in which they were computed."""
        self._key_by_block = [_UNCACHED] * capacity
        self._uses = [0] * capacity
        self._free_blocks: OrderedDict[int, None] = OrderedDict.fromkeys(range(capacity))
        """Unused blocks in the order of their eviction."""
        self._requests: dict[int, _Request] = {}

    @property
    def free_count(self) -> int:
        return len(self._free_blocks)

    def admit(self, request: int, prompt: Sequence[Segment], scheduled_tokens: int | None = None) -> int | None:
        """Admit a request with the first chunk of its prompt, and return how many tokens of the
        prompt were cached. Return `None` without a change if there are too few free blocks.

        `scheduled_tokens` is the length of the first chunk after the cached tokens; `None` for the
        whole prompt.
        """
        state = _Request()
        self._add_tokens(state, prompt)
        hit_blocks = self._find_blocks(state.keys[: max(state.known_tokens - 1, 0) // self._block_tokens])
        hit_tokens = len(hit_blocks) * self._block_tokens
        state.computed_tokens = hit_tokens
        state.blocks, state.cached_blocks = list(hit_blocks), len(hit_blocks)
        tokens = state.known_tokens - hit_tokens if scheduled_tokens is None else scheduled_tokens
        unused_hits = sum(self._uses[block] == 0 for block in hit_blocks)
        if self._count_missing_blocks(state, tokens) > self.free_count - unused_hits:
            return None
        for block in hit_blocks:
            self._free_blocks.pop(block, None)
            self._uses[block] += 1
        self._requests[request] = state
        self._allocate(state, tokens)
        return hit_tokens

    def append(self, request: int, segments: Sequence[Segment]) -> None:
        """Add generated tokens to a request. Each call begins a new segment."""
        self._add_tokens(self._requests[request], segments)

    def compute(self, request: int, tokens: int) -> bool:
        """Compute the next `tokens` tokens of a request. Return False without a change if there are
        too few free blocks."""
        state = self._requests[request]
        if self._count_missing_blocks(state, tokens) > self.free_count:
            return False
        self._allocate(state, tokens)
        return True

    def release(self, request: int) -> None:
        """Release the blocks of a request. Full blocks remain cached until they are evicted."""
        for block in reversed(self._requests.pop(request).blocks):
            self._uses[block] -= 1
            if self._uses[block] == 0:
                self._free_blocks[block] = None
                if self._key_by_block[block] == _UNCACHED:
                    self._free_blocks.move_to_end(block, last=False)

    def _find_blocks(self, keys: Iterable[int]) -> list[int]:
        blocks: list[int] = []
        for key in keys:
            cached_blocks = self._blocks_by_key.get(key)
            if not cached_blocks:
                break
            blocks.append(next(iter(cached_blocks)))
        return blocks

    def _count_missing_blocks(self, state: _Request, tokens: int) -> int:
        return max(-(-(state.computed_tokens + tokens) // self._block_tokens) - len(state.blocks), 0)

    def _allocate(self, state: _Request, tokens: int) -> None:
        """Allocate blocks for the next tokens, and cache the blocks that are full then."""
        for _ in range(self._count_missing_blocks(state, tokens)):
            state.blocks.append(self._take_free_block())
        state.computed_tokens += tokens
        full_blocks = min(state.computed_tokens, state.known_tokens) // self._block_tokens
        for index in range(state.cached_blocks, full_blocks):
            block, key = state.blocks[index], state.keys[index]
            self._key_by_block[block] = key
            self._blocks_by_key.setdefault(key, {})[block] = None
        state.cached_blocks = max(state.cached_blocks, full_blocks)

    def _take_free_block(self) -> int:
        block, _ = self._free_blocks.popitem(last=False)
        key = self._key_by_block[block]
        if key != _UNCACHED:
            del self._blocks_by_key[key][block]
            if not self._blocks_by_key[key]:
                del self._blocks_by_key[key]
            self._key_by_block[block] = _UNCACHED
        self._uses[block] = 1
        return block

    def _add_tokens(self, state: _Request, segments: Iterable[Segment]) -> None:
        """Add tokens to a request, and compute the keys of the blocks that they fill."""
        space = self._block_tokens - sum(length for _, _, length in state.tail)
        for segment_id, tokens in segments:
            state.known_tokens += tokens
            start = 0
            while start < tokens:
                length = min(space, tokens - start)
                state.tail.append((segment_id, start, length))
                start, space = start + length, space - length
                if space == 0:
                    parent = state.keys[-1] if state.keys else _UNCACHED
                    state.keys.append(self._keys.setdefault((parent, tuple(state.tail)), len(self._keys)))
                    state.tail, space = [], self._block_tokens
