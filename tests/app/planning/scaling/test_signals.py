from __future__ import annotations

import pytest

from app.planning.scaling.signals import SlidingMean


def test_the_mean_is_of_the_last_window_and_of_what_there_is_of_it() -> None:
    mean = SlidingMean(6.0, 2.0)
    assert mean.at(0.0) is None
    course = []
    for now_s, value in ((2.0, 6.0), (4.0, 0.0), (6.0, 0.0), (8.0, 3.0)):
        mean.add(now_s, value)
        course.append(mean.at(now_s))
    assert course == pytest.approx([6.0, 3.0, 2.0, 1.0])


def test_a_gap_counts_as_nothing_until_it_is_as_long_as_the_window() -> None:
    mean = SlidingMean(10.0, 1.0)
    mean.add(1.0, 4.0)
    mean.add(8.0, 4.0)
    assert mean.at(8.0) == pytest.approx(1.0)
    assert mean.at(18.0) is None
    mean.add(20.0, 4.0)
    assert mean.at(20.0) == 4.0
