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
    build_spec,
    fit_scale,
    new_chart,
    point_scales,
    variant_families,
)
from reports.local_model import BottleneckRow, VariantRow
from reports.model import Report

_GIGA = 1e9
_PEAK_TOLERANCE = 0.1
_ROOF_MARGIN = 3.0
"""Factor by which the roof extends beyond the points."""
_HEADROOM = 1.4
"""Factor of headroom above the highest point, for the name of a roof."""


def roofline(report: Report) -> Chart | None:
    """Build the roofline chart; `None` unless the FLOP/s, FLOP/byte and roof of at least one valid
    variant are known."""
    local = report.local
    with_bounds = [
        (variant, bound)
        for variant in (local.variants if local else ())
        if (bound := _drawable_bound(variant)) is not None
    ]
    if local is None or not with_bounds:
        return None
    families = variant_families(local)[:MAX_SERIES]
    bounds = [bound for _, bound in with_bounds]
    roofs = {_roof_name(bound_): bound_ for bound_ in _distinct(bounds)[:MAX_SERIES]}
    points = [
        _point(variant, bound, roof)
        for variant, bound in with_bounds
        if (roof := _roof_name_of(bound, roofs)) is not None and variant.family in families
    ]
    # Include the ridge points, so that they are visible.
    intensities = [*(point["intensity"] for point in points), *map(_ridge, roofs.values())]
    lines = _lines(roofs, min(intensities) / _ROOF_MARGIN, max(intensities) * _ROOF_MARGIN)
    return Chart(
        key="roofline",
        title="Roofline",
        alternative=" ".join(_sentence(variant, bound) for variant, bound in with_bounds),
        spec=build_spec(_layers(points, lines, families), "roofline"),
        columns=("variant", "FLOP/byte", "GFLOP/s", "roof at this intensity, GFLOP/s", "roof"),
        rows=tuple(_row(variant, bound) for variant, bound in with_bounds),
        note=_note(len(with_bounds) - len(points), any(_share(bound) > 1 for bound in bounds)),
    )


def _drawable_bound(variant: VariantRow) -> BottleneckRow | None:
    bound = variant.bottleneck
    if bound is None or variant.state == "INVALID" or not bound.flops_per_s or not bound.flops_per_byte:
        return None
    return bound if bound.peak_flops_per_s and bound.peak_bytes_per_s else None


def _distinct(bounds: list[BottleneckRow]) -> list[BottleneckRow]:
    """Return one bound per group of similar bounds: repeated measurements of the same peak differ
    slightly."""
    distinct: list[BottleneckRow] = []
    for bound in bounds:
        if not any(_is_similar(bound, kept_bound) for kept_bound in distinct):
            distinct.append(bound)
    return distinct


def _is_similar(left: BottleneckRow, right: BottleneckRow) -> bool:
    pairs = (left.peak_flops_per_s, right.peak_flops_per_s), (left.peak_bytes_per_s, right.peak_bytes_per_s)
    is_near = all(math.isclose(a or 0.0, b or 0.0, rel_tol=_PEAK_TOLERANCE) for a, b in pairs)
    return is_near and (left.processor, left.peak_basis) == (right.processor, right.peak_basis)


def _roof_name_of(bound: BottleneckRow, roofs: dict[str, BottleneckRow]) -> str | None:
    return next((name for name, roof in roofs.items() if _is_similar(bound, roof)), None)


def _roof_name(bound: BottleneckRow) -> str:
    flops, bandwidth = (bound.peak_flops_per_s or 0.0) / _GIGA, (bound.peak_bytes_per_s or 0.0) / _GIGA
    assumed = "" if bound.peak_basis == "measured" else " (data sheet)"
    return (
        f"{bound.processor}: {formatting.format_number(flops)} GFLOP/s, {formatting.format_number(bandwidth)} "
        f"GB/s{assumed}"
    )


def _roof_gflops(bound: BottleneckRow, intensity: float) -> float:
    return min(bound.peak_flops_per_s or 0.0, intensity * (bound.peak_bytes_per_s or 0.0)) / _GIGA


