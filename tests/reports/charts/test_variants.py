from __future__ import annotations

from typing import Any

import msgspec

from reports.charts.picture import Chart
from reports.charts.variants import build_variant_pareto_chart
from reports.model import Report
from tests.reports.charts.conftest import list_overlaps, read_texts


def _points(drawing: Chart) -> dict[str, dict[str, Any]]:
    return {value["variant"]: value for value in max(drawing.spec["datasets"].values(), key=len)}


def test_variant_pareto_chart_shows_every_variant_with_time_and_cost(local_report: Report) -> None:
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


def test_variant_pareto_line_joins_nondominated_variants(local_report: Report) -> None:
    drawing = build_variant_pareto_chart(local_report)
    assert drawing is not None
    line = drawing.spec["datasets"][drawing.spec["layer"][0]["data"]["name"]]
    assert [point["variant"] for point in line] == ["cpu int8-static, batch 4", "cpu int8-static, batch 1"]


def test_best_variant_is_labeled_with_its_accuracy(local_report: Report) -> None:
    drawing = build_variant_pareto_chart(local_report)
    assert drawing is not None
    labels = {point["label"] for values in drawing.spec["datasets"].values() for point in values if "label" in point}
    assert "cpu int8-static, batch 4, 96.9\u202f%" in labels
    assert "97.8\u202f%" in labels
    assert "The best is cpu int8-static, batch 4." in drawing.alternative


def test_invalid_variant_is_hollow_in_pareto_chart(fallback_report: Report) -> None:
    drawing = build_variant_pareto_chart(fallback_report)
    assert drawing is not None
    points = _points(drawing)
    assert (points["cuda"]["role"], points["cuda"]["fill"]) == ("unreliable", "var(--paper)")
    assert points["cpu"]["fill"] != "var(--paper)"
    assert "dashed" not in (drawing.note or "")


def test_single_variant_has_no_pareto_chart(local_report: Report, failed_report: Report, full_report: Report) -> None:
    assert local_report.local is not None
    single_variant = msgspec.structs.replace(local_report.local, variants=local_report.local.variants[:1])
    assert build_variant_pareto_chart(msgspec.structs.replace(local_report, local=single_variant)) is None
    assert build_variant_pareto_chart(failed_report) is None
    assert build_variant_pareto_chart(full_report) is None


def test_accuracy_label_that_overlaps_best_variant_is_only_in_table(local_report: Report) -> None:
    assert local_report.local is not None
    best = next(variant for variant in local_report.local.variants if variant.state == "best")
    beside = [
        msgspec.structs.replace(
            variant,
            latency=msgspec.structs.replace(variant.latency, value=1.02 * (best.latency.value or 0.0)),
            cost=best.cost,
        )
        if variant.name == "cpu int8-static, batch 1"
        else variant
        for variant in local_report.local.variants
    ]
    local = msgspec.structs.replace(local_report.local, variants=tuple(beside))
    drawing = build_variant_pareto_chart(msgspec.structs.replace(local_report, local=local))
    assert drawing is not None
    assert "cpu int8-static, batch 4, 96.9\u202f%" in {text.words for text in read_texts(drawing)}
    assert list_overlaps(drawing) == []
    assert [row[3] for row in drawing.rows if row[0] == "cpu int8-static, batch 1"] == ["96.9\u202f%"]
