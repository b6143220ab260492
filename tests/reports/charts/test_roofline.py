from __future__ import annotations

from typing import Any

import msgspec

from reports.charts.figures import build_chart
from reports.charts.picture import Chart
from reports.charts.roofline import build_roofline_chart
from reports.local_model import BottleneckRow
from reports.model import Report
from reports.sections.batch_size import build_batch_figures


def _with_bounds(report: Report, *bounds: BottleneckRow | None) -> Report:
    assert report.local is not None
    variants = tuple(
        msgspec.structs.replace(variant, bottleneck=bound)
        for variant, bound in zip(report.local.variants, bounds, strict=False)
    )
    return msgspec.structs.replace(report, local=msgspec.structs.replace(report.local, variants=variants))


def _bound(flops: float, *, peak: float | None = 250e9) -> BottleneckRow:
    return BottleneckRow(
        limit="compute",
        sentence="",
        flops_per_s=flops,
        flops_per_byte=50.0,
        processor="this CPU",
        peak_flops_per_s=peak,
        peak_bytes_per_s=100e9,
        peak_basis="measured",
    )


def _lines_and_points(drawing: Chart) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rows = [row for values in drawing.spec["datasets"].values() for row in values]
    lines = max(drawing.spec["datasets"].values(), key=lambda values: sum("variant" not in row for row in values))
    return lines, [row for row in rows if "variant" in row]


def test_roofline_bends_at_ridge_and_points_are_below(local_report: Report) -> None:
    drawing = build_roofline_chart(_with_bounds(local_report, _bound(200e9)))
    assert drawing is not None
    roof, points = _lines_and_points(drawing)
    assert [round(row["rate"], 3) for row in roof] == [83.333, 250.0, 250.0]
    assert roof[1]["intensity"] == 2.5
    (point,) = points
    assert (point["intensity"], point["rate"]) == (50.0, 200.0)
    assert drawing.rows == (
        ("cpu as-is, batch 1", "50.0", "200", "250", "this CPU: 250 GFLOP/s, 100 GB/s"),
    )  # fmt: skip
    assert drawing.alternative == "cpu as-is, batch 1 reaches 80.0\u202f% of its roof."


def test_nearly_equal_measured_peaks_are_one_roofline(local_report: Report) -> None:
    alike, other = _bound(200e9, peak=255e9), _bound(200e9, peak=900e9)
    drawing = build_roofline_chart(_with_bounds(local_report, _bound(200e9), alike, other))
    assert drawing is not None
    assert {row["roof"] for row in _lines_and_points(drawing)[0]} == {
        "this CPU: 250 GFLOP/s, 100 GB/s", "this CPU: 900 GFLOP/s, 100 GB/s",
    }  # fmt: skip


def _colors(drawing: Chart) -> dict[str, str]:
    scale = next(
        layer["encoding"]["color"]["scale"]
        for layer in drawing.spec["layer"]
        if "scale" in layer["encoding"].get("color", {})
    )
    return dict(zip(scale["domain"], scale["range"], strict=True))


def test_variant_family_has_same_color_in_roofline_and_batch_charts(local_report: Report) -> None:
    drawing = build_roofline_chart(_with_bounds(local_report, _bound(200e9), None, None, None, None))
    figure = build_batch_figures(local_report)["batch-throughput"]
    assert figure is not None
    assert drawing is not None
    beside = _colors(build_chart("batch-throughput", figure))
    assert _colors(drawing) == {"cpu as-is": beside["cpu as-is"]}
    assert beside["cpu as-is"] != beside["cpu int8-static"]


def test_point_above_roofline_has_note_on_measured_peak(local_report: Report) -> None:
    drawing = build_roofline_chart(_with_bounds(local_report, _bound(300e9)))
    assert drawing is not None
    assert "the measured peak is too low" in (drawing.note or "")


def test_run_without_measured_peak_has_no_roofline(
    local_report: Report, full_report: Report, failed_report: Report
) -> None:
    assert build_roofline_chart(_with_bounds(local_report, _bound(200e9, peak=None), None)) is None
    assert build_roofline_chart(full_report) is None
    assert build_roofline_chart(failed_report) is None
