from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from reports.charts.picture import Chart
from reports.charts.probability import build_probability_chart
from reports.charts.style import ACCENT
from reports.model import PlanSection
from tests.reports.charts.conftest import list_overlaps, read_texts


def _bars(drawing: Chart | None) -> list[dict[str, Any]]:
    assert drawing is not None
    return [row for rows in drawing.spec["datasets"].values() for row in rows if "percent" in row]


def test_probability_chart_has_bars_for_planned_one_fewer_and_one_more_instance(plan: PlanSection) -> None:
    drawing = build_probability_chart(plan)
    assert drawing is not None
    assert drawing.rows == (("3", "41.2\u202f%"), ("4 (planned)", "95.3\u202f%"), ("5", "over 99.9\u202f%"))
    assert [bar["color"] == ACCENT for bar in _bars(drawing)] == [False, True, False]
    assert drawing.alternative.endswith("The target is 95\u202f%.")


def test_probability_chart_of_single_instance_has_no_bar_for_zero(plan: PlanSection) -> None:
    assert plan.recommended_row is not None
    row = replace(plan.recommended_row, instances=2, spare=1)
    bars = _bars(build_probability_chart(replace(plan, offers=(row,))))
    assert [(bar["instances"], bar["color"] == ACCENT) for bar in bars] == [("1 (planned)", True), ("2", False)]


def test_plan_without_probabilities_has_no_probability_chart(plan: PlanSection) -> None:
    assert plan.recommended_row is not None
    assert (
        build_probability_chart(replace(plan, offers=(replace(plan.recommended_row, slo_probabilities=None),))) is None
    )
    assert build_probability_chart(None) is None


@pytest.mark.parametrize("target", [0.9, 0.95])
def test_probability_target_does_not_overlap_bar_values(plan: PlanSection, target: float) -> None:
    assert plan.recommended_row is not None
    assert plan.recommended_row.slo_probabilities is not None
    probabilities = replace(plan.recommended_row.slo_probabilities, one_fewer=target - 0.014, planned=0.991)
    row = replace(plan.recommended_row, slo_probabilities=probabilities)
    drawing = build_probability_chart(replace(plan, offers=(row,), confidence=target))
    assert drawing is not None
    assert f"target {100 * target:.0f}\u202f%" in {text.words for text in read_texts(drawing)}
    assert list_overlaps(drawing) == []
