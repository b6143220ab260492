from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from reports.charts.style import WIDTH
from reports.charts.tornado import build_tornado_chart
from reports.model import PlanSection
from reports.plan_section import SensitivityRow
from tests.fakes.whole_plan import A10G, L4
from tests.reports.charts.conftest import read_texts


def _bars(plan: PlanSection) -> dict[tuple[str, str], dict[str, Any]]:
    drawing = build_tornado_chart(plan)
    assert drawing is not None
    rows = [row for values in drawing.spec["datasets"].values() for row in values if "planned" in row]
    return {(row["input"], row["at"]): row for row in rows}


def _with(plan: PlanSection, *sensitivity_rows: SensitivityRow) -> PlanSection:
    return replace(plan, sensitivity=sensitivity_rows)


def test_each_input_has_bar_per_end_and_names_new_cheapest_offer(plan: PlanSection) -> None:
    bars = _bars(plan)
    assert (bars["peak", "72/s"]["side"], bars["peak", "72/s"]["words"]) == ("left", "72/s")
    assert bars["peak", "108/s"]["words"] == "108/s → aws/g5.xlarge"
    assert {bar["planned"] for bar in bars.values()} == {
        plan.recommended_row.usd_per_month.value if plan.recommended_row else None
    }


def test_sensitivity_without_feasible_offer_has_no_bar(plan: PlanSection) -> None:
    bar = _bars(plan)["confidence", "99 %"]
    assert (bar["usd"], bar["words"], bar["shown"]) == (bar["planned"], "99 %: no offer fits", "n/a")
    assert _bars(plan)["confidence", "80 %"]["usd"] < bar["planned"]
    drawing = build_tornado_chart(plan)
    assert drawing is not None
    assert ("confidence", "80 %", "2,062", L4, "99 %", "n/a", "no offer fits") in drawing.rows


def test_inputs_without_effect_are_in_note_and_not_drawn(plan: PlanSection) -> None:
    drawing = build_tornado_chart(plan)
    assert drawing is not None
    assert not [key for key in _bars(plan) if key[0] == "router"]
    assert (
        "These inputs do not change the monthly cost or the cheapest offer: router (least outstanding to random)."
        in (drawing.note or "")
    )
    assert build_tornado_chart(_with(plan, plan.sensitivity[-1])) is None
    assert build_tornado_chart(None) is None


def test_new_cheapest_offer_is_labeled_by_its_short_name(plan: PlanSection) -> None:
    elsewhere = "gcp/g2-standard-4@europe-west4"
    sensitivity_row = SensitivityRow(
        input="price",
        low="−20 %",
        high="+20 %",
        usd_per_month_low=2000.0,
        usd_per_month_high=2700.0,
        winner_low=L4,
        winner_high=elsewhere,
        winner_high_name="europe-west4",
    )
    assert _bars(_with(plan, sensitivity_row))["price", "+20 %"]["words"] == "+20 % → europe-west4"
    assert (
        _bars(_with(plan, replace(sensitivity_row, winner_high_name=None)))["price", "+20 %"]["words"]
        == f"+20 % → {elsewhere}"
    )


@pytest.mark.parametrize("costs", [(3000.0, 3500.0), (2000.0, 2200.0), (2576.9, 4000.0)])
def test_bar_labels_are_outside_both_bars(plan: PlanSection, costs: tuple[float, float]) -> None:
    sensitivity_row = replace(
        plan.sensitivity[0], usd_per_month_low=costs[0], usd_per_month_high=costs[1], winner_high=L4
    )
    bars = _bars(_with(plan, sensitivity_row))
    planned = bars["peak", "72/s"]["planned"]
    assert bars["peak", "72/s"]["edge"] == min(planned, *costs)
    assert bars["peak", "108/s"]["edge"] == max(planned, *costs)


def test_cost_ticks_are_round_and_not_negative(plan: PlanSection) -> None:
    cheap = replace(plan.sensitivity[0], usd_per_month_low=10.0, low="a long word for this end", winner_low=A10G)
    drawing = build_tornado_chart(_with(plan, cheap))
    assert drawing is not None
    (axis,) = [
        layer["encoding"]["x"]["axis"]
        for layer in drawing.spec["layer"]
        if layer["encoding"].get("x", {}).get("axis") and layer["mark"]["type"] == "bar"
    ]
    assert axis["values"][0] == 0
    assert all(tick % 1000 == 0 for tick in axis["values"])


def test_long_offer_name_is_shortened_to_chart_width(plan: PlanSection) -> None:
    sensitivity_row = replace(
        plan.sensitivity[0], winner_high="far", winner_high_name="a fleet of many small machines, far away"
    )
    drawing = build_tornado_chart(_with(plan, sensitivity_row))
    assert drawing is not None
    texts = read_texts(drawing)
    assert any(text.words.endswith("\u2026") for text in texts)
    assert max(text.right for text in texts) <= WIDTH
