"""Roofline chart: the variants of a local model under the roofline of the processor that executed
them."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import (
    DASHES,
    MAX_SERIES,
    MUTED,
    PAPER,
    build_layer,
    build_point_scales,
    build_spec,
    fit_scale,
    list_variant_families,
)
from reports.local_model import BottleneckRow, VariantRow
from reports.model import Report

_GIGA = 1e9
_PEAK_TOLERANCE = 0.1
_ROOF_MARGIN = 3.0
"""Factor by which the roofs extend beyond the outermost points on the x axis."""
_HEADROOM = 1.4
"""Factor of headroom above the highest value on the y axis, for the name of a roof."""


def build_roofline_chart(report: Report) -> Chart | None:
    """Build the roofline chart; `None` unless the FLOP/s, FLOP/byte and roof of at least one valid
    variant are known."""
    local = report.local
    variants_with_bottlenecks = [
        (variant, bottleneck)
        for variant in (local.variants if local else ())
        if (bottleneck := _get_drawable_bottleneck(variant)) is not None
    ]
    if local is None or not variants_with_bottlenecks:
        return None
    families = list_variant_families(local)[:MAX_SERIES]
    bottlenecks = [bottleneck for _, bottleneck in variants_with_bottlenecks]
    roofs = {
        _format_roof_name(roof_bottleneck): roof_bottleneck
        for roof_bottleneck in _select_distinct(bottlenecks)[:MAX_SERIES]
    }
    points = [
        _build_point(variant, bottleneck, roof)
        for variant, bottleneck in variants_with_bottlenecks
        if (roof := _find_roof_name(bottleneck, roofs)) is not None and variant.family in families
    ]
    # Include the ridge points, so that they are visible.
    intensities = [*(point["intensity"] for point in points), *map(_compute_ridge, roofs.values())]
    roof_points = _build_lines(roofs, min(intensities) / _ROOF_MARGIN, max(intensities) * _ROOF_MARGIN)
    return Chart(
        key="roofline",
        title="Roofline",
        alternative=" ".join(
            _describe_position(variant, bottleneck) for variant, bottleneck in variants_with_bottlenecks
        ),
        spec=build_spec(_build_layers(points, roof_points, families), "roofline"),
        columns=("variant", "FLOP/byte", "GFLOP/s", "roof at this intensity (GFLOP/s)", "roof"),
        rows=tuple(_build_row(variant, bottleneck) for variant, bottleneck in variants_with_bottlenecks),
        note=_build_note(
            len(variants_with_bottlenecks) - len(points),
            any(_compute_roof_share(bottleneck) > 1 for bottleneck in bottlenecks),
        ),
    )


def _get_drawable_bottleneck(variant: VariantRow) -> BottleneckRow | None:
    bottleneck = variant.bottleneck
    if bottleneck is None or variant.state == "INVALID" or not bottleneck.flops_per_s or not bottleneck.flops_per_byte:
        return None
    return bottleneck if bottleneck.peak_flops_per_s and bottleneck.peak_bytes_per_s else None


def _select_distinct(bottlenecks: list[BottleneckRow]) -> list[BottleneckRow]:
    """Return one of each group of similar roofs. Repeated measurements of the same peak differ
    slightly, but one line is sufficient for them."""
    distinct_bottlenecks: list[BottleneckRow] = []
    for bottleneck in bottlenecks:
        if not any(_is_similar(bottleneck, distinct_bottleneck) for distinct_bottleneck in distinct_bottlenecks):
            distinct_bottlenecks.append(bottleneck)
    return distinct_bottlenecks


def _is_similar(first_row: BottleneckRow, second_row: BottleneckRow) -> bool:
    pairs = (
        (first_row.peak_flops_per_s, second_row.peak_flops_per_s),
        (first_row.peak_bytes_per_s, second_row.peak_bytes_per_s),
    )
    has_similar_peaks = all(math.isclose(a or 0.0, b or 0.0, rel_tol=_PEAK_TOLERANCE) for a, b in pairs)
    return has_similar_peaks and (first_row.processor, first_row.peak_basis) == (
        second_row.processor,
        second_row.peak_basis,
    )


def _find_roof_name(bottleneck: BottleneckRow, roofs: dict[str, BottleneckRow]) -> str | None:
    return next((name for name, roof in roofs.items() if _is_similar(bottleneck, roof)), None)


def _format_roof_name(bottleneck: BottleneckRow) -> str:
    peak_gflops, peak_gb_per_s = (
        (bottleneck.peak_flops_per_s or 0.0) / _GIGA,
        (bottleneck.peak_bytes_per_s or 0.0) / _GIGA,
    )
    source_note = "" if bottleneck.peak_basis == "measured" else " (data sheet)"
    flops_text, bandwidth_text = formatting.format_number(peak_gflops), formatting.format_number(peak_gb_per_s)
    return f"{bottleneck.processor}: {flops_text} GFLOP/s, {bandwidth_text} GB/s{source_note}"


def _compute_roof_gflops(bottleneck: BottleneckRow, intensity: float) -> float:
    return min(bottleneck.peak_flops_per_s or 0.0, intensity * (bottleneck.peak_bytes_per_s or 0.0)) / _GIGA


def _build_point(variant: VariantRow, bottleneck: BottleneckRow, roof_name: str) -> dict[str, Any]:
    return {
        "series": variant.family,
        "roof": roof_name,
        "variant": variant.name,
        "intensity": bottleneck.flops_per_byte,
        "rate": (bottleneck.flops_per_s or 0.0) / _GIGA,
        "shown": f"{formatting.format_number((bottleneck.flops_per_s or 0.0) / _GIGA)} GFLOP/s",
    }


def _build_lines(roofs: dict[str, BottleneckRow], low: float, high: float) -> list[dict[str, Any]]:
    """Return three points per roof: at arithmetic intensity `low`, at the ridge point, and at
    arithmetic intensity `high`."""
    return [
        {"roof": name, "intensity": intensity, "rate": _compute_roof_gflops(roof, intensity)}
        for name, roof in roofs.items()
        for intensity in (low, _compute_ridge(roof), high)
    ]


def _compute_ridge(bottleneck: BottleneckRow) -> float:
    """Return the ridge point in FLOP/byte: the lowest arithmetic intensity at which memory
    bandwidth is not the limit."""
    return (bottleneck.peak_flops_per_s or 0.0) / (bottleneck.peak_bytes_per_s or 1.0)


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
    roof_labels = [  # keeps the label readable where a line crosses it
        build_layer(roof_ends)
        .mark_text(align="right", baseline="bottom", dy=-5, **style)
        .encode(x=x, y=y, text=alt.Text("roof:N"))
        for style in ({"color": PAPER, "stroke": PAPER, "strokeWidth": 4}, {"color": MUTED})
    ]
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


def _describe_position(variant: VariantRow, bottleneck: BottleneckRow) -> str:
    return f"{variant.name} reaches {formatting.format_percent(_compute_roof_share(bottleneck))} of its roof."


def _compute_roof_share(bottleneck: BottleneckRow) -> float:
    return (bottleneck.flops_per_s or 0.0) / _GIGA / _compute_roof_gflops(bottleneck, bottleneck.flops_per_byte or 0.0)


def _build_row(variant: VariantRow, bottleneck: BottleneckRow) -> tuple[str, ...]:
    intensity, rate = bottleneck.flops_per_byte or 0.0, (bottleneck.flops_per_s or 0.0) / _GIGA
    numbers = (intensity, rate, _compute_roof_gflops(bottleneck, intensity))
    return (variant.name, *map(formatting.format_number, numbers), _format_roof_name(bottleneck))


def _build_note(hidden_count: int, is_above_roof: bool) -> str:
    hidden_note = f" {hidden_count} more variants are only in the table." if hidden_count else ""
    above_roof_note = " A point above its roof means that the measured peak is too low." if is_above_roof else ""
    return (
        "Variants left of the ridge point are memory bound; variants right of it are compute bound. One multiply-add "
        f"counts as 2 FLOP.{above_roof_note}{hidden_note}"
    )
