"""Positions of the variants of a local model under the rooflines of the processors that executed
them."""

from __future__ import annotations

import math

import msgspec

from reports import formatting
from reports.local_model import BottleneckRow, LocalSection, VariantRow

_GIGA = 1e9
_PEAK_TOLERANCE = 0.1
_ROOF_MARGIN = 3.0
"""Factor by which the roofs extend beyond the outermost points on the x axis."""
MAX_ROOFS = 6


class RoofPoint(msgspec.Struct, frozen=True):
    """A variant. `roof` is the name of its roof, or None if the roof is not drawn."""

    variant: VariantRow
    bottleneck: BottleneckRow
    roof: str | None

    @property
    def intensity(self) -> float:
        """Arithmetic intensity in FLOP/byte."""
        return self.bottleneck.flops_per_byte or 0.0

    @property
    def gflops(self) -> float:
        return (self.bottleneck.flops_per_s or 0.0) / _GIGA

    @property
    def roof_gflops(self) -> float:
        """Performance of the roof at the intensity of the variant."""
        return compute_roof_gflops(self.bottleneck, self.intensity)

    @property
    def roof_share(self) -> float:
        return self.gflops / self.roof_gflops

    @property
    def text(self) -> str:
        return f"{self.variant.name} reaches {formatting.format_percent(self.roof_share)} of its roof."


class Roof(msgspec.Struct, frozen=True):
    """Roof of a processor as three points: at the lowest intensity of the chart, at the ridge point,
    and at the highest intensity."""

    name: str
    processor: str | None
    intensities: tuple[float, float, float]
    gflops: tuple[float, float, float]


class Roofline(msgspec.Struct, frozen=True):
    points: tuple[RoofPoint, ...]
    roofs: tuple[Roof, ...]


def build_roofline(local: LocalSection | None) -> Roofline | None:
    """Build the roofline; `None` unless the FLOP/s, FLOP/byte and roof of at least one valid variant
    are known."""
    drawable = [
        (variant, bottleneck)
        for variant in (local.variants if local is not None else ())
        if (bottleneck := _get_drawable_bottleneck(variant)) is not None
    ]
    if not drawable:
        return None
    distinct = _select_distinct([bottleneck for _, bottleneck in drawable])[:MAX_ROOFS]
    bottlenecks = {format_roof_name(bottleneck): bottleneck for bottleneck in distinct}
    points = tuple(
        RoofPoint(variant, bottleneck, _find_roof_name(bottleneck, bottlenecks)) for variant, bottleneck in drawable
    )
    # Include the ridge points, so that they are visible.
    drawn_intensities = [point.intensity for point in points if point.roof is not None]
    intensities = [*drawn_intensities, *map(_compute_ridge, bottlenecks.values())]
    low, high = min(intensities) / _ROOF_MARGIN, max(intensities) * _ROOF_MARGIN
    return Roofline(points, tuple(_build_roof(name, roof, low, high) for name, roof in bottlenecks.items()))


def format_roof_name(bottleneck: BottleneckRow) -> str:
    peak_gflops, peak_gb_per_s = (
        (bottleneck.peak_flops_per_s or 0.0) / _GIGA,
        (bottleneck.peak_bytes_per_s or 0.0) / _GIGA,
    )
    source_note = "" if bottleneck.peak_basis == "measured" else " (data sheet)"
    flops_text, bandwidth_text = formatting.format_number(peak_gflops), formatting.format_number(peak_gb_per_s)
    return f"{bottleneck.processor}: {flops_text} GFLOP/s, {bandwidth_text} GB/s{source_note}"


def compute_roof_gflops(bottleneck: BottleneckRow, intensity: float) -> float:
    return min(bottleneck.peak_flops_per_s or 0.0, intensity * (bottleneck.peak_bytes_per_s or 0.0)) / _GIGA


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


def _build_roof(name: str, bottleneck: BottleneckRow, low: float, high: float) -> Roof:
    intensities = (low, _compute_ridge(bottleneck), high)
    start, ridge, end = (compute_roof_gflops(bottleneck, intensity) for intensity in intensities)
    return Roof(name, bottleneck.processor, intensities, (start, ridge, end))


def _compute_ridge(bottleneck: BottleneckRow) -> float:
    """Return the ridge point in FLOP/byte: the lowest arithmetic intensity at which memory
    bandwidth is not the limit."""
    return (bottleneck.peak_flops_per_s or 0.0) / (bottleneck.peak_bytes_per_s or 1.0)
