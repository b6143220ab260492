from collections import Counter
from collections.abc import Sequence
from typing import Literal

import pytest

from loadgen.payloads.popularity import DRAWS, picks
from loadgen.workloads import Popularity


def drawn_of(popularity: Popularity, count: int, seed: int) -> Sequence[int]:
    drawn = picks(popularity, count, seed)
    assert drawn is not None
    return drawn


def test_in_turn_needs_no_picks() -> None:
    assert picks(Popularity(), 10, 1) is None


@pytest.mark.parametrize("kind", ["uniform", "zipf"])
def test_draws_are_seeded_and_within_the_requests(kind: Literal["uniform", "zipf"]) -> None:
    drawn = drawn_of(Popularity(kind), 10, 1)
    assert drawn == drawn_of(Popularity(kind), 10, 1) != drawn_of(Popularity(kind), 10, 2)
    assert set(drawn) == set(range(10))
    assert len(drawn) == DRAWS


def test_any_request_is_as_likely_as_another() -> None:
    counts = Counter(drawn_of(Popularity("uniform"), 10, 1))
    assert max(counts.values()) == pytest.approx(DRAWS / 10, rel=0.1)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 1e6])
def test_the_kth_most_popular_has_its_weight(exponent: float) -> None:
    counts = [count for _, count in Counter(drawn_of(Popularity("zipf", exponent), 10, 1)).most_common(3)]
    total = sum(k**-exponent for k in range(1, 11))
    wanted = [DRAWS * k**-exponent / total for k in (1, 2, 3)]
    assert [*counts, 0, 0][:3] == pytest.approx(wanted, rel=0.05, abs=5)


def test_which_is_popular_depends_on_the_seed() -> None:
    favourites = {Counter(drawn_of(Popularity("zipf"), 1_000, seed)).most_common(1)[0][0] for seed in range(5)}
    assert len(favourites) > 1
