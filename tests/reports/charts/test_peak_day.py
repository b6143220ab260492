from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from reports.charts.peak_day import build_peak_day_chart
from reports.model import Limit, PlanSection


def _values(plan: PlanSection, field: str) -> list[dict[str, Any]]:
    drawing = build_peak_day_chart(plan)
    assert drawing is not None
    return [row for rows in drawing.spec["datasets"].values() for row in rows if field in row]


def test_peak_day_table_has_every_hour_with_cost(plan: PlanSection) -> None:
    drawing = build_peak_day_chart(plan)
    assert drawing is not None
    assert len(drawing.rows) == 24
    assert drawing.rows[12] == ("12:00", "90.0", "5", "1,290", "4,800", "7,700", "99.9\u202f%", "3.53")


def test_hour_without_latency_is_gap_in_peak_day_chart(plan: PlanSection) -> None:
    drawing = build_peak_day_chart(plan)
    assert drawing is not None
    assert drawing.rows[4] == ("04:00", "18.0", "2", "n/a", "n/a", "n/a", "n/a", "1.41")
    assert {row["p95"] for row in _values(plan, "p95") if row["from"] == "04:00"} == {None}


def test_instance_counts_are_labeled_where_they_change(plan: PlanSection) -> None:
    assert [row["count"] for row in _values(plan, "count")] == ["2 instances", "5"]
    assert plan.day is not None
    constant = replace(plan, day=replace(plan.day, instances=(5.0,) * 24))
    assert _values(constant, "count") == []


def test_peak_day_chart_shows_slo_only_of_simulated_latency(plan: PlanSection) -> None:
    assert _values(plan, "limit") == [], "its limit is on the first token"
    limit = Limit(comparator="<", value=9000.0, unit="ms")
    of_latency = replace(plan, latency_metric="latency_ms.p95", latency_limit=limit)
    assert {row["text"] for row in _values(of_latency, "limit")} == {"SLO p95 < 9,000\u202fms"}


def test_plan_without_simulated_day_has_no_peak_day_chart(plan: PlanSection) -> None:
    assert build_peak_day_chart(replace(plan, day=None)) is None
    assert build_peak_day_chart(None) is None


def test_peak_day_without_responses_is_drawn(plan: PlanSection) -> None:
    assert plan.day is not None
    none = (None,) * 24
    drawing = build_peak_day_chart(replace(plan, day=replace(plan.day, p50_ms=none, p95_ms=none, p99_ms=none)))
    assert drawing is not None
    assert "no responses" in drawing.alternative
