from __future__ import annotations

import math

import pytest

from app.planning.crossing import crossing


@pytest.mark.parametrize("begin", [0.1, 3.0, 50.0])
def test_the_rate_is_found_from_wherever_the_search_begins(begin: float) -> None:
    rate, sigma = crossing(lambda per_s: math.log(per_s / 7.0), (0.1, begin, 100.0), 0.001)
    assert rate == pytest.approx(7.0, rel=0.001)
    assert rate <= 7.0
    assert 0 < sigma <= 0.0005


def test_the_ends_are_kept() -> None:
    assert crossing(lambda _: 1.0, (0.1, 3.0, 100.0), 0.001) == (0.0, 0.0)
    assert crossing(lambda _: -1.0, (0.1, 3.0, 100.0), 0.001) == (100.0, 0.0)


def test_plays_are_few() -> None:
    rates: list[float] = []

    def missed_by(per_s: float) -> float:
        rates.append(per_s)
        return -1.0 if per_s < 7.0 else 1e-9  # a step, which no interpolation finds

    crossing(missed_by, (0.1, 3.0, 100.0), 1e-12)
    assert len(rates) == 14
