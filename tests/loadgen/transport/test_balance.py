from collections import Counter

import pytest

from loadgen.transport.balance import BalancedPools
from loadgen.transport.exchange import Exchange


class ScriptedPool:
    """Stores the submitted exchanges until the test removes them."""

    opened_count = sent_count = closed_idle_count = 0

    def __init__(self) -> None:
        self.outstanding: list[Exchange] = []
        self.descriptors: list[int] = []

    @property
    def outstanding_count(self) -> int:
        return len(self.outstanding)

    def submit(self, exchange: Exchange) -> None:
        self.sent_count += 1
        self.outstanding.append(exchange)

    def list_descriptors(self) -> list[int]:
        return self.descriptors

    async def resolve(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


def submit(balanced: BalancedPools, count: int) -> list[int]:
    exchanges = [Exchange(index, 0, 0, b"", lambda _: None) for index in range(count)]
    for exchange in exchanges:
        balanced.submit(exchange)
    return [exchange.target for exchange in exchanges]


def test_round_robin_ignores_outstanding_requests() -> None:
    pools = [ScriptedPool() for _ in range(3)]
    balanced = BalancedPools(pools, "round-robin")
    assert submit(balanced, 7) == [0, 1, 2, 0, 1, 2, 0]
    assert (balanced.sent_count, [len(pool.outstanding) for pool in pools]) == (7, [3, 2, 2])


def test_least_outstanding_chooses_least_loaded_pool_and_alternates_between_equals() -> None:
    pools = [ScriptedPool() for _ in range(3)]
    balanced = BalancedPools(pools, "least-outstanding")
    assert sorted(submit(balanced, 3)) == [0, 1, 2]
    pools[1].outstanding.clear()
    assert submit(balanced, 1) == [1]
    for pool in pools:
        pool.outstanding.clear()
    counts: Counter[int] = Counter()
    for _ in range(30):
        counts.update(submit(balanced, 1))
        for pool in pools:
            pool.outstanding.clear()
    assert counts == {0: 10, 1: 10, 2: 10}


@pytest.mark.parametrize("count", [2, 5])
def test_power_of_two_chooses_less_loaded_pool_and_is_reproducible(count: int) -> None:
    def choose_targets(slow: int | None) -> list[int]:
        pools = [ScriptedPool() for _ in range(count)]
        balanced = BalancedPools(pools, "power-of-two")
        chosen: list[int] = []
        for _ in range(1_000):
            chosen += submit(balanced, 1)
            for number, pool in enumerate(pools):
                if number != slow:
                    pool.outstanding.clear()
        return chosen

    assert choose_targets(None) == choose_targets(None)
    shares = Counter(choose_targets(None))
    assert set(shares) == set(range(count))
    assert max(shares.values()) < 1.3 * 1_000 / count
    assert Counter(choose_targets(slow=0))[0] == 1  # with its outstanding request, it is the worse choice from then on
