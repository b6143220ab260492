from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.rate_curve import curve_of
from app.records.stage import StageFacts
from tests.fakes.queues import stage_facts

RAMP = ((0.0, 10.0), (10.0, 110.0))
JUMP = ((0.0, 10.0), (5.0, 10.0), (5.0, 100.0), (6.0, 100.0), (6.0, 10.0))


def facts(rates: tuple[tuple[float, float], ...]) -> StageFacts:
    return replace(stage_facts(), rate_per_s=None, rates=rates)


@pytest.mark.parametrize(
    ("rates", "until_s", "area"),
    [
        (RAMP, 5, 10 * 5 + 10 * 25 / 2),
        (RAMP, 20, 600 + 1100),
        (JUMP, 5, 50),
        (JUMP, 5.5, 100),
        (JUMP, 7, 160),
        (((2.0, 10.0), (4.0, 20.0)), 4, 2 * 10 + 30),
        (((-3.0, 10.0), (3.0, 70.0)), 3, 40 * 3 + 10 * 9 / 2),
        (((5.0, 0.0), (10.0, 10.0)), 10, 25),
    ],
)
def test_the_area_is_that_of_straight_lines(
    rates: tuple[tuple[float, float], ...], until_s: float, area: float
) -> None:
    curve = curve_of(facts(rates))
    assert curve is not None
    assert curve.area_until(np.array([0.0, until_s])) == pytest.approx([0.0, area])


def test_one_rate_is_a_curve_too() -> None:
    curve = curve_of(stage_facts(200))
    assert curve is not None
    assert curve.area_until(np.array([3.0])) == pytest.approx([600])


@pytest.mark.parametrize("arrivals", ["trace", "closed", "locust"])
def test_answers_and_traces_have_no_curve(arrivals: str) -> None:
    assert curve_of(replace(stage_facts(), arrival_kind=arrivals)) is None
    assert curve_of(facts(())) is None
