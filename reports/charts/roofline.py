"""Where variants stand under the roof of the processor that they ran on."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Drawing
from reports.charts.style import DASHES, MAX_SERIES, MUTED, PAPER, chart_of, families_of, fitted, point_scales, styled
from reports.local_model import BoundRow, VariantRow
from reports.model import Report

_GIGA = 1e9
_ALIKE = 0.1
_ROOM = 3.0
"""How far the roof goes on beside the points."""
_HEADROOM = 1.4
"""Over the highest, for a roof's name."""


def roofline(report: Report) -> Drawing | None:
    """None where no variant's arithmetic, or no roof, is known."""
    local = report.local
    placed = [(one, bound) for one in (local.variants if local else ()) if (bound := _placed(one)) is not None]
    if local is None or not placed:
        return None
    families = families_of(local)[:MAX_SERIES]
    bounds = [bound for _, bound in placed]
    roofs = {_roof(one): one for one in _distinct(bounds)[:MAX_SERIES]}
    points = [
        _point(one, bound, roof)
        for one, bound in placed
        if (roof := _under(bound, roofs)) is not None and one.family in families
    ]
    shown = [*(one["intensity"] for one in points), *map(_ridge, roofs.values())]  # so that bends are seen
    lines = _lines(roofs, min(shown) / _ROOM, max(shown) * _ROOM)
    return Drawing(
        key="roofline",
        title="How near each variant comes to what its processor can do",
        alternative=" ".join(_sentence(one, bound) for one, bound in placed),
        spec=styled(_layers(points, lines, families), "roofline"),
        columns=("variant", "FLOP/byte", "GFLOP/s", "roof there, GFLOP/s", "roof"),
        rows=tuple(_row(one, bound) for one, bound in placed),
        note=_note(len(placed) - len(points), any(_share(bound) > 1 for bound in bounds)),
    )


def _placed(one: VariantRow) -> BoundRow | None:
    bound = one.bound
    if bound is None or one.state == "INVALID" or not bound.flops_per_s or not bound.flops_per_byte:
        return None
    return bound if bound.peak_flops_per_s and bound.peak_bytes_per_s else None


def _distinct(bounds: list[BoundRow]) -> list[BoundRow]:
    """One of those that are alike: a peak that is measured again comes out a little different."""
    kept: list[BoundRow] = []
    for one in bounds:
        if not any(_is_alike(one, other) for other in kept):
            kept.append(one)
    return kept


def _is_alike(one: BoundRow, other: BoundRow) -> bool:
    pairs = (one.peak_flops_per_s, other.peak_flops_per_s), (one.peak_bytes_per_s, other.peak_bytes_per_s)
    is_near = all(math.isclose(a or 0.0, b or 0.0, rel_tol=_ALIKE) for a, b in pairs)
    return is_near and (one.processor, one.peak_basis) == (other.processor, other.peak_basis)


def _under(bound: BoundRow, roofs: dict[str, BoundRow]) -> str | None:
    return next((name for name, roof in roofs.items() if _is_alike(bound, roof)), None)


def _roof(bound: BoundRow) -> str:
    flops, moved = (bound.peak_flops_per_s or 0.0) / _GIGA, (bound.peak_bytes_per_s or 0.0) / _GIGA
    assumed = "" if bound.peak_basis == "measured" else " (data sheet)"
    return f"{bound.processor}: {formatting.number(flops)} GFLOP/s, {formatting.number(moved)} GB/s{assumed}"


def _height(bound: BoundRow, intensity: float) -> float:
    return min(bound.peak_flops_per_s or 0.0, intensity * (bound.peak_bytes_per_s or 0.0)) / _GIGA


def _point(one: VariantRow, bound: BoundRow, roof: str) -> dict[str, Any]:
    return {
        "series": one.family,
        "roof": roof,
        "variant": one.name,
        "intensity": bound.flops_per_byte,
        "rate": (bound.flops_per_s or 0.0) / _GIGA,
        "shown": f"{formatting.number((bound.flops_per_s or 0.0) / _GIGA)} GFLOP/s",
    }


def _lines(roofs: dict[str, BoundRow], low: float, high: float) -> list[dict[str, Any]]:
    """Each roof from `low` to `high`, with its ridge."""
    return [
        {"roof": name, "intensity": intensity, "rate": _height(roof, intensity)}
        for name, roof in roofs.items()
        for intensity in (low, _ridge(roof), high)
    ]


def _ridge(bound: BoundRow) -> float:
    """The least FLOP/byte at which memory keeps up."""
    return (bound.peak_flops_per_s or 0.0) / (bound.peak_bytes_per_s or 1.0)


def _layers(points: list[dict[str, Any]], lines: list[dict[str, Any]], families: list[str]) -> list[alt.Chart]:
    """Roofs are grey and named above their flat part; points have the colours that their families have beside."""
    every, ends = [*points, *lines], lines[2::3]
    top = _HEADROOM * max(one["rate"] for one in every)
    x = alt.X("intensity:Q", title="FLOP/byte", **fitted([one["intensity"] for one in every], 2))
    y = alt.Y("rate:Q", title="GFLOP/s", **fitted([*(one["rate"] for one in every), top], 2))
    names = [one["roof"] for one in ends]
    dashes = alt.StrokeDash("roof:N", legend=None, scale=alt.Scale(domain=names, range=DASHES[: len(names)]))
    roof = chart_of(lines).mark_line(strokeWidth=1.7, color=MUTED).encode(x=x, y=y, strokeDash=dashes)
    texts = [  # the text stays readable where a line runs through it
        chart_of(ends).mark_text(align="right", baseline="bottom", dy=-5, **drawn).encode(x=x, y=y, text="roof:N")
        for drawn in ({"color": PAPER, "stroke": PAPER, "strokeWidth": 4}, {"color": MUTED})
    ]
    if not points:
        return [roof, *texts]
    used = [name for name in families if any(one["series"] == name for one in points)]
    marks = (
        chart_of(points)
        .mark_point(size=60, filled=True, opacity=1)
        .encode(
            x=x,
            y=y,
            tooltip=[alt.Tooltip("variant:N"), alt.Tooltip("shown:N", title="achieved"), alt.Tooltip("roof:N")],
            **point_scales(used, among=families),
        )
    )
    return [roof, *texts, marks]


def _sentence(one: VariantRow, bound: BoundRow) -> str:
    return f"{one.name}: {formatting.percent(_share(bound))} of its roof."


def _share(bound: BoundRow) -> float:
    return (bound.flops_per_s or 0.0) / _GIGA / _height(bound, bound.flops_per_byte or 0.0)


def _row(one: VariantRow, bound: BoundRow) -> tuple[str, ...]:
    intensity, rate = bound.flops_per_byte or 0.0, (bound.flops_per_s or 0.0) / _GIGA
    numbers = (intensity, rate, _height(bound, intensity))
    return (one.name, *map(formatting.number, numbers), _roof(bound))


def _note(hidden: int, is_over: bool) -> str:
    more = f" {hidden} more variants are in the table only." if hidden else ""
    over = " A point above its roof says that the peak was found too low." if is_over else ""
    return (
        f"Left of a roof's bend memory is the limit, right of it arithmetic; FLOPs are two a multiply-add.{over}{more}"
    )
