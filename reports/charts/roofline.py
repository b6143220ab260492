"""Roofline chart: the variants of a local model under the roofline of the processor that executed
them."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import (
    DASHES,
    MUTED,
    build_halo_texts,
    build_layer,
    build_point_scales,
    build_spec,
    fit_scale,
)
from reports.model import Report
from reports.roofline import Roofline, RoofPoint, build_roofline, format_roof_name
from reports.sections.batch_size import list_variant_families
from reports.sections.figure import MAX_SERIES

_HEADROOM = 1.4
"""Factor of headroom above the highest value on the y axis, for the name of a roof."""


def build_roofline_chart(report: Report) -> Chart | None:
    """Build the roofline chart; `None` unless the FLOP/s, FLOP/byte and roof of at least one valid
    variant are known."""
    local, roofline = report.local, build_roofline(report.local)
    if local is None or roofline is None:
        return None
    families = list_variant_families(local)[:MAX_SERIES]
    points = [
        _build_point(point) for point in roofline.points if point.roof is not None and point.variant.family in families
    ]
    return Chart(
        key="roofline",
        title="Roofline",
        alternative=" ".join(point.text for point in roofline.points),
        spec=build_spec(_build_layers(points, _build_lines(roofline), families), "roofline"),
        columns=("variant", "FLOP/byte", "GFLOP/s", "roof at this intensity (GFLOP/s)", "roof"),
        rows=tuple(_build_row(point) for point in roofline.points),
        note=_build_note(
            len(roofline.points) - len(points),
            any(point.roof_share > 1 for point in roofline.points),
        ),
    )


def _build_point(point: RoofPoint) -> dict[str, Any]:
    return {
        "series": point.variant.family,
        "roof": point.roof,
        "variant": point.variant.name,
        "intensity": point.intensity,
        "rate": point.gflops,
        "shown": f"{formatting.format_number(point.gflops)} GFLOP/s",
    }


def _build_lines(roofline: Roofline) -> list[dict[str, Any]]:
    return [
        {"roof": roof.name, "intensity": intensity, "rate": gflops}
        for roof in roofline.roofs
        for intensity, gflops in zip(roof.intensities, roof.gflops, strict=True)
    ]


def _build_layers(
    points: list[dict[str, Any]], roof_points: list[dict[str, Any]], families: list[str]
) -> list[alt.Chart]:
    """Build the layers of the chart. Roofs are gray with their names above the flat part; points
    have the colors of their families."""
    all_points, roof_ends = [*points, *roof_points], roof_points[2::3]
    max_rate = _HEADROOM * max(point["rate"] for point in all_points)
    x = alt.X(
        "intensity:Q",
        title="Arithmetic intensity (FLOP/byte)",
        **fit_scale([point["intensity"] for point in all_points], 2),
    )
    y = alt.Y(
        "rate:Q", title="Performance (GFLOP/s)", **fit_scale([*(point["rate"] for point in all_points), max_rate], 2)
    )
    roof_names = [point["roof"] for point in roof_ends]
    dashes = alt.StrokeDash("roof:N", legend=None, scale=alt.Scale(domain=roof_names, range=DASHES[: len(roof_names)]))
    roof_lines = build_layer(roof_points).mark_line(strokeWidth=1.7, color=MUTED).encode(x=x, y=y, strokeDash=dashes)
    label_data = build_layer([{**point, "text": point["roof"]} for point in roof_ends])
    roof_labels = build_halo_texts(label_data, MUTED, {"align": "right", "baseline": "bottom", "dy": -5}, x=x, y=y)
    if not points:
        return [roof_lines, *roof_labels]
    shown_families = [name for name in families if any(point["series"] == name for point in points)]
    marks = (
        build_layer(points)
        .mark_point(size=60, filled=True, opacity=1)
        .encode(
            x=x,
            y=y,
            tooltip=[alt.Tooltip("variant:N"), alt.Tooltip("shown:N", title="Achieved"), alt.Tooltip("roof:N")],
            **build_point_scales(shown_families, all_names=families),
        )
    )
    return [roof_lines, *roof_labels, marks]


def _build_row(point: RoofPoint) -> tuple[str, ...]:
    numbers = (point.intensity, point.gflops, point.roof_gflops)
    return (point.variant.name, *map(formatting.format_number, numbers), format_roof_name(point.bottleneck))


def _build_note(hidden_count: int, is_above_roof: bool) -> str:
    hidden_note = f" {hidden_count} more variants are only in the table." if hidden_count else ""
    above_roof_note = " A point above its roof means that the measured peak is too low." if is_above_roof else ""
    return (
        "Variants left of the ridge point are memory bound; variants right of it are compute bound. One multiply-add "
        f"counts as 2 FLOP.{above_roof_note}{hidden_note}"
    )
