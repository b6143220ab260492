from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from reports.charts.picture import Chart
from reports.charts.probability import build_probability_chart
from reports.charts.style import ACCENT
from reports.model import PlanSection


def _bars(drawing: Chart | None) -> list[dict[str, Any]]:
    assert drawing is not None
    return [row for rows in drawing.spec["datasets"].values() for row in rows if "percent" in row]


def test_there_is_a_bar_for_one_fewer_the_planned_and_one_more(plan: PlanSection) -> None:
    drawing = build_probability_chart(plan)
    assert drawing is not None
    assert drawing.rows == (("3", "41.2\u202f%"), ("4 (planned)", "95.3\u202f%"), ("5", "over 99.9\u202f%"))
    assert [bar["color"] == ACCENT for bar in _bars(drawing)] == [False, True, False]
    assert drawing.alternative.endswith("The target is 95\u202f%.")


def test_one_instance_has_none_fewer_and_is_still_the_planned_one(plan: PlanSection) -> None:
    assert plan.recommended_row is not None
    row = replace(plan.recommended_row, instances=2, spare=1)
    bars = _bars(build_probability_chart(replace(plan, offers=(row,))))
    assert [(bar["instances"], bar["color"] == ACCENT) for bar in bars] == [("1 (planned)", True), ("2", False)]


def test_without_probabilities_there_is_no_chart(plan: PlanSection) -> None:
    assert plan.recommended_row is not None
    assert (
        build_probability_chart(replace(plan, offers=(replace(plan.recommended_row, slo_probabilities=None),))) is None
    )
    assert build_probability_chart(None) is None
