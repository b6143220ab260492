from __future__ import annotations

from typing import Any

import msgspec

from reports.charts.batch_size import build_batch_charts
from reports.charts.picture import Chart
from reports.charts.roofline import build_roofline_chart
from reports.local_model import BottleneckRow
from reports.model import Report


def _with_bounds(report: Report, *bounds: BottleneckRow | None) -> Report:
    assert report.local is not None
    variants = tuple(
        msgspec.structs.replace(one, bottleneck=bound)
        for one, bound in zip(report.local.variants, bounds, strict=False)
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
    every = [one for values in drawing.spec["datasets"].values() for one in values]
    lines = max(drawing.spec["datasets"].values(), key=lambda values: sum("variant" not in one for one in values))
    return lines, [one for one in every if "variant" in one]


def test_points_stand_under_the_roof_and_the_roof_bends_at_its_ridge(local_report: Report) -> None:
    drawing = build_roofline_chart(_with_bounds(local_report, _bound(200e9)))
    assert drawing is not None
    roof, points = _lines_and_points(drawing)
    assert [round(one["rate"], 3) for one in roof] == [83.333, 250.0, 250.0]
    assert roof[1]["intensity"] == 2.5
    (point,) = points
    assert (point["intensity"], point["rate"]) == (50.0, 200.0)
    assert drawing.rows == (
        ("cpu as-is, batch 1", "50.0", "200", "250", "this CPU: 250 GFLOP/s, 100 GB/s"),
    )  # fmt: skip
    assert drawing.alternative == "cpu as-is, batch 1 reaches 80.0\u202f% of its roof."


def test_a_peak_that_was_measured_twice_is_one_roof(local_report: Report) -> None:
    alike, other = _bound(200e9, peak=255e9), _bound(200e9, peak=900e9)
    drawing = build_roofline_chart(_with_bounds(local_report, _bound(200e9), alike, other))
    assert drawing is not None
    assert {one["roof"] for one in _lines_and_points(drawing)[0]} == {
        "this CPU: 250 GFLOP/s, 100 GB/s", "this CPU: 900 GFLOP/s, 100 GB/s",
    }  # fmt: skip


def _colours(drawing: Chart) -> dict[str, str]:
    scale = next(
        layer["encoding"]["color"]["scale"]
        for layer in drawing.spec["layer"]
        if "scale" in layer["encoding"].get("color", {})
    )
    return dict(zip(scale["domain"], scale["range"], strict=True))


def test_a_family_has_the_colour_that_it_has_beside(local_report: Report) -> None:
    drawing = build_roofline_chart(_with_bounds(local_report, _bound(200e9), None, None, None, None))
    beside = _colours(build_batch_charts(local_report)[-1])
    assert drawing is not None
    assert _colours(drawing) == {"cpu as-is": beside["cpu as-is"]}
    assert beside["cpu as-is"] != beside["cpu int8-static"]


def test_a_point_above_its_roof_says_what_that_means(local_report: Report) -> None:
    drawing = build_roofline_chart(_with_bounds(local_report, _bound(300e9)))
    assert drawing is not None
    assert "the measured peak is too low" in (drawing.note or "")


def test_no_peak_no_roof(local_report: Report, full_report: Report, failed_report: Report) -> None:
    assert build_roofline_chart(_with_bounds(local_report, _bound(200e9, peak=None), None)) is None
    assert build_roofline_chart(full_report) is None
    assert build_roofline_chart(failed_report) is None
