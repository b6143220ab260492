from __future__ import annotations

import random

import pytest

from app.analysis.variant_front import (
    VariantPoint,
    best_within,
    front_of,
    machine_s_per_thousand_rows,
    usd_per_million_rows,
)


def point(
    latency_ms: float | None, cost: float | None, accuracy: float | None = None, rows_per_s: float | None = None
) -> VariantPoint:
    return VariantPoint(latency_ms=latency_ms, cost=cost, accuracy=accuracy, rows_per_s=rows_per_s)


def dominates(one: VariantPoint, other: VariantPoint) -> bool:
    """By the words of the definition, with every part known but accuracy."""
    assert one.latency_ms is not None
    assert other.latency_ms is not None
    assert one.cost is not None
    assert other.cost is not None
    accurate = other.accuracy is None or (one.accuracy is not None and one.accuracy >= other.accuracy)
    more_accurate = one.accuracy is not None and (other.accuracy is None or one.accuracy > other.accuracy)
    better = one.latency_ms < other.latency_ms or one.cost < other.cost or more_accurate
    return one.latency_ms <= other.latency_ms and one.cost <= other.cost and accurate and better


def test_the_front_has_no_dominated_point_and_a_point_of_it_dominates_every_other() -> None:
    dice = random.Random(6)
    for _ in range(300):
        points = [
            point(dice.randint(1, 9), dice.randint(1, 9), dice.choice([None, 0.7, 0.8, 0.9]))
            for _ in range(dice.randrange(12))
        ]
        front = front_of(points)
        assert not any(dominates(one, points[index]) for one in points for index in front)
        left_out = [one for index, one in enumerate(points) if index not in front]
        assert all(any(dominates(points[index], one) for index in front) for one in left_out)


def test_points_alike_all_stand() -> None:
    assert front_of([point(1, 1), point(2, 2), point(1, 1)]) == (0, 2)


def test_an_accuracy_not_known_beats_none_that_is() -> None:
    assert front_of([point(1, 1), point(2, 2, 0.9)]) == (0, 1)
    assert front_of([point(2, 2), point(1, 1, 0.9)]) == (1,)


def test_a_point_without_a_latency_or_a_cost_takes_no_part() -> None:
    assert front_of([point(None, 1), point(1, None), point(9, 9)]) == (2,)
    assert front_of([]) == ()


def test_the_best_is_the_fastest_that_meets_what_is_asked() -> None:
    points = [point(9, 1, rows_per_s=900), point(4, 1, rows_per_s=400), point(3, 1, rows_per_s=400), point(1, 1)]
    assert best_within(points, lambda one: (one.latency_ms or 0) < 5) == 1
    assert best_within(points, lambda one: True) == 0
    assert best_within(points, lambda one: (one.latency_ms or 0) < 2) is None


def test_costs_are_of_a_machine_that_is_never_idle() -> None:
    """3.60 USD an hour are 0.001 a second, in which 100 rows pass."""
    assert usd_per_million_rows(100, 3.6) == pytest.approx(10.0)
    assert machine_s_per_thousand_rows(100) == pytest.approx(10.0)
