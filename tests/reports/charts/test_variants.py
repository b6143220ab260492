from __future__ import annotations

from typing import Any

import msgspec

from reports.charts.picture import Chart
from reports.charts.variants import build_variant_pareto_chart
from reports.model import Report
from tests.reports.charts.conftest import list_overlaps, read_texts


def _points(drawing: Chart) -> dict[str, dict[str, Any]]:
    return {value["variant"]: value for value in max(drawing.spec["datasets"].values(), key=len)}


def test_every_variant_with_a_time_and_a_cost_has_its_place(local_report: Report) -> None:
    drawing = build_variant_pareto_chart(local_report)
    assert drawing is not None
    assert {name: point["role"] for name, point in _points(drawing).items()} == {
        "cpu as-is, batch 1": "Pareto-optimal",
        "cpu as-is, batch 4": "Pareto-optimal",
        "cpu as-is, batch 16": "SLO missed",
        "cpu int8-static, batch 1": "Pareto-optimal",
        "cpu int8-static, batch 4": "best",
    }
    assert drawing.columns == (
        "variant", "cost per 1M inferences", "p95 service time, single-stream", "accuracy", "role",
    )  # fmt: skip
    assert drawing.rows[2][-1] == "SLO missed, Pareto-optimal"
    assert drawing.note is not None
    assert drawing.note.endswith("2 of 7 variants are not shown, because they were not measured or have too few calls.")


def test_the_line_joins_what_is_beaten_in_neither_cost_nor_latency(local_report: Report) -> None:
    drawing = build_variant_pareto_chart(local_report)
    assert drawing is not None
    line = drawing.spec["datasets"][drawing.spec["layer"][0]["data"]["name"]]
    assert [one["variant"] for one in line] == ["cpu int8-static, batch 4", "cpu int8-static, batch 1"]


def test_the_best_is_named_with_its_accuracy(local_report: Report) -> None:
    drawing = build_variant_pareto_chart(local_report)
    assert drawing is not None
    labels = {one["label"] for values in drawing.spec["datasets"].values() for one in values if "label" in one}
    assert "cpu int8-static, batch 4, 96.9\u202f%" in labels
    assert "97.8\u202f%" in labels
    assert "The best is cpu int8-static, batch 4." in drawing.alternative


def test_what_cannot_be_relied_on_is_hollow(strayed_report: Report) -> None:
    drawing = build_variant_pareto_chart(strayed_report)
    assert drawing is not None
    points = _points(drawing)
    assert (points["cuda"]["role"], points["cuda"]["fill"]) == ("unreliable", "var(--paper)")
    assert points["cpu"]["fill"] != "var(--paper)"
    assert "dashed" not in (drawing.note or "")


def test_one_variant_or_none_is_no_chart(local_report: Report, failed_report: Report, full_report: Report) -> None:
    assert local_report.local is not None
    one = msgspec.structs.replace(local_report.local, variants=local_report.local.variants[:1])
    assert build_variant_pareto_chart(msgspec.structs.replace(local_report, local=one)) is None
    assert build_variant_pareto_chart(failed_report) is None
    assert build_variant_pareto_chart(full_report) is None


def test_an_accuracy_that_would_cover_the_name_of_the_best_is_only_in_the_table(local_report: Report) -> None:
    assert local_report.local is not None
    best = next(one for one in local_report.local.variants if one.state == "best")
    beside = [
        msgspec.structs.replace(
            one, latency=msgspec.structs.replace(one.latency, value=1.02 * (best.latency.value or 0.0)), cost=best.cost
        )
        if one.name == "cpu int8-static, batch 1"
        else one
        for one in local_report.local.variants
    ]
    local = msgspec.structs.replace(local_report.local, variants=tuple(beside))
    drawing = build_variant_pareto_chart(msgspec.structs.replace(local_report, local=local))
    assert drawing is not None
    assert "cpu int8-static, batch 4, 96.9\u202f%" in {text.words for text in read_texts(drawing)}
    assert list_overlaps(drawing) == []
    assert [row[3] for row in drawing.rows if row[0] == "cpu int8-static, batch 1"] == ["96.9\u202f%"]
