from __future__ import annotations

from typing import Any

import msgspec

from reports.charts.curve import build_rate_chart
from reports.charts.picture import render_svg
from reports.model import Report, StageRow


def _points(report: Report) -> dict[str, dict[str, Any]]:
    drawing = build_rate_chart(report)
    assert drawing is not None
    values = max(drawing.spec["datasets"].values(), key=lambda rows: len(rows[0]) if rows else 0)
    return {value["stage"]: value for value in values}


def _changed(report: Report, name: str, **changes: Any) -> Report:
    def change(stage: StageRow) -> StageRow:
        return msgspec.structs.replace(stage, **changes) if stage.name == name else stage

    return msgspec.structs.replace(report, stages=tuple(map(change, report.stages)))


def test_failed_probes_are_on_rate_curve_and_warm_up_is_not(full_report: Report) -> None:
    points = _points(full_report)
    assert points["probe 400 req/s"]["state"] == "failed"
    assert points["step 218 req/s #3"]["state"] == "passed"
    assert "warm-up" not in points


def test_invalid_stage_is_marked_and_excluded_from_line(full_report: Report) -> None:
    report = _changed(full_report, "probe 283 req/s", validity="INVALID")
    drawing = build_rate_chart(report)
    assert drawing is not None
    assert _points(report)["probe 283 req/s"]["state"] == "INVALID"
    lines = [rows for rows in drawing.spec["datasets"].values() if set(rows[0]) == {"offered", "latency"}]
    assert 283.0 not in {row["offered"] for row in lines[0]}


def test_rate_curve_of_only_invalid_stages_has_points_and_no_line(full_report: Report) -> None:
    stages = tuple(msgspec.structs.replace(stage, validity="INVALID") for stage in full_report.stages)
    drawing = build_rate_chart(msgspec.structs.replace(full_report, stages=stages))
    assert drawing is not None
    assert all(drawing.spec["datasets"].values()), "a layer of nothing makes the browser's console complain"
    assert any("state" in rows[0] for rows in drawing.spec["datasets"].values())


def test_stage_without_latency_is_only_in_table(full_report: Report) -> None:
    stage = next(row for row in full_report.stages if row.name == "probe 400 req/s")
    report = _changed(full_report, stage.name, evaluated=msgspec.structs.replace(stage.evaluated, value=None))
    drawing = build_rate_chart(report)
    assert drawing is not None
    assert drawing.note == "1 of 11 stages have no p95 latency and are only in the table."
    assert len(drawing.rows) == 11


def test_rate_curve_shows_slo_and_max_rate(full_report: Report) -> None:
    drawing = build_rate_chart(full_report)
    assert drawing is not None
    svg = render_svg(drawing)
    assert "SLO &lt; 50" in svg
    assert "max 218" in svg
    assert render_svg(drawing) == svg


def test_report_without_stages_has_no_rate_curve(empty_report: Report) -> None:
    assert build_rate_chart(empty_report) is None
