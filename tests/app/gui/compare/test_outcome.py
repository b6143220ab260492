from __future__ import annotations

from pathlib import Path

import pytest

from app.gui.compare.entries import ComparisonEntry
from app.gui.compare.outcome import select_drawn_entries


@pytest.mark.parametrize(
    ("baseline", "candidate", "drawn"),
    [
        (1, 2, [0, 1, 2]),
        (7, 7, [0, 1, 2, 3, 7, 8, 9, 10]),
        (10, 1, [0, 1, 2, 3, 4, 5, 6, 10]),
        (1, 10, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_more_runs_than_can_be_reported_apart_are_drawn_by_the_first_of_each_side(
    baseline: int, candidate: int, drawn: list[int]
) -> None:
    runs = [ComparisonEntry(Path(f"b{place}"), "baseline") for place in range(baseline)]
    runs += [ComparisonEntry(Path(f"c{place}"), "candidate") for place in range(candidate)]
    assert [place for place, _ in select_drawn_entries(runs)] == drawn
