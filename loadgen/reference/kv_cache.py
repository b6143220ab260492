"""Paged KV cache with prefix caching, simulated as vLLM V1 manages it.

The cache has blocks of a fixed number of tokens. A full block is identified by a hash of its tokens
and of all tokens before it, so that requests with a common prefix share blocks. A block that no
request uses keeps its contents until it is needed: the blocks that became free first are evicted
first, and of one request, the last block before the first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

_HASH_BYTES = 16


def extend_block_hashes(hashes: list[bytes], tokens: Sequence[str], block_tokens: int) -> None:
    """Append the hashes of the full blocks of `tokens` that `hashes` does not contain yet."""
    for start in range(len(hashes) * block_tokens, len(tokens) - block_tokens + 1, block_tokens):
        block_bytes = " ".join(tokens[start : start + block_tokens]).encode()
        parent_hash = hashes[-1] if hashes else b""
        hashes.append(blake2b(parent_hash + block_bytes, digest_size=_HASH_BYTES).digest())


class _Block(msgspec.Struct):
    user_count: int = 0
    hash: bytes | None = None


class KvCache:
    """Blocks of a KV cache, by number. `capacity` is the number of blocks; `None` for no limit."""

    def __init__(self, capacity: int | None) -> None:
        self._capacity = capacity
        self._blocks: list[_Block] = []
        # Free blocks in the order in which they are used next. Without a limit, none is used again.
        self._free_blocks: OrderedDict[int, None] = OrderedDict()
        # Several requests can compute the same block. All copies are cached, and the first is shared.
        self._cached_blocks: dict[bytes, OrderedDict[int, None]] = {}
        self.evicted_hashes: list[bytes] = []
        """Hashes of evicted blocks, in order, until the user of the cache clears the list."""

    @property
    def used_count(self) -> int:
        """Number of blocks that requests use."""
        return len(self._blocks) - len(self._free_blocks)

    def find_prefix(self, hashes: Sequence[bytes], max_blocks: int) -> list[int]:
        """Return the blocks of the longest cached prefix, at most `max_blocks`."""
        cached_blocks: list[int] = []
        for block_hash in hashes[:max_blocks]:
            copies = self._cached_blocks.get(block_hash)
            if copies is None:
                break
            cached_blocks.append(next(iter(copies)))
        return cached_blocks

    def has_room(self, new_count: int, shared_blocks: Iterable[int] = ()) -> bool:
        """Return whether a request can use `shared_blocks` and `new_count` new blocks."""
        if self._capacity is None:
            return True
        idle_count = sum(not self._blocks[block].user_count for block in shared_blocks)
        return self.used_count + idle_count + new_count <= self._capacity

    def share(self, blocks: Iterable[int]) -> None:
        """Add a user to cached blocks."""
        for block in blocks:
            if not self._blocks[block].user_count:
                del self._free_blocks[block]
            self._blocks[block].user_count += 1

    def allocate(self, count: int) -> list[int]:
        """Return new blocks, and evict their cached contents. There must be room for them."""
        return [self._allocate_block() for _ in range(count)]

    def _allocate_block(self) -> int:
        if self._capacity is None or len(self._blocks) < self._capacity:
            self._blocks.append(_Block(1))
            return len(self._blocks) - 1
        number, _ = self._free_blocks.popitem(last=False)
        block = self._blocks[number]
        if block.hash is not None:
            copies = self._cached_blocks[block.hash]
            del copies[number]
            if not copies:
                del self._cached_blocks[block.hash]
            self.evicted_hashes.append(block.hash)
        block.user_count, block.hash = 1, None
        return number

    def store(self, number: int, block_hash: bytes) -> None:
        """Cache a used block under the hash of its contents."""
        self._blocks[number].hash = block_hash
        self._cached_blocks.setdefault(block_hash, OrderedDict())[number] = None

    def release(self, blocks: Sequence[int]) -> None:
        """Remove a user from the blocks of a request. Of blocks that become free, those without
        cached contents are used next."""
        idle_blocks: list[int] = []
        for number in reversed(blocks):
            block = self._blocks[number]
            block.user_count -= 1
            if not block.user_count:
                idle_blocks.append(number)
                self._free_blocks[number] = None
        for number in reversed(idle_blocks):
            if self._blocks[number].hash is None:
                self._free_blocks.move_to_end(number, last=False)
