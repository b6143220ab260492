from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from reports.charts.peak_day import build_peak_day_chart
from reports.model import Limit, PlanSection


def _values(plan: PlanSection, field: str) -> list[dict[str, Any]]:
    drawing = build_peak_day_chart(plan)
    assert drawing is not None
    return [one for rows in drawing.spec["datasets"].values() for one in rows if field in one]


def test_every_hour_is_in_the_table_with_what_it_cost(plan: PlanSection) -> None:
    drawing = build_peak_day_chart(plan)
    assert drawing is not None
    assert len(drawing.rows) == 24
    assert drawing.rows[12] == ("12:00", "90.0", "5", "1,290", "4,800", "7,700", "99.9\u202f%", "3.53")


def test_an_hour_without_an_answer_is_a_gap_and_says_so(plan: PlanSection) -> None:
    drawing = build_peak_day_chart(plan)
    assert drawing is not None
    assert drawing.rows[4] == ("04:00", "18.0", "2", "n/a", "n/a", "n/a", "n/a", "1.41")
    assert {one["p95"] for one in _values(plan, "p95") if one["from"] == "04:00"} == {None}


def test_instances_are_named_where_their_number_changes(plan: PlanSection) -> None:
    assert [one["count"] for one in _values(plan, "count")] == ["2 instances", "5"]
    assert plan.day is not None
    constant = replace(plan, day=replace(plan.day, instances=(5.0,) * 24))
    assert _values(constant, "count") == []


def test_the_slo_is_drawn_only_where_it_is_of_the_latency_that_was_played(plan: PlanSection) -> None:
    assert _values(plan, "limit") == [], "its limit is on the first token"
    limit = Limit(comparator="<", value=9000.0, unit="ms")
    of_latency = replace(plan, latency_metric="latency_ms.p95", latency_limit=limit)
    assert {one["text"] for one in _values(of_latency, "limit")} == {"SLO p95 < 9,000\u202fms"}


def test_no_day_is_no_chart(plan: PlanSection) -> None:
    assert build_peak_day_chart(replace(plan, day=None)) is None
    assert build_peak_day_chart(None) is None


def test_a_day_without_any_answer_is_still_drawn(plan: PlanSection) -> None:
    assert plan.day is not None
    none = (None,) * 24
    drawing = build_peak_day_chart(replace(plan, day=replace(plan.day, p50_ms=none, p95_ms=none, p99_ms=none)))
    assert drawing is not None
    assert "no responses" in drawing.alternative
