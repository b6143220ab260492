from loadgen.reference.kv_cache import KvCache, extend_block_hashes


def fill(cache: KvCache, *names: bytes) -> list[int]:
    blocks = cache.allocate(len(names))
    for block, name in zip(blocks, names, strict=True):
        if name:
            cache.store(block, name)
    return blocks


def test_block_hash_covers_block_and_all_previous_blocks() -> None:
    hashes: list[bytes] = []
    extend_block_hashes(hashes, ["a", "b", "c"], 2)
    assert len(hashes) == 1, "only full blocks"
    extend_block_hashes(hashes, ["a", "b", "c", "d"], 2)
    other: list[bytes] = []
    extend_block_hashes(other, ["x", "b", "c", "d"], 2)
    assert len({*hashes, *other}) == 4


def test_blocks_freed_first_and_last_blocks_of_request_are_evicted_first() -> None:
    cache = KvCache(6)
    first, second = fill(cache, b"a1", b"a2", b"a3"), fill(cache, b"b1", b"b2")
    cache.release(second)
    cache.release(first)
    cache.allocate(4)
    assert cache.evicted_hashes == [b"b2", b"b1", b"a3"], "after the block that was never used"


def test_unused_block_is_allocated_before_eviction() -> None:
    cache = KvCache(3)
    full = fill(cache, b"a")
    open_end = fill(cache, b"b", b"")
    cache.release(full)
    cache.release(open_end)
    assert cache.allocate(1) == [open_end[1]]
    assert not cache.evicted_hashes


def test_shared_block_is_freed_by_last_user_and_becomes_newest() -> None:
    cache = KvCache(3)
    (shared,), (other,) = fill(cache, b"a"), fill(cache, b"b")
    cache.release([shared])
    cache.release([other])
    assert cache.find_prefix([b"a", b"b", b"c"], 3) == [shared, other]
    assert not cache.has_room(3, [shared]), "a free block that is shared is no longer free"
    cache.share([shared])
    assert (cache.used_count, cache.has_room(2), cache.has_room(3)) == (1, True, False)
    cache.release([shared])
    cache.allocate(2)
    assert cache.evicted_hashes == [b"b"]
    assert cache.find_prefix([b"b"], 1) == []
    assert cache.find_prefix([b"a"], 1) == [shared]


def test_duplicate_kv_block_is_a_cache_hit_after_eviction_of_first_copy() -> None:
    cache = KvCache(2)
    first, second = fill(cache, b"a"), fill(cache, b"a")
    cache.release(first)
    assert cache.find_prefix([b"a"], 1) == first
    cache.allocate(1)
    assert cache.find_prefix([b"a"], 1) == second


def test_unlimited_kv_cache_always_has_room_and_never_evicts() -> None:
    cache = KvCache(None)
    cache.release(fill(cache, *(b"%d" % index for index in range(100))))
    assert cache.has_room(10**9)
    fill(cache, *[b""] * 100)
    assert (cache.evicted_hashes, cache.used_count) == ([], 100)
