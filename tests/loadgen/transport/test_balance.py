from collections import Counter

import pytest

from loadgen.transport.balance import BalancedPools
from loadgen.transport.exchange import Exchange


class ScriptedPool:
    """Holds what it gets until it is told to answer."""

    opened_count = sent_count = closed_idle_count = 0

    def __init__(self) -> None:
        self.held: list[Exchange] = []
        self.descriptors: list[int] = []

    @property
    def outstanding_count(self) -> int:
        return len(self.held)

    def submit(self, exchange: Exchange) -> None:
        self.sent_count += 1
        self.held.append(exchange)

    def list_descriptors(self) -> list[int]:
        return self.descriptors

    async def resolve(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


def submit(balanced: BalancedPools, count: int) -> list[int]:
    made = [Exchange(index, 0, 0, b"", lambda _: None) for index in range(count)]
    for exchange in made:
        balanced.submit(exchange)
    return [exchange.target for exchange in made]


def test_round_robin_takes_turns_whatever_is_outstanding() -> None:
    pools = [ScriptedPool() for _ in range(3)]
    balanced = BalancedPools(pools, "round-robin")
    assert submit(balanced, 7) == [0, 1, 2, 0, 1, 2, 0]
    assert (balanced.sent_count, [len(pool.held) for pool in pools]) == (7, [3, 2, 2])


def test_least_outstanding_goes_where_least_is_and_of_equals_in_turn() -> None:
    pools = [ScriptedPool() for _ in range(3)]
    balanced = BalancedPools(pools, "least-outstanding")
    assert sorted(submit(balanced, 3)) == [0, 1, 2]
    pools[1].held.clear()
    assert submit(balanced, 1) == [1]
    for pool in pools:
        pool.held.clear()
    seen: Counter[int] = Counter()
    for _ in range(30):
        seen.update(submit(balanced, 1))
        for pool in pools:
            pool.held.clear()
    assert seen == {0: 10, 1: 10, 2: 10}


@pytest.mark.parametrize("count", [2, 5])
def test_power_of_two_choices_takes_the_better_of_two_and_the_same_every_run(count: int) -> None:
    def targets(slow: int | None) -> list[int]:
        pools = [ScriptedPool() for _ in range(count)]
        balanced = BalancedPools(pools, "power-of-two")
        seen: list[int] = []
        for _ in range(1_000):
            seen += submit(balanced, 1)
            for number, pool in enumerate(pools):
                if number != slow:
                    pool.held.clear()
        return seen

    assert targets(None) == targets(None)
    shares = Counter(targets(None))
    assert set(shares) == set(range(count))
    assert max(shares.values()) < 1.3 * 1_000 / count
    assert Counter(targets(slow=0))[0] == 1  # the one it keeps is one too many from then on
