"""Charts of latency and throughput of a local model by batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import msgspec

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import MAX_SERIES, build_spec, fit_scale, new_chart, point_scales, valid_variants
from reports.local_model import LocalSection, ScenarioRow, VariantRow
from reports.model import ModelSection, Quantity, Report


class _Point(msgspec.Struct, frozen=True):
    series: str
    batch: int
    quantity: Quantity


def batch_charts(report: Report) -> tuple[Chart, ...]:
    """Build the charts of latency and throughput by batch size; empty with fewer than two batch
    sizes."""
    times, rates = [], []
    if report.local is not None:
        times, rates = _latency_points(report.local), _throughput_points(report.local)
    elif report.model is not None:
        times, rates = _served_times(report.model), _served_rates(report.model)
    rates = [msgspec.structs.replace(point, quantity=_inferences(point.quantity)) for point in rates]
    latency = _drawing(times, "batch-latency", "Latency by batch size", "ms")
    throughput = _drawing(rates, "batch-throughput", "Throughput by batch size", "inferences/s")
    return tuple(drawing for drawing in (latency, throughput) if drawing is not None)


def _inferences(throughput: Quantity) -> Quantity:
    return msgspec.structs.replace(throughput, unit="inferences/s")


def _latency_points(local: LocalSection) -> list[_Point]:
    """Return the latency points. p95 is shown in addition to p50 only if there is a single family
    of variants."""
    variants = valid_variants(local)
    has_single_family = len({variant.family for variant in variants}) == 1
    points = []
    for variant in variants:
        stage = _single_stream_stage(variant)
        if stage is not None:
            points.append(
                _Point(f"{variant.family} p50" if has_single_family else variant.family, variant.batch, stage.p50)
            )
            points += [_Point(f"{variant.family} p95", variant.batch, stage.p95)] if has_single_family else []
    return points


def _throughput_points(local: LocalSection) -> list[_Point]:
    return [_Point(variant.family, variant.batch, variant.throughput) for variant in valid_variants(local)]


def _single_stream_stage(variant: VariantRow) -> ScenarioRow | None:
    """Return the single-stream stage of a variant, in which calls are sequential; `None` if there
    is none."""
    return next((row for row in variant.scenarios if row.scenario == "single-stream"), None)


def _served_times(local: ModelSection) -> list[_Point]:
    batch_percentiles = [
        (row, label, quantity) for row in local.batches for label, quantity in (("p50", row.p50), ("p95", row.p95))
    ]
    return [
        _Point(_series(local, row.provider, row.precision, label), row.batch, quantity)
        for row, label, quantity in batch_percentiles
    ]


def _served_rates(local: ModelSection) -> list[_Point]:
    return [
        _Point(_series(local, row.provider, row.precision, "throughput"), row.batch, row.throughput)
        for row in local.batches
    ]


def _series(local: ModelSection, provider: str, precision: str, label: str) -> str:
    """Return the name of a series. The name contains provider and precision only if the run has
    several variants."""
    has_several = len({(batch.provider, batch.precision) for batch in local.batches}) > 1
    return f"{provider} {precision} {label}" if has_several else label


def _drawing(points: Sequence[_Point], key: str, title: str, unit: str) -> Chart | None:
    with_values = [point for point in points if point.quantity.value is not None]
    if len({point.batch for point in with_values}) < 2:
        return None
    all_series = list(dict.fromkeys(point.series for point in with_values))
    names = all_series[:MAX_SERIES]
    hidden = len(all_series) - len(names)
    return Chart(
        key=key,
        title=title,
        alternative=_alternative(with_values),
        spec=build_spec(
            [_lines([_chart_row(point) for point in with_values if point.series in names], names, unit)],
            key.replace("-", "_"),
        ),
        columns=("series", "batch", unit),
        rows=tuple(
            (point.series, str(point.batch), formatting.format_quantity(point.quantity)) for point in with_values
        ),
        note=f"{hidden} more series are only in the table." if hidden else None,
    )


def _alternative(points: Sequence[_Point]) -> str:
    """Describe the first series as the text alternative of the chart."""
    series = sorted((point for point in points if point.series == points[0].series), key=lambda point: point.batch)
    first, last = series[0], series[-1]
    name = f"{first.series}: from" if len({point.series for point in points}) > 1 else "From"
    return (
        f"{name} {formatting.format_quantity(first.quantity)} at batch {first.batch} to "
        f"{formatting.format_quantity(last.quantity)} at batch {last.batch}."
    )


def _chart_row(point: _Point) -> dict[str, Any]:
    shown = formatting.format_quantity(point.quantity)
    return {"series": point.series, "batch": point.batch, "value": point.quantity.value, "shown": shown}


def _lines(points: list[dict[str, Any]], names: list[str], unit: str) -> alt.Chart:
    axis = alt.Axis(values=sorted({point["batch"] for point in points}))
    scale = alt.Scale(type="log", base=2, nice=False, padding=12)
    chart: alt.Chart = (
        new_chart(points)
        .mark_line(point=alt.OverlayMarkDef(size=50, filled=True))
        .encode(
            x=alt.X("batch:Q", title="batch size", axis=axis, scale=scale),
            y=alt.Y("value:Q", title=unit, **fit_scale([point["value"] for point in points], 20)),
            tooltip=[alt.Tooltip("series:N"), alt.Tooltip("batch:Q"), alt.Tooltip("shown:N", title=unit)],
            **point_scales(names),
        )
    )
    return chart
