from __future__ import annotations

from reports.charts.families import families_of, relied_on
from reports.model import Report


def test_the_fastest_family_comes_first_and_what_never_ran_last(local_report: Report) -> None:
    assert local_report.local is not None
    assert families_of(local_report.local) == ["cpu int8-static", "cpu as-is", "cuda as-is"]
    assert {one.state for one in relied_on(local_report.local)} == {"best", "measured"}
