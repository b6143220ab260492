"""The batch law of the local model: what a larger batch costs and brings."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Drawing
from reports.charts.style import MAX_SERIES, chart_of, fitted, point_scales, styled
from reports.model import BatchRow, ModelSection, Quantity, Report


def batch_charts(report: Report) -> tuple[Drawing, ...]:
    """Latency and throughput by batch size; empty with fewer than two batch sizes."""
    local = report.model
    if local is None or len({row.batch for row in local.batches}) < 2:
        return ()
    latency = _drawing(
        local, "batch-latency", "What a larger batch costs: time of one call", "ms",
        {"p50": lambda row: row.p50, "p95": lambda row: row.p95},
    )  # fmt: skip
    throughput = _drawing(
        local, "batch-throughput", "What it brings: inferences a second", "inferences/s",
        {"throughput": lambda row: row.throughput},
    )  # fmt: skip
    return tuple(drawing for drawing in (latency, throughput) if drawing is not None)


def _drawing(local: ModelSection, key: str, title: str, unit: str, read: dict[str, Any]) -> Drawing | None:
    points = []
    for row in local.batches:
        for label, quantity_of in read.items():
            quantity: Quantity = quantity_of(row)
            if quantity.value is not None:
                points.append(_point(row, _series(local, row, label), quantity))
    if not points:
        return None
    names = list(dict.fromkeys(str(point["series"]) for point in points))[:MAX_SERIES]
    drawn = [point for point in points if point["series"] in names]
    first, last = points[0], points[-1]
    return Drawing(
        key=key,
        title=title,
        alternative=f"From {first['shown']} at batch {first['batch']} to {last['shown']} at batch {last['batch']}.",
        spec=styled([_lines(drawn, names, unit)], key.replace("-", "_")),
        columns=("series", "batch", unit),
        rows=tuple((str(point["series"]), str(point["batch"]), str(point["shown"])) for point in points),
    )


def _point(row: BatchRow, series: str, quantity: Quantity) -> dict[str, Any]:
    return {"series": series, "batch": row.batch, "value": quantity.value, "shown": formatting.quantity(quantity)}


def _series(local: ModelSection, row: BatchRow, label: str) -> str:
    """The variant is named only where there are several."""
    several = len({(one.provider, one.precision) for one in local.batches}) > 1
    return f"{row.provider} {row.precision} {label}" if several else label


def _lines(points: list[dict[str, Any]], names: list[str], unit: str) -> alt.Chart:
    axis = alt.Axis(values=sorted({point["batch"] for point in points}))
    scale = alt.Scale(type="log", base=2, nice=False, padding=12)
    chart: alt.Chart = (
        chart_of(points)
        .mark_line(point=alt.OverlayMarkDef(size=50, filled=True))
        .encode(
            x=alt.X("batch:Q", title="batch size", axis=axis, scale=scale),
            y=alt.Y("value:Q", title=unit, **fitted([point["value"] for point in points], 20)),
            tooltip=[alt.Tooltip("series:N"), alt.Tooltip("batch:Q"), alt.Tooltip("shown:N", title=unit)],
            **point_scales(names),
        )
    )
    return chart
