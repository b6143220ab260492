"""What a larger batch of a local model costs and brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import msgspec

from reports import formatting
from reports.charts.picture import Drawing
from reports.charts.style import MAX_SERIES, chart_of, fitted, point_scales, relied_on, styled
from reports.local_model import LocalSection, ScenarioRow, VariantRow
from reports.model import ModelSection, Quantity, Report


class _Point(msgspec.Struct, frozen=True):
    series: str
    batch: int
    quantity: Quantity


def batch_charts(report: Report) -> tuple[Drawing, ...]:
    """Latency and throughput by batch size; empty with fewer than two batch sizes."""
    times, rates = [], []
    if report.local is not None:
        times, rates = _times_of(report.local), _rates_of(report.local)
    elif report.model is not None:
        times, rates = _served_times(report.model), _served_rates(report.model)
    latency = _drawing(times, "batch-latency", "What a larger batch costs: time of one call", "ms")
    throughput = _drawing(rates, "batch-throughput", "What it brings: inferences a second", "inferences/s")
    return tuple(drawing for drawing in (latency, throughput) if drawing is not None)


def _times_of(local: LocalSection) -> list[_Point]:
    """p95 beside p50 while there is one line of each."""
    variants = relied_on(local)
    is_one = len({one.family for one in variants}) == 1
    points = []
    for one in variants:
        row = _alone(one)
        if row is not None:
            points.append(_Point(f"{one.family} p50" if is_one else one.family, one.batch, row.p50))
            points += [_Point(f"{one.family} p95", one.batch, row.p95)] if is_one else []
    return points


def _rates_of(local: LocalSection) -> list[_Point]:
    return [_Point(one.family, one.batch, one.throughput) for one in relied_on(local)]


def _alone(one: VariantRow) -> ScenarioRow | None:
    """Of one call after another."""
    return next((row for row in one.scenarios if row.scenario == "single-stream"), None)


def _served_times(local: ModelSection) -> list[_Point]:
    read = [(row, label, quantity) for row in local.batches for label, quantity in (("p50", row.p50), ("p95", row.p95))]
    return [
        _Point(_series(local, row.provider, row.precision, label), row.batch, quantity) for row, label, quantity in read
    ]


def _served_rates(local: ModelSection) -> list[_Point]:
    return [
        _Point(_series(local, row.provider, row.precision, "throughput"), row.batch, row.throughput)
        for row in local.batches
    ]


def _series(local: ModelSection, provider: str, precision: str, label: str) -> str:
    """The variant is named only where there are several."""
    several = len({(one.provider, one.precision) for one in local.batches}) > 1
    return f"{provider} {precision} {label}" if several else label


def _drawing(points: Sequence[_Point], key: str, title: str, unit: str) -> Drawing | None:
    known = [one for one in points if one.quantity.value is not None]
    if len({one.batch for one in known}) < 2:
        return None
    every = list(dict.fromkeys(one.series for one in known))
    names = every[:MAX_SERIES]
    hidden = len(every) - len(names)
    return Drawing(
        key=key,
        title=title,
        alternative=_alternative(known),
        spec=styled(
            [_lines([_drawn(one) for one in known if one.series in names], names, unit)], key.replace("-", "_")
        ),
        columns=("series", "batch", unit),
        rows=tuple((one.series, str(one.batch), formatting.quantity(one.quantity)) for one in known),
        note=f"{hidden} more series are in the table only." if hidden else None,
    )


def _alternative(known: Sequence[_Point]) -> str:
    """Of the first line."""
    line = sorted((one for one in known if one.series == known[0].series), key=lambda one: one.batch)
    first, last = line[0], line[-1]
    name = f"{first.series}: from" if len({one.series for one in known}) > 1 else "From"
    return (
        f"{name} {formatting.quantity(first.quantity)} at batch {first.batch} to "
        f"{formatting.quantity(last.quantity)} at batch {last.batch}."
    )


def _drawn(one: _Point) -> dict[str, Any]:
    shown = formatting.quantity(one.quantity)
    return {"series": one.series, "batch": one.batch, "value": one.quantity.value, "shown": shown}


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