def _point(variant: VariantRow, bound: BottleneckRow, roof: str) -> dict[str, Any]:
    return {
        "series": variant.family,
        "roof": roof,
        "variant": variant.name,
        "intensity": bound.flops_per_byte,
        "rate": (bound.flops_per_s or 0.0) / _GIGA,
        "shown": f"{formatting.format_number((bound.flops_per_s or 0.0) / _GIGA)} GFLOP/s",
    }


def _lines(roofs: dict[str, BottleneckRow], low: float, high: float) -> list[dict[str, Any]]:
    """Return three points per roof: at intensity `low`, at the ridge point, and at intensity
    `high`."""
    return [
        {"roof": name, "intensity": intensity, "rate": _roof_gflops(roof, intensity)}
        for name, roof in roofs.items()
        for intensity in (low, _ridge(roof), high)
    ]


def _ridge(bound: BottleneckRow) -> float:
    """Return the ridge point in FLOP/byte: the lowest intensity at which memory bandwidth is not
    the limit."""
    return (bound.peak_flops_per_s or 0.0) / (bound.peak_bytes_per_s or 1.0)


def _layers(points: list[dict[str, Any]], lines: list[dict[str, Any]], families: list[str]) -> list[alt.Chart]:
    """Build the layers of the chart. Roofs are gray with their names above the flat part; points
    have the colors of their families."""
    all_points, ends = [*points, *lines], lines[2::3]
    top = _HEADROOM * max(point["rate"] for point in all_points)
    x = alt.X("intensity:Q", title="FLOP/byte", **fit_scale([point["intensity"] for point in all_points], 2))
    y = alt.Y("rate:Q", title="GFLOP/s", **fit_scale([*(point["rate"] for point in all_points), top], 2))
    names = [point["roof"] for point in ends]
    dashes = alt.StrokeDash("roof:N", legend=None, scale=alt.Scale(domain=names, range=DASHES[: len(names)]))
    roof = new_chart(lines).mark_line(strokeWidth=1.7, color=MUTED).encode(x=x, y=y, strokeDash=dashes)
    texts = [  # keeps the label readable where a line crosses it
        new_chart(ends)
        .mark_text(align="right", baseline="bottom", dy=-5, **style)
        .encode(x=x, y=y, text=alt.Text("roof:N"))
        for style in ({"color": PAPER, "stroke": PAPER, "strokeWidth": 4}, {"color": MUTED})
    ]
    if not points:
        return [roof, *texts]
    used = [name for name in families if any(point["series"] == name for point in points)]
    marks = (
        new_chart(points)
        .mark_point(size=60, filled=True, opacity=1)
        .encode(
            x=x,
            y=y,
            tooltip=[alt.Tooltip("variant:N"), alt.Tooltip("shown:N", title="achieved"), alt.Tooltip("roof:N")],
            **point_scales(used, among=families),
        )
    )
    return [roof, *texts, marks]


def _sentence(variant: VariantRow, bound: BottleneckRow) -> str:
    return f"{variant.name}: {formatting.format_percent(_share(bound))} of its roof."


def _share(bound: BottleneckRow) -> float:
    return (bound.flops_per_s or 0.0) / _GIGA / _roof_gflops(bound, bound.flops_per_byte or 0.0)


def _row(variant: VariantRow, bound: BottleneckRow) -> tuple[str, ...]:
    intensity, rate = bound.flops_per_byte or 0.0, (bound.flops_per_s or 0.0) / _GIGA
    numbers = (intensity, rate, _roof_gflops(bound, intensity))
    return (variant.name, *map(formatting.format_number, numbers), _roof_name(bound))


def _note(hidden: int, is_over: bool) -> str:
    more = f" {hidden} more variants are only in the table." if hidden else ""
    over = " A point above its roof means that the measured peak is too low." if is_over else ""
    return (
        f"Left of the ridge point: memory-bound; right: compute-bound. One multiply-add counts as 2 FLOP.{over}{more}"
    )
