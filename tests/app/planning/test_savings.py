from __future__ import annotations

import math

import pytest

from app.planning.savings import Size, WhatIfChange, caching, faster_variant, savings, together, warm_pool


def sized(change: WhatIfChange) -> Size:
    """1,000/s over 100/s each, and four kept for a rise; 100 USD a month each."""
    needed = math.ceil(1000 * change.traffic_factor / (100 * change.capacity_factor) - 1e-9)
    replicas = needed + math.ceil(4 * change.headroom_factor - 1e-9)
    return Size(replicas, 100.0 * replicas)


def test_each_change_is_sized_by_itself_and_the_best_leads() -> None:
    found = savings(
        [caching(0.3, usd_per_month=50), faster_variant("int8", 200, 100), warm_pool(20, 80), caching(0)], sized
    )
    assert [(one.change.name, one.after.replicas, one.usd_per_month) for one in found] == [
        ("int8", 9, 500),
        ("warm pool", 11, 300),
        ("caching", 11, 250),
        ("caching", 14, 0),
    ]
    assert all(one.before == Size(14, 1400.0) for one in found)
    assert found[0].share == pytest.approx(5 / 14)
    assert [one.change.basis for one in found] == ["measured", "assumed", "assumed", "assumed"]


def test_a_change_may_cost_more_than_it_saves() -> None:
    (dear,) = savings([caching(0.1, usd_per_month=900)], sized)
    assert dear.usd_per_month == -800


def test_a_sizing_that_finds_nothing_saves_nothing_known() -> None:
    (unknown,) = savings([caching(0.5)], lambda change: Size(None, None))
    assert (unknown.usd_per_month, unknown.share) == (None, None)
    known = savings([caching(0.5), faster_variant("x", 2, 1)],
                    lambda change: sized(change) if change.capacity_factor == 1 else Size(None, None))  # fmt: skip
    assert [one.change.name for one in known] == ["caching", "x"]


def test_changes_together_multiply_and_are_as_sure_as_the_least() -> None:
    both = together([faster_variant("int8", 200, 100), caching(0.5, usd_per_month=10), caching(0.5)])
    assert (both.capacity_factor, both.traffic_factor, both.extra_usd_per_month) == (2, 0.25, 10)
    assert both.basis == "assumed"
    assert both.name == "int8 + caching + caching"
    assert together([faster_variant("a", 2, 1), faster_variant("b", 2, 1)]).basis == "extrapolated"
    assert together([faster_variant("a", 2, 1)]).basis == "measured"
    assert together([]).capacity_factor == 1


def test_what_a_change_rests_on_is_said() -> None:
    assert faster_variant("int8", 150, 100).because == "1.50 × the present rate inside the SLO, measured"
    assert caching(0.25).because == "25% of the requests answered by a cache, assumed"
